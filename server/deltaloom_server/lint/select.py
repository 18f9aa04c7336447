"""What of all that was found is reported, and what of that counts.

Invariant: the choice is made the same way for a run, for its shards and for their merge; nothing that a
baseline or an unchanged line holds back is lost: it is reported as such.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from deltaloom_server.lint.baseline import Baseline, Entry
from deltaloom_server.lint.changed_lines import Changes, changes_since
from deltaloom_server.lint.options import LintOptions
from deltaloom_server.lint.outcome import Outcome, Reported, State
from deltaloom_server.lint.shards import in_shard
from deltaloom_server.security.finding import (
    UNUSED_SUPPRESSION,
    Confidence,
    Finding,
    Severity,
)
from deltaloom_server.security.visible import matches

SECRETS = ("secret/", "S105", "S106", "S107")
"""How the names of rules begin that are about credentials and passwords in the text."""

_ALPHANUMERIC = re.compile("[A-Za-z0-9]")
SEVERITY: Severity = "medium"
CONFIDENCE: Confidence = "low"


@dataclass(frozen=True)
class Chosen:
    """`left_out`: how many are below the threshold. `notes`: sentences about the baseline."""

    findings: tuple[Reported, ...]
    left_out: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Choice:
    """What the options choose. Make it with `prepare`, before anything is scanned."""

    options: LintOptions
    baseline: Baseline | None = None
    changes: Changes | None = None
    severity: Severity = field(default=SEVERITY)
    confidence: Confidence = field(default=CONFIDENCE)

    @classmethod
    def prepare(cls, options: LintOptions) -> Choice:
        """Reads the baseline and asks git, as far as the options want it. Raises `WorkspaceError`."""
        compares = options.changed_lines or bool(options.diff_base)
        return cls(
            options,
            Baseline.read(options.baseline) if options.baseline else None,
            changes_since(options.root, options.diff_base) if compares else None,
            options.severity or SEVERITY,
            options.confidence or CONFIDENCE,
        )

    def looks_at(self, path: str) -> bool:
        """Is a file (its path relative to the root) in this shard, and among those that changed?"""
        return in_shard(path, self.options.shard) and (self.changes is None or path in self.changes.files)

    def report(self, found: Iterable[tuple[Finding, str]], files: Collection[str]) -> Chosen:
        """Choose among findings, each with its line's text. `files` are all paths that were looked at."""
        pairs = sorted(found, key=lambda pair: (pair[0].path, pair[0].span, pair[0].rule))
        everything = [finding for finding, _ in pairs]
        secrets = _secret_columns(everything)
        accepted, stale = self._accepted(everything)
        reported = []
        left_out = 0
        for (finding, source), known in zip(pairs, accepted, strict=True):
            if not self.selects(finding):
                continue
            if not self._is_told(finding):
                left_out += 1
                continue
            hidden = secrets.get((finding.path, finding.span.start_line), ())
            reported.append(Reported(finding, _masked(source, hidden), self._state(finding, known)))
        return Chosen(tuple(reported), left_out, self._about(stale, files))

    def selects(self, finding: Finding) -> bool:
        """Do --select, --ignore and --no-unused-suppressions leave it in?"""
        if finding.rule == UNUSED_SUPPRESSION and not self.options.unused_suppressions:
            return False
        return selected(finding, self.options.select, self.options.ignore)

    def _is_told(self, finding: Finding) -> bool:
        # A comment that suppresses nothing is told at any threshold; it only fails the run at its own.
        return finding.rule == UNUSED_SUPPRESSION or finding.at_least(self.severity, self.confidence)

    def _state(self, finding: Finding, known: bool) -> State:
        if known:
            return "baseline"
        lines_count = self.options.changed_lines and self.changes is not None
        if lines_count and self.changes is not None and not self.changes.touch(finding.path, finding.span):
            return "unchanged-line"
        return "new"

    def _accepted(self, findings: Sequence[Finding]) -> tuple[tuple[bool, ...], tuple[Entry, ...]]:
        if self.baseline is None:
            return (False,) * len(findings), ()
        partial = self.options.shard is not None or self.changes is not None
        return self.baseline.accept(findings, None if partial else _is_gone(self.options.root))

    def _about(self, stale: Sequence[Entry], files: Collection[str]) -> tuple[str, ...]:
        """Entries are stale where their file was looked at; where it is gone, if all files were."""
        partial = self.options.shard is not None or self.changes is not None
        gone = _is_gone(self.options.root)
        count = sum(
            entry.count
            for entry in stale
            if entry.path in files or (not partial and gone(entry.path) and self._covers(entry.path))
        )
        return stale_note(count)

    def _covers(self, path: str) -> bool:
        full = os.path.join(self.options.root, path)
        return any(full == one or full.startswith(one.rstrip(os.sep) + os.sep) for one in self.options.paths)


def selected(finding: Finding, select: Sequence[str], ignore: Sequence[str]) -> bool:
    """By the beginning of a rule, or of a scanner's name for it, or by "CWE-78"; `ignore` wins."""
    return not matches(finding, ignore) and (not select or matches(finding, select))


def _secret_columns(findings: Iterable[Finding]) -> dict[tuple[str, int], list[tuple[int, int | None]]]:
    """Where secrets stand, by (path, line): reports end up in logs and services, secrets mustn't."""
    columns: dict[tuple[str, int], list[tuple[int, int | None]]] = {}
    for finding in findings:
        if finding.rule.startswith(SECRETS):
            span = finding.span
            for line in range(span.start_line, span.end_line + 1):
                first = span.start_column if line == span.start_line else 0
                last = span.end_column if line == span.end_line else None
                columns.setdefault((finding.path, line), []).append((first, last))
    return columns


def _masked(source: str, columns: Iterable[tuple[int, int | None]]) -> str:
    """A line whose letters and digits in these columns are stars: as long as before, in bytes too."""
    for first, last in columns:
        end = len(source) if last is None else last
        source = source[:first] + _ALPHANUMERIC.sub("*", source[first:end]) + source[end:]
    return source


def _is_gone(root: str) -> Callable[[str], bool]:
    return lambda path: not os.path.lexists(os.path.join(root, path))


def stale_note(count: int) -> tuple[str, ...]:
    """What to say of baseline entries that accept nothing any more."""
    if not count:
        return ()
    what = "1 entry" if count == 1 else f"{count} entries"
    return (f"{what} of the baseline accept{'s' if count == 1 else ''} nothing any more: write it anew.",)


def baseline_of(outcome: Outcome) -> Baseline:
    """The baseline that accepts all that an outcome reports, old and new."""
    return Baseline.of(
        one.finding
        for one in outcome.findings
        if one.finding.suppressed is None and one.finding.rule != UNUSED_SUPPRESSION
    )
