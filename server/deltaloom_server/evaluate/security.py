"""The command line of `deltaloom eval security`.

Invariant: stdout holds the tables (or nothing, where files were asked for), progress goes to stderr and only
to a terminal; the exit status is 0 only where no case is broken and, with `--check`, every bound is kept.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from deltaloom_server.errors import DeltaloomError
from deltaloom_server.evaluate.fix_source import COLUMNS, Column

if TYPE_CHECKING:
    from deltaloom_server.evaluate.fix_source import FixSource
    from deltaloom_server.evaluate.report import Evaluation


class EvaluationError(DeltaloomError):
    """The evaluation can't be made or written down as asked."""


def main(arguments: Sequence[str], make_source: Callable[[Path | None], FixSource] | None = None) -> int:
    """0, or 1 where a case is broken or a bound of `--check` is missed. Raises DeltaloomError."""
    options = _parser().parse_args(arguments)
    evaluation = asyncio.run(_evaluate(options, make_source or _lsp_source))
    _write(evaluation, options.json, options.markdown)
    for broken in evaluation.broken:
        print(f"broken: {broken.reason}", file=sys.stderr)
    missed = _missed(evaluation) if options.check else []
    for sentence in missed:
        print(f"not kept: {sentence}", file=sys.stderr)
    return 1 if evaluation.broken or missed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="deltaloom eval security",
        description="How many fixes are offered for known weaknesses, and how many of them are right.",
    )
    add = parser.add_argument
    add(
        "folder",
        nargs="?",
        type=Path,
        metavar="FOLDER",
        help="cases (default: fixtures/security of a checkout)",
    )
    add(
        "--columns",
        type=_columns,
        default=COLUMNS,
        metavar="LIST",
        help="of codemods,model,both (default: all)",
    )
    add("--model", type=Path, metavar="FOLDER", help="a local model folder instead of nano")
    add("--only", default="", metavar="NAME", help="cases with this in their name")
    add(
        "--jobs",
        type=_positive,
        default=max(1, (os.cpu_count() or 1) // 2),
        metavar="N",
        help="cases at a time",
    )
    add("--json", type=Path, metavar="FILE", help="write all results as JSON")
    add("--markdown", type=Path, metavar="FILE", help="write the tables as Markdown")
    add(
        "--check",
        action="store_true",
        help="exit with status 1 where too few fixes or too many wrong ones come",
    )
    return parser


def _columns(text: str) -> tuple[Column, ...]:
    chosen = [one.strip() for one in text.split(",") if one.strip()]
    if not chosen or set(chosen) - set(COLUMNS):
        raise argparse.ArgumentTypeError(f"choose from {', '.join(COLUMNS)}, separated by commas")
    return tuple(column for column in COLUMNS if column in chosen)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _lsp_source(model: Path | None) -> FixSource:
    from deltaloom_server.evaluate.lsp_fixes import LspFixes

    return LspFixes(model)


async def _evaluate(
    options: argparse.Namespace, make_source: Callable[[Path | None], FixSource]
) -> Evaluation:
    from deltaloom_server.evaluate.case import default_corpus, find_cases
    from deltaloom_server.evaluate.report import Evaluation
    from deltaloom_server.evaluate.run import evaluate_cases
    from deltaloom_server.security.sandbox import SandboxError, available

    corpus = (options.folder.expanduser() if options.folder else default_corpus()).resolve()
    folders = find_cases(corpus, options.only)
    model = options.model.expanduser().resolve() if options.model else None
    described = _model(model) if set(options.columns) != {"codemods"} else ""
    if (reason := available()) is not None:
        raise SandboxError(reason)
    with _progress(len(folders)) as tell:
        results, broken = await evaluate_cases(
            corpus, folders, options.columns, make_source(model), options.jobs, tell
        )
    return Evaluation(options.columns, tuple(results), tuple(broken), _versions(), described)


def _model(folder: Path | None) -> str:
    """For example "nano 0f1e2d3c4b5a"; "" where there is none. Raises DeltaloomModelError."""
    from deltaloom_model.loading.manifest import model_hash
    from deltaloom_server.cli.version import embedded_model_hash

    if folder is not None:
        return f"{folder.name} {model_hash(folder)[:12]}"
    embedded = embedded_model_hash()
    return f"nano {embedded[:12]}" if embedded else ""


def _versions() -> dict[str, str]:
    from deltaloom_model._version import __version__
    from deltaloom_server.cli.version import commit_name
    from deltaloom_server.security import scanner_versions

    return {
        "deltaloom": __version__,
        "commit": commit_name(),
        "python": platform.python_version(),
        **scanner_versions.versions(),
        "rules": scanner_versions.fingerprint()[:12],
    }


def _missed(evaluation: Evaluation) -> list[str]:
    from deltaloom_server.evaluate.score import missed_bounds

    return missed_bounds(evaluation.results, evaluation.columns)


def _write(evaluation: Evaluation, json_file: Path | None, markdown_file: Path | None) -> None:
    from deltaloom_server.evaluate.report import to_json, to_markdown

    try:
        if json_file is not None:
            json_file.write_bytes(to_json(evaluation))
        if markdown_file is not None:
            markdown_file.write_text(to_markdown(evaluation), encoding="utf-8")
    except OSError as error:
        raise EvaluationError(f"{error.filename} can't be written: {error.strerror}.") from error
    if json_file is None and markdown_file is None:
        print(to_markdown(evaluation), end="")


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int, int, str], None]]:
    """A bar on stderr, where that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda done, of, name: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("Evaluating", total=total)

        def tell(done: int, of: int, name: str) -> None:
            progress.update(task, completed=done, description=name)

        yield tell
