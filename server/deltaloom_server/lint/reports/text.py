"""`--format text`: for a person in a terminal or a log.

Invariant: colour only on a terminal, and not where NO_COLOR is set (no-color.org); what files hold is shown
with its control characters escaped, and so that no CI takes a line of it for a command.

The runners' commands: GitHub's `::name::` at a line's beginning, blanks before it left out, and its older
`##[name]` anywhere (actions/runner, ActionCommand.cs); Azure's `##vso[` and TeamCity's `##teamcity[`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import groupby
from typing import IO, TYPE_CHECKING

from deltaloom_server.lint.outcome import Outcome, Reported, failure_sentence
from deltaloom_server.lint.reports.common import plain, rule_title, shown, unscanned_sentence
from deltaloom_server.security.finding import Severity

if TYPE_CHECKING:
    from rich.text import Text

_COLOURS: dict[Severity, str] = {
    "low": "cyan", "medium": "yellow", "high": "red", "critical": "bold red"
}  # fmt: skip
_EXCERPT = 100
_INDENT = " " * 11
_COMMAND = re.compile(r"^\s*(:)(?=:)|(#)(?=#(?:vso|teamcity)?\[)", re.IGNORECASE)
"""In a line; the group is the character that is written as an escape instead."""
_DIFF_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


def render(outcome: Outcome) -> str:
    """Without colours, paths relative to the root."""
    return "".join(f"{_inert(line).plain}\n" for line in _lines(outcome, "", summary=True))


def print_text(outcome: Outcome, stream: IO[str], here: str, *, summary: bool = True) -> None:
    """To a stream, in colours if it is a terminal; paths relative to the folder `here`."""
    _print(_lines(outcome, here, summary=summary), stream)


def print_diffs(outcome: Outcome, stream: IO[str]) -> None:
    """What `--fix` would change: unified diffs that `git apply` takes, coloured on a terminal."""
    if not stream.isatty():
        stream.write("".join(one.diff for one in outcome.diffs))
        return
    from rich.text import Text

    lines = (line for one in outcome.diffs for line in one.diff.splitlines())
    _print((Text(plain(line), _DIFF_COLOURS.get(line[:1], "")) for line in lines), stream)


def print_summary(outcome: Outcome, stream: IO[str]) -> None:
    """Only what was and what wasn't looked at, and what came of it."""
    _print(_tail(outcome, summary=True), stream)


def _print(lines: Iterator[Text], stream: IO[str]) -> None:
    from rich.console import Console

    class Terminal(Console):
        def on_broken_pipe(self) -> None:  # rich would exit with a status of its own
            raise BrokenPipeError

    console = Terminal(
        file=stream, highlight=False, soft_wrap=True, no_color=True if os.environ.get("NO_COLOR") else None
    )
    for line in lines:
        console.print(_inert(line))


def _inert(line: Text) -> Text:
    """The line with an escape for a character of each command in it."""
    from rich.text import Text

    parts: list[Text] = []
    done = 0
    for at in _escaped(line.plain):
        parts += [line[done:at], Text(f"\\x{ord(line.plain[at]):02x}", line.style)]
        done = at + 1
    return Text.assemble(*parts, line[done:]) if parts else line


def _escaped(line: str) -> list[int]:
    """Where characters stand that are written as escapes, each three columns wider."""
    return [match.start(match.lastindex or 0) for match in _COMMAND.finditer(line)]


def _lines(outcome: Outcome, here: str, *, summary: bool) -> Iterator[Text]:
    from rich.text import Text

    for path, findings in groupby(shown(outcome), key=lambda one: one.finding.path):
        yield Text(_display(outcome, path, here), "bold underline")
        for reported in findings:
            yield from _finding(reported)
        yield Text()
    yield from _tail(outcome, summary=summary)


def _display(outcome: Outcome, path: str, here: str) -> str:
    # An outcome that was made on another machine is about folders that aren't here.
    known = here and os.path.isdir(outcome.root)
    return plain(os.path.relpath(os.path.join(outcome.root, path), here) if known else path)


