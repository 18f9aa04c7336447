"""`deltaloom bench edits`: how many tokens are read again after edits of all kinds.

Invariant: the counts are the engine's own (every token that enters the first layer, by cause); each edit is
made in a real server, and followed by a real completion.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from deltaloom_server.bench.sample import sample_workspace
from deltaloom_server.cli.cursors import Cursor, find_cursors
from deltaloom_server.cli.editor import HeadlessEditor
from deltaloom_server.cli.lsp_client import LspClient, start_measured_server
from deltaloom_server.cli.progress import TerminalProgress
from deltaloom_server.cli.server_report import fetch_report, wait_until_ready
from deltaloom_server.cli.sizes import format_milliseconds

_FULL_CONTEXT = 16_384


@dataclass(frozen=True, slots=True)
class Measured:
    """One edit and the completion after it. `read` counts tokens by cause; `decode` are new ones."""

    edit: str
    read: dict[str, int]
    context: int
    milliseconds: float

    @property
    def read_again(self) -> int:
        """Tokens of the prompt that went through the model, new ones not counted."""
        return sum(count for cause, count in self.read.items() if cause != "decode")


def main(arguments: Sequence[str]) -> int:
    """Run with the command line's options and print the figures."""
    parser = argparse.ArgumentParser(prog="deltaloom bench edits")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--context", type=int, default=0, metavar="N", help="tokens (default: the model's)")
    options = parser.parse_args(arguments)
    with sample_workspace(options.context or _FULL_CONTEXT) as workspace:
        measured = asyncio.run(_measure(workspace, options.context))
    if options.json:
        rows = [{**asdict(entry), "read_again": entry.read_again} for entry in measured]
        print(json.dumps(rows, indent=2))
    else:
        _show(measured)
    return 0


def _show(measured: Sequence[Measured]) -> None:
    from rich.console import Console

    from deltaloom_server.cli.status_view import plain_table

    table = plain_table("", "edit", "read again", "of", "by cause", "edit to answer")
    for entry in measured:
        causes = ", ".join(f"{count} {cause}" for cause, count in entry.read.items() if cause != "decode")
        counts = (f"{entry.read_again:,}", f"{entry.context:,}", causes or "-")
        table.add_row(entry.edit, *counts, format_milliseconds(entry.milliseconds))
    Console(highlight=False).print(table)


class _Bench:
    """One server, and the file that is asked in."""

    def __init__(self, client: LspClient, asked: Cursor) -> None:
        self._client = client
        self._asked = asked
        self._counters: dict[str, int] = {}
        self.editor = HeadlessEditor(client)
        self.measured: list[Measured] = []

    async def ask(self, edit: str, *, typed: int = 0, below: int = 0) -> None:
        """Ask at the cursor (moved by `typed` columns, `below` lines) and note the cost since before."""
        cursor = self._asked
        answer = await self.editor.ghost_text(cursor.path, cursor.line + below, cursor.column + typed)
        report = await fetch_report(self._client)
        risen = {cause: n - self._counters.get(cause, 0) for cause, n in report.counters.items()}
        read = {cause: count for cause, count in risen.items() if count}
        context = report.last_completion.context_tokens if report.last_completion else report.context.total
        self.measured.append(Measured(edit, read, context, answer.milliseconds))
        self._counters = report.counters


async def _measure(workspace: Path, tokens: int) -> list[Measured]:
    asked, other, third = find_cursors(workspace, 3)
    settings = {
        "context": {"max_tokens": tokens},
        # Every answer is the model's own: what an earlier suggestion would answer costs nothing.
        "completion": {"multiline": False, "max_new_tokens": 16, "reuse": False},
    }
    with TerminalProgress() as progress:
        async with start_measured_server(workspace, settings, progress.take) as client:
            await wait_until_ready(client)
            bench = _Bench(client, asked)
            await _edit_open_file(bench, asked)
            await _edit_other_files(bench, other, third)
            return bench.measured


async def _edit_open_file(bench: _Bench, asked: Cursor) -> None:
    editor, path = bench.editor, asked.path
    editor.open(path, asked.text_without_rest(path.read_text(encoding="utf-8")))
    await bench.ask("first completion, with the first reading")
    editor.insert(path, asked.line, asked.column, asked.rest[0])
    await bench.ask("a keystroke on the cursor's line", typed=1)
    before = editor.text(path)
    editor.insert(path, max(0, asked.line - 5), 0, "# a remark\n")
    await bench.ask("a line inserted five lines above", typed=1, below=1)
    editor.replace_all(path, before)
    await bench.ask("that line undone", typed=1)
    editor.insert(path, 0, 0, "# a remark\n")
    await bench.ask("a line inserted at the file's start", typed=1, below=1)
    editor.replace_all(path, before)
    await bench.ask("that line undone", typed=1)


async def _edit_other_files(bench: _Bench, other: Cursor, third: Cursor) -> None:
    editor = bench.editor
    editor.open(other.path)
    editor.insert(other.path, 0, 0, "# a remark\n")
    editor.save(other.path)
    await bench.ask("a line inserted in another file, saved", typed=1)
    editor.open(third.path)
    await bench.ask("a third file looked at, unchanged", typed=1)
    editor.insert(other.path, 0, 0, "# another remark\n")
    editor.save(other.path)
    await bench.ask("the other file changed once more, saved", typed=1)
