"""`deltaloom complete FILE:LINE:COL`: the suggestion an editor would show there.

Invariant: stdout holds the suggestion and nothing else (or one JSON object); it comes from a real server
process, asked over LSP, with the file as it is on disk.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deltaloom_server.cli.editor import Suggestion
    from deltaloom_server.cli.server_report import ServerReport
    from deltaloom_server.cli.target import Target


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "target", metavar="FILE:LINE:COL", help="the cursor; both count from 1, in characters"
    )
    parser.add_argument("--workspace", type=Path, help="default: the git repository around the file")
    parser.add_argument("--json", action="store_true", help="print text, cost and context as JSON")
    parser.add_argument("--max-new-tokens", type=_positive, metavar="N", help="at most N new tokens")
    parser.add_argument(
        "--context", type=_positive, metavar="N", help="tokens of context (default: the model's)"
    )
    parser.add_argument("--model", metavar="FOLDER", help="a local model folder instead of nano")


def run(arguments: argparse.Namespace) -> int:
    """Exit status 0 with a suggestion, 1 without one (stderr says why), 2 on an error."""
    from deltaloom_server.cli.target import parse_target

    target = parse_target(arguments.target, arguments.workspace)
    suggestion, report = asyncio.run(_ask(target, server_options(arguments)))
    if arguments.json:
        print(json.dumps(_as_dict(suggestion, report), indent=2))
    elif suggestion.text:
        print(suggestion.text)
    if not suggestion.text:
        reason = report.last_completion.reason if report.last_completion else ""
        print(f"deltaloom: {reason or 'The model suggests nothing here.'}", file=sys.stderr)
    return 0 if suggestion.text else 1


def server_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The `initializationOptions` that say what the command line's options say."""
    options: dict[str, Any] = {}
    if arguments.max_new_tokens:
        options["completion"] = {"max_new_tokens": arguments.max_new_tokens}
    if arguments.context:
        options["context"] = {"max_tokens": arguments.context}
    if arguments.model:
        options["model"] = {"path": str(Path(arguments.model).expanduser().resolve())}
    return options


async def _ask(target: Target, options: dict[str, Any]) -> tuple[Suggestion, ServerReport]:
    from deltaloom_server.cli.editor import HeadlessEditor
    from deltaloom_server.cli.lsp_client import start_server
    from deltaloom_server.cli.progress import TerminalProgress
    from deltaloom_server.cli.server_report import fetch_report, wait_until_ready

    with TerminalProgress() as progress:
        async with start_server([target.workspace], options, progress.take) as client:
            editor = HeadlessEditor(client)
            editor.open(target.path, target.text)
            await wait_until_ready(client)
            suggestion = await editor.ghost_text(target.path, target.line, target.column)
            return suggestion, await fetch_report(client)


def _as_dict(suggestion: Suggestion, report: ServerReport) -> dict[str, Any]:
    import msgspec

    context = report.context
    return {
        "text": suggestion.text,
        "milliseconds": round(suggestion.milliseconds, 1),
        "model": report.model,
        "context": {
            "files": report.files,
            "tokens": context.total,
            "left_out": context.left_out_by_reason,
        },
        "completion": msgspec.to_builtins(report.last_completion),
    }


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("takes a number of at least 1")
    return number
