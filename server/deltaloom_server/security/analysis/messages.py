"""What crosses the pipe between the server and its analysis process.

Invariant: every request gets one reply; texts and findings only, nothing that could run.
"""

from __future__ import annotations

import msgspec

from deltaloom_server.security.finding import Finding, Inspection, Scanner, Span, Unscanned
from deltaloom_server.security.proposal import Proposal, Verdict


class ScanText(msgspec.Struct, frozen=True, tag="scan"):
    """Look at one text. `path` tells the language. `lines` [first, last] from 0: for `secrets` only, which
    looks at these lines (None: all of them)."""

    path: str
    text: str
    scanners: tuple[Scanner, ...]
    lines: tuple[tuple[int, int], ...] | None = None


class ScanResult(msgspec.Struct, frozen=True, tag="scanned"):
    """What each scanner saw, not yet merged nor identified, suppression comments ignored."""

    findings: tuple[Finding, ...]
    unscanned: tuple[Unscanned, ...] = ()


class Assemble(msgspec.Struct, frozen=True, tag="assemble"):
    """Make one inspection of what `scanners` said of a text, its suppression comments counted."""

    path: str
    text: str
    result: ScanResult
    scanners: tuple[Scanner, ...]


class Assembled(msgspec.Struct, frozen=True, tag="assembled"):
    """The inspection."""

    inspection: Inspection


class Propose(msgspec.Struct, frozen=True, tag="propose"):
    """What do the codemods have for this finding in this text?"""

    text: str
    finding: Finding


class Proposed(msgspec.Struct, frozen=True, tag="proposed"):
    """In the order of preference; empty, with the reason, where there is none."""

    proposals: tuple[Proposal, ...] = ()
    reason: str = ""


class Judge(msgspec.Struct, frozen=True, tag="judge"):
    """May this proposal be offered as a fix of `finding` in `text`?

    `known` are the other findings that `text` had (so that what was there before isn't called new).
    `roots` are the folders where the workspace's own modules are looked for (absolute paths).
    """

    text: str
    finding: Finding
    proposal: Proposal
    known: tuple[Finding, ...] = ()
    roots: tuple[str, ...] = ()


class Judged(msgspec.Struct, frozen=True, tag="judged"):
    """The verdict of the gate."""

    verdict: Verdict


class CheckCode(msgspec.Struct, frozen=True, tag="check"):
    """Would this change of a Python text be sound? For code that the model wrote without a finding.

    It must parse, leave every scope outside [first_line, last_line] (of `text`, from 0) as it was, use only
    names that are defined, and add no finding.
    """

    path: str
    text: str
    proposal: Proposal
    first_line: int
    last_line: int
    roots: tuple[str, ...] = ()


class Locate(msgspec.Struct, frozen=True, tag="locate"):
    """Which statement and which function does this piece of a text belong to?"""

    path: str
    text: str
    span: Span


class Located(msgspec.Struct, frozen=True, tag="located"):
    """Code points [start, end) of the statement's whole lines, and of the function's with its decorators;
    -1 where there is no function around it."""

    statement_start: int
    statement_end: int
    function_start: int = -1
    function_end: int = -1
    function: str = ""


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The request could not be served: one sentence."""

    reason: str


Request = ScanText | Assemble | Propose | Judge | CheckCode | Locate
Reply = ScanResult | Assembled | Proposed | Judged | Located | Failed
