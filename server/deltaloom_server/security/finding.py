"""`Finding`: what scanners report, in one form for all of them.

Invariant: a finding's identity depends on its rule, on the text of its line and on how many equal ones stand
above it, and on nothing else: not on line numbers, not on which scanner saw it first, not on where it is
shown. So the editor, the command line and yesterday's baseline mean the same thing by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Literal

import msgspec

# Under the same names here: whoever speaks of findings speaks of these.
from deltaloom_server.settings import Confidence as Confidence
from deltaloom_server.settings import Severity as Severity

Scanner = Literal["ruff", "bandit", "secrets", "semgrep", "deltaloom", "sarif"]

SEVERITIES: tuple[Severity, ...] = ("low", "medium", "high", "critical")
CONFIDENCES: tuple[Confidence, ...] = ("low", "medium", "high")

UNUSED_SUPPRESSION = "DL001"
"""The rule of a suppression comment that suppresses nothing."""


class Span(msgspec.Struct, frozen=True, order=True):
    """A half-open piece of a text: lines and columns from 0, columns in code points.

    Lines are those of `positions.split_lines` (the LSP's: a form feed or U+2028 ends none).
    """

    start_line: int
    start_column: int
    end_line: int
    end_column: int

    def touches(self, other: Span) -> bool:
        """Do the two share a line?"""
        return self.start_line <= other.end_line and other.start_line <= self.end_line


class Related(msgspec.Struct, frozen=True):
    """Another place that explains a finding, in the same file."""

    span: Span
    message: str


class Suppression(msgspec.Struct, frozen=True):
    """The comment that suppresses a finding. `family`: nosec, noqa, nosemgrep, allowlist. `line` from 0."""

    family: Literal["nosec", "noqa", "nosemgrep", "allowlist"]
    line: int
    comment: str


class Finding(msgspec.Struct, frozen=True):
    """One weakness at one place of one file.

    `rule` is the name for all scanners ("S602" for bandit's B602 and ruff's S602, "secret/aws-access-key",
    "js/eval"); `aliases` are the scanners' own names for it. `path` is relative to the workspace folder, with
    forward slashes. `cwe` is the number in MITRE's list. `identity` is "" until `identify` has given it.
    A finding with a `suppressed` isn't shown, but reported where a format has room for it.
    """

    rule: str
    message: str
    path: str
    span: Span
    severity: Severity
    confidence: Confidence
    scanners: tuple[Scanner, ...]
    aliases: tuple[str, ...] = ()
    cwe: int | None = None
    help_url: str = ""
    related: tuple[Related, ...] = ()
    identity: str = ""
    suppressed: Suppression | None = None

    def at_least(self, severity: Severity, confidence: Confidence) -> bool:
        """Is it as severe and as certain as asked for?"""
        return SEVERITIES.index(self.severity) >= SEVERITIES.index(severity) and CONFIDENCES.index(
            self.confidence
        ) >= CONFIDENCES.index(confidence)


class Unscanned(msgspec.Struct, frozen=True):
    """What a scanner did not look at, and why. `failed`: the scanner crashed, hung or can't run, so that the
    absence of findings means nothing; else the file was not fit for it (too large, not to be parsed)."""

    path: str
    scanner: Scanner
    reason: str
    failed: bool = False


class Inspection(msgspec.Struct, frozen=True):
    """All that is known of one version of one file. `scanners`: those that have looked at it in full.

    `findings` are merged, identified, in the order of the text, suppressed ones and unused suppressions among
    them.
    """

    path: str
    digest: str
    findings: tuple[Finding, ...] = ()
    unscanned: tuple[Unscanned, ...] = ()
    scanners: tuple[Scanner, ...] = ()


def identify(findings: Iterable[Finding], lines: Sequence[str]) -> tuple[Finding, ...]:
    """The findings of one file in the order of its text, each with its identity.

    `lines` are the text's. 32 hex digits: BLAKE2b-128 of the rule, the line without its outer and doubled
    white space, and how many equal ones stand above.
    """
    seen: dict[tuple[str, str], int] = {}
    identified = []
    for finding in sorted(findings, key=lambda one: (one.span, one.rule)):
        number = finding.span.start_line
        line = " ".join(lines[number].split()) if number < len(lines) else ""
        occurrence = seen.get((finding.rule, line), 0)
        seen[finding.rule, line] = occurrence + 1
        key = "\0".join((finding.rule, line, str(occurrence))).encode("utf-8", "surrogatepass")
        identity = blake2b(key, digest_size=16).hexdigest()
        identified.append(msgspec.structs.replace(finding, identity=identity))
    return tuple(identified)
