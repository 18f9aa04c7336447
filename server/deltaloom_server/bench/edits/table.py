"""A result for people: tables for the terminal, and the page of the documentation.

Invariant: both show every row of every run, the skipped ones with their reason.
"""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, Group, RenderableType
from rich.text import Text

from deltaloom_server.cli.sizes import format_milliseconds
from deltaloom_server.cli.status_view import plain_table

from .result import LLAMA_IN_PLACE, LLAMA_LOG, OURS, Growth, Result, Row, SizeRun

_PAGE = """# What an edit costs

Tokens that went through the model between an edit and the first new token, counted where ids enter the first
layer, beside a cold reading of the same context in the same run. Forty files of an installed package stand in
the context, cut so that they fill its base; the edits are made in a real server and worker over LSP.

This page is written by

```
deltaloom bench edits --json > edits.json
deltaloom bench edits --from edits.json --markdown docs/edits.md --plot docs/edits.svg
```

"""
_PLOT = """![Tokens read again against the size of the context](edits.svg)

"""
_BOUNDS = """
The number after the slash is the most that this row may cost, computed from its own files: a keystroke, an
undo or a file gone back to without edits 64; a new line 64 and the suffix (256 at most); another place or
edit in the open file what changes of its part of the prompt, and 64; another file its own tokens, those of
the files changed since, and 64; a restart the active file, a hundredth of the context, and 64. **Bold** is
a bound that wasn't kept. In brackets: what was read in idle time, after the answer. "Cold" is each size's
first reading, with no state kept from before.
"""

_LLAMA = """The figures are
`timings.prompt_n` of each `/completion`, in the tokens of its own model. It gets the same options in both
orders, and a restart is one of its process."""
_ABOUT = {
    LLAMA_IN_PLACE: f"""The repository stands in its own order with every edit in its place; then comes the
open file in fill-in-the-middle form. {_LLAMA}""",
    LLAMA_LOG: f"""The same texts, but laid out as Deltaloom's context is: the base as it was, the files that
changed since, then the open file. {_LLAMA}""",
}


def show(result: Result) -> None:
    """Print the tables to stdout."""
    parts: list[RenderableType] = []
    for run in result.runs:
        parts += [Text(f"{run.system}, {run.context:,} tokens, {run.model}", "bold"), _table(run), ""]
    if result.growth:
        parts += [Text("The same edit at both ends", "bold"), _growth_table(result.growth), ""]
    parts += [Text(f"not kept: {sentence}", "red") for sentence in result.broken]
    Console(highlight=False).print(Group(*parts))


def _table(run: SizeRun) -> RenderableType:
    table = plain_table("", "edit", "read", "at most", "of", "by cause", "answer", "from the edit")
    cold, seconds = f"{run.cold.tokens:,}", format_milliseconds(run.cold.milliseconds)
    table.add_row("cold: the first reading", cold, "-", "-", "-", "-", seconds)
    for row in run.rows:
        if row.skipped:
            table.add_row(row.scenario, "-", "-", "-", row.skipped, "-", "-")
            continue
        bound = "-" if row.bound is None else f"{row.bound:,}"
        table.add_row(
            row.scenario,
            Text(f"{row.tokens:,}", "red" if row.held is False else ""),
            bound,
            f"{row.context_tokens:,}",
            _causes(row),
            format_milliseconds(row.milliseconds),
            format_milliseconds(row.edit_milliseconds),
        )
    return table


def _causes(row: Row) -> str:
    causes = ", ".join(f"{count:,} {cause}" for cause, count in row.read.items()) or "-"
    later = sum(row.read_afterwards.values())
    return f"{causes}; {later:,} afterwards" if later else causes