def _finding(reported: Reported) -> Iterator[Text]:
    from rich.text import Text

    finding = reported.finding
    colour = _COLOURS[finding.severity]
    where = f"{finding.span.start_line + 1}:{finding.span.start_column + 1}"
    yield Text.assemble(
        f"  {where:<8} ", (f"{finding.severity:<8} ", colour), (rule_title(finding), "bold"), " ",
        plain(finding.message), (f"  [{', '.join(finding.scanners)}]", "dim"),
    )  # fmt: skip
    code, caret = _excerpt(reported)
    if code.strip():
        yield Text(f"{_INDENT}{code}", "dim")
        yield Text(f"{_INDENT}{caret}", colour)
    for fix in reported.fixes:
        mark = " (look before you apply it)" if fix.unsafe else ""
        yield Text.assemble(
            ("           fix: ", "green"), f"{plain(fix.title)}{mark}", (f"  [{plain(fix.label)}]", "dim")
        )


def _excerpt(reported: Reported) -> tuple[str, str]:
    """A part of the finding's line and carets below it, both as wide as they show."""
    from rich.cells import cell_len

    source, span = reported.source, reported.finding.span
    start = min(span.start_column, len(source))
    end = len(source) if span.end_line > span.start_line else min(span.end_column, len(source))
    indent = len(source) - len(source.lstrip())
    first = min(indent, start) if start - indent < _EXCERPT - 20 else start - 20
    before, marked = plain(source[first:start]), plain(source[start:end])
    code = plain(source[first : first + _EXCERPT])
    room = max(_EXCERPT - cell_len(before), 1)
    wider = [at < len(before) for at in _escaped(code) if at < len(before) + len(marked)]
    carets = "^" * (min(max(cell_len(marked), 1), room) + 3 * wider.count(False))
    return code, " " * (cell_len(before) + 3 * wider.count(True)) + carets


def _tail(outcome: Outcome, *, summary: bool) -> Iterator[Text]:
    from rich.text import Text

    for one in outcome.unscanned:
        where = f"{plain(one.path)}: " if one.path else ""
        yield Text(f"{where}{unscanned_sentence(one)}", "bold red" if one.failed else "yellow")
    for note in outcome.notes:
        yield Text(f"note: {plain(note)}", "cyan")
    if not summary:
        return
    for fixed in outcome.fixed:
        did = "would fix" if outcome.diffs else "fixed"
        yield Text(f"{did} {plain(fixed.path)}:{fixed.line + 1} {plain(fixed.rule)}: {plain(fixed.title)} "
                   f"[{plain(fixed.label)}]", "green")  # fmt: skip
    yield Text(summary_line(outcome), "bold red" if outcome.blocking or outcome.failures else "bold green")
    if sentence := failure_sentence(outcome):
        yield Text(plain(sentence), "bold red")


def summary_line(outcome: Outcome) -> str:
    """All counts in one line."""
    found = shown(outcome)
    words = [_count(len(found), "finding") if found else "No findings", f"in {_count(outcome.files, 'file')}"]
    baseline = sum(one.state == "baseline" for one in outcome.findings)
    unchanged = sum(one.state == "unchanged-line" for one in outcome.findings)
    suppressed = sum(one.finding.suppressed is not None for one in outcome.findings)
    parts = [
        f"{count} {what}"
        for count, what in (
            (baseline, "in the baseline"),
            (unchanged, "on unchanged lines"),
            (suppressed, "suppressed"),
            (outcome.left_out, f"below {outcome.severity} severity or {outcome.confidence} confidence"),
            (sum(bool(one.fixes) for one in found), "with a verified fix"),
        )
        if count
    ]
    line = " ".join(words) + (f" ({', '.join(parts)})" if parts else "")
    return f"{line}, {outcome.seconds:.1f} s."


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
