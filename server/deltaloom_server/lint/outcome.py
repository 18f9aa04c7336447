"""`Outcome`: all that one run of `deltaloom lint` found out, in the form that every report is made from.

Invariant: an outcome needs no file to be read again: a report, a merge or an exit status is made from it
alone, on another machine as well. It holds lines of source code, so it is written where the user asked for it
and never logged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from deltaloom_server.security.finding import Confidence, Finding, Severity, Span, Unscanned
from deltaloom_server.security.proposal import Origin

FORMAT = 1
"""Of the JSON that `--format json` writes; raised when a field changes its meaning."""

State = Literal["new", "baseline", "unchanged-line"]


class Replacement(msgspec.Struct, frozen=True, order=True):
    """Put `text` in place of `span`.

    `before` are the whole lines that the span lies in, with their ends: some formats count columns in other
    units than code points.
    """

    span: Span
    text: str
    before: str = ""

    @classmethod
    def of(cls, lines: Sequence[str], span: Span, text: str) -> Replacement:
        """`lines` are those of the text, as `positions.split_lines` gives them."""
        return cls(span, text, "".join(lines[span.start_line : span.end_line + 1]))


class OfferedFix(msgspec.Struct, frozen=True):
    """A fix of one file that the gate has accepted.

    `replacements` are about the finding's own file, in order, without overlaps. `label` says what verified it
    ("parsed; rescanned by bandit and ruff"). `unsafe` fixes are applied with `--unsafe-fixes` only.
    """

    title: str
    replacements: tuple[Replacement, ...]
    label: str
    origin: Origin = "codemod"
    unsafe: bool = False
    note: str = ""


class Reported(msgspec.Struct, frozen=True):
    """A finding as a report shows it. `source` is the text of its first line, without the line's end.

    `state`: only `new` ones count for the exit status. `baseline`: accepted in the baseline file.
    `unchanged-line`: with `--changed-lines`, on a line that didn't change.
    """

    finding: Finding
    source: str = ""
    state: State = "new"
    fixes: tuple[OfferedFix, ...] = ()


class AppliedFix(msgspec.Struct, frozen=True):
    """A fix that `--fix` has written, or that it would write with `--diff`. `line` (from 0) is the finding's
    before any fix."""

    path: str
    rule: str
    identity: str
    line: int
    title: str
    label: str
    unsafe: bool = False


class FileDiff(msgspec.Struct, frozen=True):
    """What all fixes of one file change, as a unified diff."""

    path: str
    diff: str


class Outcome(msgspec.Struct, frozen=True):
    """One run, or several merged. Paths are relative to `root`, with forward slashes.

    `findings` are in the order of path and place; suppressed ones (`finding.suppressed`) among them, those
    below the threshold aren't: `left_out` counts them. `files` were looked at, `cached` of them without a
    scanner having to run. `complete` is False when a part of the work was not done at all (a shard is
    missing, the run was broken off). `diffs` are there with `--diff`; `fixed_text` is stdin's text after
    `--fix`, None without. `started` is in seconds since 1970 (UTC).
    `paths` are those of the files that were looked at: a merge tells by them which files are gone.
    """

    version: str
    root: str
    files: int
    findings: tuple[Reported, ...] = ()
    unscanned: tuple[Unscanned, ...] = ()
    notes: tuple[str, ...] = ()
    fixed: tuple[AppliedFix, ...] = ()
    diffs: tuple[FileDiff, ...] = ()
    fixed_text: str | None = None
    shard: tuple[int, int] | None = None
    complete: bool = True
    started: float = 0.0
    seconds: float = 0.0
    cached: int = 0
    left_out: int = 0
    paths: tuple[str, ...] = ()
    severity: Severity = "medium"
    confidence: Confidence = "low"
    format: int = FORMAT

    @property
    def failures(self) -> tuple[Unscanned, ...]:
        """Where a scanner failed, so that nothing found means nothing."""
        return tuple(one for one in self.unscanned if one.failed)

    def is_blocking(self, reported: Reported) -> bool:
        """Does this finding make the run fail: new, not suppressed, at or above the threshold?"""
        return (
            reported.state == "new"
            and reported.finding.suppressed is None
            and reported.finding.at_least(self.severity, self.confidence)
        )

    @property
    def blocking(self) -> tuple[Reported, ...]:
        """The findings that make the run fail."""
        return tuple(one for one in self.findings if self.is_blocking(one))


def exit_status(outcome: Outcome, *, exit_zero: bool = False) -> int:
    """2 when a scanner failed or work is missing, whatever else was found; else 1 when a finding blocks; else
    0. `exit_zero` makes 1 to 0, never 2."""
    if outcome.failures or not outcome.complete:
        return 2
    return 1 if outcome.blocking and not exit_zero else 0


def failure_sentence(outcome: Outcome) -> str:
    """Why the exit status is 2, in one sentence; "" where it isn't."""
    failures = outcome.failures
    if failures:
        scanners = " and ".join(sorted({one.scanner for one in failures}))
        first = failures[0]
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        where = f" on {first.path}" if first.path else ""
        return f"{scanners} failed{where}: {first.reason.rstrip('.')}{more}; what was found is incomplete."
    if not outcome.complete:
        return "Not all of the work was done, so what was found is incomplete."
    return ""
