"""`deltaloom bench keystroke`: from a keystroke to its suggestion, as an editor feels it.

Invariant: each time runs from sending the keystroke to having the answer, through a real server and worker;
the context is full and warm before the first, and no keystroke is left out of the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deltaloom_server.bench.sample import sample_workspace
from deltaloom_server.cli.cursors import Cursor, find_cursors
from deltaloom_server.cli.editor import HeadlessEditor
from deltaloom_server.cli.lsp_client import LspClient, start_measured_server
from deltaloom_server.cli.progress import TerminalProgress
from deltaloom_server.cli.server_report import ServerReport, fetch_report, wait_until_ready
from deltaloom_server.errors import DeltaloomError

_FULL_CONTEXT = 16_384
"""Tokens of sample code when the model decides the context's length: more than nano was trained on."""
_CURSORS = 40


@dataclass(frozen=True, slots=True)
class Keystroke:
    """One measured keystroke. `model` is False where the last suggestion answered it (type-through)."""

    milliseconds: float
    model: bool


def main(arguments: Sequence[str]) -> int:
    """Run with the command line's options and print the figures."""
    parser = argparse.ArgumentParser(prog="deltaloom bench keystroke")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--context", type=int, default=0, metavar="N", help="tokens (default: the model's)")
    parser.add_argument("--keystrokes", type=int, default=100, metavar="N", help="how many (default 100)")
    parser.add_argument("--max-new-tokens", type=int, default=16, metavar="N", help="at most (default 16)")
    options = parser.parse_args(arguments)
    with sample_workspace(options.context or _FULL_CONTEXT) as workspace:
        report, keystrokes = asyncio.run(_measure(workspace, options))
    figures = summarize(report, keystrokes)
    if options.json:
        print(json.dumps(figures, indent=2))
    else:
        for name, value in figures.items():
            print(f"{name.replace('_', ' '):<28} {value}")
    return 0


def summarize(report: ServerReport, keystrokes: Sequence[Keystroke]) -> dict[str, Any]:
    """Percentiles in milliseconds, of all keystrokes and of those that the model answered."""
    everything = [stroke.milliseconds for stroke in keystrokes]
    by_model = [stroke.milliseconds for stroke in keystrokes if stroke.model]
    return {
        "model": report.model,
        "context_tokens": report.context.total,
        "keystrokes": len(everything),
        "p50_ms": round(percentile(everything, 50), 1),
        "p95_ms": round(percentile(everything, 95), 1),
        "slowest_ms": round(max(everything), 1),
        "answered_by_the_model": len(by_model),
        "p50_ms_by_the_model": round(percentile(by_model, 50), 1) if by_model else None,
        "p95_ms_by_the_model": round(percentile(by_model, 95), 1) if by_model else None,
    }


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that at least `percent` of all values don't exceed (nearest rank)."""
    rank = -(-len(values) * percent // 100)
    return sorted(values)[max(rank, 1) - 1]


async def _measure(workspace: Path, options: argparse.Namespace) -> tuple[ServerReport, list[Keystroke]]:
    settings: dict[str, Any] = {
        "completion": {"multiline": False, "max_new_tokens": options.max_new_tokens},
        "context": {"max_tokens": options.context},
    }
    cursors = find_cursors(workspace, _CURSORS)
    with TerminalProgress() as progress:
        async with start_measured_server(workspace, settings, progress.take) as client:
            await wait_until_ready(client)
            editor = HeadlessEditor(client)
            keystrokes: list[Keystroke] = []
            for cursor in cursors:
                wanted = options.keystrokes - len(keystrokes)
                if wanted <= 0:
                    break
                keystrokes += await _type_line(client, editor, cursor, wanted)
            if len(keystrokes) < options.keystrokes:
                raise DeltaloomError("The sample code has too few lines for that many keystrokes.")
            return await fetch_report(client), keystrokes


async def _type_line(client: LspClient, editor: HeadlessEditor, cursor: Cursor, most: int) -> list[Keystroke]:
    """Type the end of one line again, asking after every character; the first ask warms the anchor."""
    editor.open(cursor.path, cursor.text_without_rest(cursor.path.read_text(encoding="utf-8")))
    await editor.ghost_text(cursor.path, cursor.line, cursor.column)
    strokes = []
    counted = sum((await fetch_report(client)).counters.values())
    for offset, character in enumerate(cursor.rest[:most]):
        column = cursor.column + offset
        editor.insert(cursor.path, cursor.line, column, character)
        suggestion = await editor.ghost_text(cursor.path, cursor.line, column + 1)
        now = sum((await fetch_report(client)).counters.values())
        strokes.append(Keystroke(suggestion.milliseconds, model=now > counted))
        counted = now
    editor.close(cursor.path)
    return strokes
