"""What ruff's JSON says, as findings.

Invariant: every entry becomes a finding or is told as unscanned; none is dropped.

Ruff counts rows and columns from 1, columns in code points, and leaves a byte order mark out of them; its
line ends are those of `positions.split_lines`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec

from deltaloom_server.security.analysis.messages import ScanResult
from deltaloom_server.security.finding import Finding, Span, Unscanned
from deltaloom_server.security.rules import rule_info

_SECURITY_CODE = re.compile(r"S\d+")


class _Place(msgspec.Struct, frozen=True):
    row: int
    column: int


class Entry(msgspec.Struct, frozen=True):
    """One diagnostic of ruff's (`--output-format json`); what else it says isn't needed."""

    code: str | None
    message: str
    filename: str | None
    location: _Place
    end_location: _Place
    url: str | None = None


def read(output: bytes) -> dict[str, list[Entry]]:
    """Ruff's entries by the file name that it gives. Raises `msgspec.DecodeError` where it's none of its."""
    by_file: dict[str, list[Entry]] = {}
    for entry in msgspec.json.decode(output, type=list[Entry]):
        by_file.setdefault(entry.filename or "", []).append(entry)
    return by_file


def result(path: str, entries: Iterable[Entry], *, marked: bool = False) -> ScanResult:
    """The entries of one file. `marked`: its text begins with a byte order mark, which counts."""
    findings: list[Finding] = []
    unscanned: dict[bool, Unscanned] = {}
    for entry in entries:
        span = _span(entry, marked)
        if _SECURITY_CODE.fullmatch(entry.code or ""):
            findings.append(_finding(path, entry, span))
        else:
            broken = entry.code in (None, "invalid-syntax")
            unscanned.setdefault(broken, _unscanned(path, entry, span, failed=not broken))
    return ScanResult(tuple(findings), tuple(unscanned.values()))


def results(files: Mapping[str, str], entries: Mapping[str, list[Entry]]) -> dict[str, ScanResult]:
    """By ruff's file name, for all of `files` (ruff's name → ours), also those without an entry."""
    return {name: result(path, entries.get(name, ())) for name, path in files.items()}


def _finding(path: str, entry: Entry, span: Span) -> Finding:
    assert entry.code is not None
    info = rule_info(entry.code)
    return Finding(
        rule=info.rule,
        message=entry.message,
        path=path,
        span=span,
        severity=info.severity,
        confidence=info.confidence,
        scanners=("ruff",),
        aliases=(entry.code,),
        cwe=info.cwe,
        help_url=info.help_url or entry.url or "",
    )


def _unscanned(path: str, entry: Entry, span: Span, *, failed: bool) -> Unscanned:
    said = entry.message.strip().split("\n", 1)[0].rstrip(".")[:200]
    if failed:
        return Unscanned(path, "ruff", f"Ruff failed at line {span.start_line + 1}: {said}.", failed=True)
    return Unscanned(path, "ruff", f"Line {span.start_line + 1} doesn't parse: {said}.")


def _span(entry: Entry, marked: bool) -> Span:
    start, end = entry.location, entry.end_location
    return Span(
        max(start.row - 1, 0),
        max(start.column - 1, 0) + (marked and start.row <= 1),
        max(end.row - 1, 0),
        max(end.column - 1, 0) + (marked and end.row <= 1),
    )
