"""How long one change of a text takes, beside pygls' own `TextDocument` in the same run.

Invariant: both buffers get the same changes in the same order from the same text, and the run fails if they
disagree at its end (the text holds only what pygls can follow too).
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median, quantiles
from time import perf_counter_ns
from typing import Any

from lsprotocol.types import Position, Range, TextDocumentContentChangePartial

from ..documents import TextDocument

_LONG_LINE = 1 << 20  # code points
_PYGLS_SHARE = 10  # pygls takes milliseconds a change: it gets each run's first tenth


@dataclass(frozen=True)
class Timing:
    """Microseconds per change."""

    changes: int
    median_us: float
    p95_us: float


@dataclass(frozen=True)
class Case:
    """One text and what was measured on it; `ratio` is pygls' median over ours."""

    name: str
    lines: int
    characters: int
    ours: Timing
    pygls: Timing
    ratio: float


def run(lines: int = 20_000, changes: int = 2_000, seed: int = 0) -> dict[str, Any]:
    """Measure typing in a file of `lines` lines and in a file of one line of 2**20 characters.

    Returns {"benchmark", "lines", "changes", "cases": [{"name", "lines", "characters", "ours": {"changes",
    "median_us", "p95_us"}, "pygls": {...}, "ratio"}]}, ready for `json.dumps`.
    """
    if lines < 1 or changes < 2:
        raise ValueError("At least one line and two changes are needed.")
    source = "".join(f"    value_{number} = compute({number}, other)\n" for number in range(lines))
    cases = [
        _measure("typing in many lines", source, changes, seed),
        _measure("typing in one long line", ("x = [1, 2, 3], " * _LONG_LINE)[:_LONG_LINE], changes, seed),
    ]
    return {
        "benchmark": "text",
        "lines": lines,
        "changes": changes,
        "cases": [asdict(case) for case in cases],
    }


def main(argv: Sequence[str] | None = None) -> int:
    """The command line: `--lines N --changes N --json`. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="deltaloom bench text", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--lines", type=_at_least(1), default=20_000, help="lines of the file (20000)")
    parser.add_argument("--changes", type=_at_least(2), default=2_000, help="changes to apply (2000)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args(argv)
    result = run(arguments.lines, arguments.changes)
    print(json.dumps(result) if arguments.json else _table(result))
    return 0


def _measure(name: str, source: str, count: int, seed: int) -> Case:
    from pygls.workspace import TextDocument as PyglsDocument

    edits = _edits(source, count, random.Random(seed))
    share = max(2, count // _PYGLS_SHARE)
    ours = TextDocument("file:///bench.py", source)
    theirs = PyglsDocument("file:///bench.py", source, version=0)
    their_times = _time(edits[:share], lambda _, edit: theirs.apply_change(edit))
    our_times = _time(edits[:share], lambda version, edit: ours.apply([edit], version))
    if ours.text != theirs.source:
        raise AssertionError("The two buffers disagree after the same changes.")
    our_times += _time(edits[share:], lambda version, edit: ours.apply([edit], share + version))
    our_timing, their_timing = _timing(our_times), _timing(their_times)
    ratio = round(their_timing.median_us / our_timing.median_us, 1)
    return Case(name, source.count("\n") or 1, len(source), our_timing, their_timing, ratio)


def _edits(source: str, count: int, rng: random.Random) -> list[TextDocumentContentChangePartial]:
    """Bursts of typed characters at places all over the file, now and then a new line or a backspace."""
    widths = [len(line) for line in source.split("\n")]
    edits: list[TextDocumentContentChangePartial] = []
    line = column = 0
    for number in range(count):
        if number % 20 == 0:
            line = rng.randrange(len(widths))
            column = rng.randint(0, widths[line])
        start, text = Position(line, column), rng.choice("etaoin ._(")
        end = start
        kind = rng.random()
        if kind < 0.1 and column:
            start, text = Position(line, column - 1), ""
            widths[line] -= 1
            column -= 1
        elif kind < 0.13:
            text = "\n"
            widths[line : line + 1] = [column, widths[line] - column]
            line, column = line + 1, 0
        else:
            widths[line] += 1
            column += 1
        edits.append(TextDocumentContentChangePartial(range=Range(start, end), text=text))
    return edits


def _time(
    edits: list[TextDocumentContentChangePartial],
    apply: Callable[[int, TextDocumentContentChangePartial], None],
) -> list[float]:
    times = []
    for version, edit in enumerate(edits, start=1):
        start = perf_counter_ns()
        apply(version, edit)
        times.append((perf_counter_ns() - start) / 1000)
    return times


def _timing(times: list[float]) -> Timing:
    p95 = quantiles(times, n=20, method="inclusive")[-1]
    return Timing(len(times), round(median(times), 2), round(p95, 2))


def _table(result: dict[str, Any]) -> str:
    rows = [f"{'':26}{'median':>12}{'p95':>12}  microseconds per change"]
    for case in result["cases"]:
        rows.append(f"{case['name']} ({case['lines']} lines, {case['characters']} characters)")
        rows += [
            f"  {label:24}{case[key]['median_us']:12.1f}{case[key]['p95_us']:12.1f}"
            for label, key in (("deltaloom", "ours"), ("pygls TextDocument", "pygls"))
        ]
        rows.append(f"  {'pygls / deltaloom':24}{case['ratio']:12.1f}")
    return "\n".join(rows)


def _at_least(minimum: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if value < minimum:
            raise argparse.ArgumentTypeError(f"must be {minimum} or more")
        return value

    return number
