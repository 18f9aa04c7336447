"""`--format github`: workflow commands, which GitHub shows as annotations beside the lines.

Invariant: nothing in a path or message ends the command or begins another one (docs.github.com, "Workflow
commands": `%`, line ends, and in properties `:` and `,` are written as %XX).
"""

from __future__ import annotations

from collections.abc import Iterator

from deltaloom_server.lint.outcome import Outcome, Reported, failure_sentence
from deltaloom_server.lint.reports.common import plain, rule_title, shown, unscanned_sentence
from deltaloom_server.security.finding import Severity

_COMMANDS: dict[Severity, str] = {
    "low": "notice", "medium": "warning", "high": "error", "critical": "error"
}  # fmt: skip


def render(outcome: Outcome) -> str:
    """One command a line; empty for an outcome without findings and failures."""
    return "".join(f"{line}\n" for line in _commands(outcome))


def _commands(outcome: Outcome) -> Iterator[str]:
    for reported in shown(outcome):
        yield _finding(reported)
    for one in outcome.unscanned:
        where = f" file={_property(one.path)}" if one.path else ""
        yield f"::{'error' if one.failed else 'warning'}{where}::{_data(unscanned_sentence(one))}"
    for note in outcome.notes:
        yield f"::notice::{_data(plain(note))}"
    if sentence := failure_sentence(outcome):
        yield f"::error::{_data(plain(sentence))}"


def _finding(reported: Reported) -> str:
    finding = reported.finding
    span = finding.span
    properties = {
        "file": finding.path,
        "line": str(span.start_line + 1),
        "endLine": str(span.end_line + 1),
        "title": f"Deltaloom {rule_title(finding)}",
    }
    if span.start_line == span.end_line:  # columns of two lines can't be compared: GitHub drops such a range
        properties |= {"col": str(span.start_column + 1), "endColumn": str(span.end_column + 1)}
    message = finding.message
    for fix in reported.fixes[:1]:
        message += f"\nFix: {plain(fix.title)} ({plain(fix.label)})"
    words = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    return f"::{_COMMANDS[finding.severity]} {words}::{_data(message)}"


def _data(text: str) -> str:
    escaped = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return plain(escaped)


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
