"""`deltaloom demo WORKSPACE`: the main job, shown on a copy of a workspace.

Invariant: every number and every suggestion shown comes from a real server process over LSP. It fails (exit
status 1) on an empty answer, and when an edit of another file leaves the next-token logits as they were.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from deltaloom_server.errors import DeltaloomError

if TYPE_CHECKING:
    from rich.console import Console

    from deltaloom_server.cli.cursors import Cursor
    from deltaloom_server.cli.editor import HeadlessEditor, Suggestion
    from deltaloom_server.cli.lsp_client import LspClient
    from deltaloom_server.cli.server_report import LastCompletion, ServerReport

_FEWEST_CURSORS = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workspace", type=Path, help="a folder with Python files; it is copied, not changed")


def run(arguments: argparse.Namespace) -> int:
    """Exit status 0 when all went as promised, 1 when not."""
    from rich.console import Console

    from deltaloom_server.cli.cursors import find_cursors_of_kinds

    console = Console(highlight=False)
    with _copied(arguments.workspace) as workspace:
        cursors = find_cursors_of_kinds(workspace)
        if len(cursors) < _FEWEST_CURSORS:
            raise DeltaloomError(f"{arguments.workspace} has too few Python files for a demonstration.")
        problems = asyncio.run(_demonstrate(console, workspace, cursors))
    for problem in problems:
        print(f"deltaloom: {problem}", file=sys.stderr)
    if not problems:
        console.print("[green]All of it as promised.[/]")
    return 1 if problems else 0


@contextmanager
def _copied(source: Path) -> Iterator[Path]:
    """A copy of the workspace in a temporary folder, as a git repository of its own."""
    with tempfile.TemporaryDirectory(prefix="deltaloom-demo-") as folder:
        target = Path(folder).resolve() / (source.resolve().name or "workspace")
        try:
            shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns(".git"))
        except OSError as error:
            reason = error.strerror or "some of its files can't be read"
            raise DeltaloomError(f"The workspace {source} can't be copied ({reason}).") from None
        if shutil.which("git") is not None:
            subprocess.run(["git", "init", "--quiet", str(target)], check=False, capture_output=True)
        yield target


async def _demonstrate(console: Console, workspace: Path, cursors: list[Cursor]) -> list[str]:
    from deltaloom_server.cli.demo_view import show_context, show_restores
    from deltaloom_server.cli.editor import HeadlessEditor
    from deltaloom_server.cli.lsp_client import start_measured_server
    from deltaloom_server.cli.progress import TerminalProgress
    from deltaloom_server.cli.server_report import wait_until_ready

    # Every answer is the model's own: an earlier suggestion would answer without showing what that costs.
    options = {"completion": {"reuse": False}}
    with TerminalProgress() as progress:
        async with start_measured_server(workspace, options, progress.take) as client:
            show_context(console, workspace, await wait_until_ready(client))
            editor = HeadlessEditor(client)
            problems = []
            for number, cursor in enumerate(cursors, 1):
                whole = cursor.path.read_text(encoding="utf-8")
                editor.open(cursor.path, cursor.text_without_rest(whole))
                answer = await _ask(console, workspace, client, editor, cursor, f"{number}.")
                if not answer[0].text:
                    problems.append(f"No suggestion at {cursor.path.name}:{cursor.line + 1}.")
                editor.replace_all(cursor.path, whole)
                editor.close(cursor.path)
            problems += await _edit_another_file(console, workspace, client, editor, cursors)
            await show_restores(console, client)
            return problems


async def _edit_another_file(
    console: Console, workspace: Path, client: LspClient, editor: HeadlessEditor, cursors: list[Cursor]
) -> list[str]:
    """Ask, edit and save another file, ask again at the same cursor."""
    from deltaloom_server.cli.server_report import fetch_report

    asked, edited = cursors[0], cursors[1]
    console.print(f"\n[bold]Then another file changes:[/] {edited.path.relative_to(workspace)}")
    editor.open(asked.path, asked.text_without_rest(asked.path.read_text(encoding="utf-8")))
    _, before = await _ask(console, workspace, client, editor, asked, "before:")
    counted = (await fetch_report(client)).counters
    editor.open(edited.path)
    last_line = editor.text(edited.path).count("\n")
    editor.insert(edited.path, last_line, 0, _ADDED)
    editor.save(edited.path)
    suggestion, after = await _ask(console, workspace, client, editor, asked, "after:")
    problems = []
    if not suggestion.text:
        problems.append("No suggestion after another file was edited.")
    if not before.logits_digest or before.logits_digest == after.logits_digest:
        problems.append(
            "The edit of another file didn't reach the model: the next-token logits are the same."
        )
    console.print(
        f"next-token logits {before.logits_digest[:12]} → {after.logits_digest[:12]}; "
        f"read again for the edit: {_read_since(counted, await fetch_report(client))} "
        f"of {after.context_tokens:,} tokens"
    )
    return problems


def _read_since(counted: dict[str, int], report: ServerReport) -> int:
    """Tokens of the prompt that went through the model since; new ones aren't counted."""
    risen = {cause: count - counted.get(cause, 0) for cause, count in report.counters.items()}
    return sum(count for cause, count in risen.items() if cause != "decode")


_ADDED = '''

def restock_level(quantity, reorder_point):
    """How many units to order so that the shelf is full again."""
    return max(0, 2 * reorder_point - quantity)
'''
"""What a person might write at the end of the other file."""


async def _ask(
    console: Console,
    workspace: Path,
    client: LspClient,
    editor: HeadlessEditor,
    cursor: Cursor,
    label: str,
) -> tuple[Suggestion, LastCompletion]:
    from deltaloom_server.cli.demo_view import show_answer
    from deltaloom_server.cli.server_report import fetch_report

    suggestion = await editor.ghost_text(cursor.path, cursor.line, cursor.column)
    report = await fetch_report(client)
    if report.last_completion is None:
        raise DeltaloomError("The server reports no completion; see `deltaloom logs`.")
    show_answer(console, workspace, label, cursor, suggestion, report.last_completion)
    return suggestion, report.last_completion