def _growth_table(growth: Iterable[Growth]) -> RenderableType:
    table = plain_table("", "edit", "read, small", "read, large", "answer, small", "answer, large", "times")
    for entry in growth:
        table.add_row(
            entry.scenario,
            f"{entry.small_tokens:,}",
            Text(f"{entry.large_tokens:,}", "" if entry.tokens_held else "red"),
            format_milliseconds(entry.small_milliseconds),
            format_milliseconds(entry.large_milliseconds),
            Text(f"{entry.ratio:.2f}", "" if entry.milliseconds_held else "red"),
        )
    return table


def write_page(result: Result, *, plot: bool) -> str:
    """The documentation's page in Markdown; with `plot`, it shows `edits.svg` beside it."""
    text = _PAGE + (_PLOT if plot else "")
    text += f"Deltaloom {result.version}; {result.machine}.\n"
    for system in dict.fromkeys(run.system for run in result.runs):
        runs = result.of(system)
        models = ", ".join(dict.fromkeys(run.model for run in runs))
        text += f"\n## {system}\n\nModel: {models}. {_ABOUT.get(system, '')}".rstrip()
        text += f"\n\n{_sizes(runs)}\n\n### Tokens read\n\n"
        text += _markdown(runs, [f"{run.cold.tokens:,}" for run in runs], _tokens)
        text += _BOUNDS if system == OURS else ""
        text += "\n### From the request to the answer\n\n"
        text += _markdown(runs, [format_milliseconds(run.cold.milliseconds) for run in runs], _time)
        text += _reasons(runs)
    return text + (_growth_page(result.growth) if result.growth else "")


def _sizes(runs: Iterable[SizeRun]) -> str:
    """How large the files are: what a file costs grows with them, not with the context around it."""
    each = [f"{round(run.cold.tokens / run.files)} at {run.context:,}" for run in runs if run.files]
    return f"Tokens of a file, on average: {', '.join(each)}; one file is the same at every size."


def _markdown(runs: list[SizeRun], cold: list[str], cell: object) -> str:
    assert callable(cell)
    by_size = [{row.scenario: row for row in run.rows} for run in runs]
    names = list(dict.fromkeys(row.scenario for run in runs for row in run.rows))
    lines = [
        "| edit | " + " | ".join(f"{run.context:,}" for run in runs) + " |",
        "|---|" + "---:|" * len(runs),
        "| *cold* | " + " | ".join(cold) + " |",
    ]
    for name in names:
        cells = [cell(rows[name]) if name in rows else "" for rows in by_size]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _tokens(row: Row) -> str:
    if row.skipped:
        return "-"
    read = f"**{row.tokens:,}**" if row.held is False else f"{row.tokens:,}"
    if later := sum(row.read_afterwards.values()):
        read += f" (+ {later:,})"
    return read if row.bound is None else f"{read} / {row.bound:,}"


def _time(row: Row) -> str:
    return "-" if row.skipped else format_milliseconds(row.milliseconds)


def _reasons(runs: Iterable[SizeRun]) -> str:
    reasons = dict.fromkeys(row.skipped for run in runs for row in run.rows if row.skipped)
    return "".join(f"\nNot measured (-): {reason}\n" for reason in reasons)


def _growth_page(growth: list[Growth]) -> str:
    small, large = growth[0].small_context, growth[0].large_context
    lines = [
        "\n## Growth\n",
        "The very same edits, in a file that is the same at every size.\n",
        f"| edit | read at {small:,} | read at {large:,} | time at {small:,} | time at {large:,} | times |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for entry in growth:
        large_tokens = f"{entry.large_tokens:,}" if entry.tokens_held else f"**{entry.large_tokens:,}**"
        ratio = f"{entry.ratio:.2f}" if entry.milliseconds_held else f"**{entry.ratio:.2f}**"
        times = f"{entry.small_milliseconds:.0f} ms | {entry.large_milliseconds:.0f} ms"
        lines.append(f"| {entry.scenario} | {entry.small_tokens:,} | {large_tokens} | {times} | {ratio} |")
    return "\n".join(lines) + "\n"
