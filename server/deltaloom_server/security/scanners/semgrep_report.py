"""What semgrep-core's JSON says, as findings.

Invariant: every result becomes a finding and every error is told as unscanned; the words are ours, so that
nothing of a scanned text gets into them.

semgrep counts offsets from 0, in bytes of the UTF-8 that it was given.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from deltaloom_server.positions import line_starts, split_lines
from deltaloom_server.security.analysis.messages import ScanResult
from deltaloom_server.security.finding import Finding, Span, Unscanned
from deltaloom_server.security.rules import rule_info
from deltaloom_server.security.scanners import semgrep_rules

_UNPARSED = frozenset({"Lexical error", "Syntax error", "Other syntax error", "AST builder error"})
_TOO_MUCH: Mapping[str, str] = MappingProxyType({"Timeout": "time", "Out of memory": "memory"})
_WORDS = re.compile(r"[A-Za-z ]{1,60}")


class _Place(msgspec.Struct, frozen=True):
    line: int
    offset: int


class Match(msgspec.Struct, frozen=True):
    """A place where a rule matches. What semgrep would say of it, with the text's own words, isn't read."""

    check_id: str
    path: str
    start: _Place
    end: _Place


class _Where(msgspec.Struct, frozen=True):
    path: str
    start: _Place


class Trouble(msgspec.Struct, frozen=True):
    """What semgrep couldn't do. `error_type` is the name of a kind, or a list that begins with one."""

    error_type: Any
    location: _Where | None = None
    rule_id: str | None = None

    def kind(self) -> str:
        """The name of the kind."""
        said = (
            self.error_type[0] if isinstance(self.error_type, list) and self.error_type else self.error_type
        )
        return said if isinstance(said, str) and _WORDS.fullmatch(said) else "unknown"


class _Skipped(msgspec.Struct, frozen=True):
    rule_id: str


class _Paths(msgspec.Struct, frozen=True):
    scanned: list[str]


class Report(msgspec.Struct, frozen=True):
    """A whole report (`-json_nodots`); what else it says isn't needed."""

    version: str
    results: list[Match]
    errors: list[Trouble]
    paths: _Paths
    skipped_rules: list[_Skipped]


class RulesRefused(Exception):
    """semgrep doesn't understand a rule; its name."""


def read(output: bytes) -> Report:
    """Raises `msgspec.DecodeError` where it is no report about our rules, and `RulesRefused`."""
    report = msgspec.json.decode(output, type=Report)
    known = semgrep_rules.messages()
    if any(match.check_id not in known for match in report.results):
        raise msgspec.ValidationError("the report is not about our rules")
    for rule in report.skipped_rules:
        raise RulesRefused(rule.rule_id)
    return report


def result(path: str, text: str, name: str, report: Report) -> ScanResult:
    """What a report says of the file that semgrep knew by `name`, and that is `text` at `path`."""
    matches = [match for match in report.results if match.path == name]
    spans = _spans(text, matches)
    found = {(spans[match], match.check_id) for match in matches}
    findings = tuple(_finding(path, span, identifier) for span, identifier in sorted(found))
    mine = [one for one in report.errors if one.location is None or one.location.path in (name, "")]
    unscanned = dict.fromkeys(_unscanned(path, one) for one in mine)
    if not unscanned and name not in report.paths.scanned:
        unscanned = dict.fromkeys([Unscanned(path, "semgrep", "semgrep passed the file over.", failed=True)])
    return ScanResult(findings, _gravest(unscanned))


def _gravest(unscanned: Iterable[Unscanned]) -> tuple[Unscanned, ...]:
    """One of each kind: a text with a hundred broken lines is told of once."""
    first: dict[bool, Unscanned] = {}
    for one in unscanned:
        first.setdefault(one.failed, one)
    return tuple(first.values())


def _finding(path: str, span: Span, identifier: str) -> Finding:
    info = rule_info(semgrep_rules.rule_name(identifier))
    return Finding(
        rule=info.rule,
        message=semgrep_rules.messages()[identifier],
        path=path,
        span=span,
        severity=info.severity,
        confidence=info.confidence,
        scanners=("semgrep",),
        aliases=(identifier,),
        cwe=info.cwe,
        help_url=info.help_url,
    )


def _unscanned(path: str, trouble: Trouble) -> Unscanned:
    kind = trouble.kind()
    line = trouble.location.start.line if trouble.location is not None else 1
    if kind == "PartialParsing":
        return Unscanned(
            path, "semgrep", f"semgrep can't parse line {line}: what stands there isn't looked at."
        )
    if kind in _UNPARSED:
        return Unscanned(path, "semgrep", f"Line {line} doesn't parse for semgrep.")
    if kind == "Stack overflow":
        return Unscanned(path, "semgrep", "The file is nested too deeply for semgrep.")
    if kind == "Fixpoint timeout":
        return Unscanned(path, "semgrep", "A function is too complex for semgrep to follow its values.")
    if kind == "Too many matches":
        return Unscanned(path, "semgrep", f"A rule of semgrep's{_named(trouble)} matches too often in it.")
    if kind in _TOO_MUCH:
        why = f"semgrep needed too much {_TOO_MUCH[kind]} for the file{_named(trouble)}."
        return Unscanned(path, "semgrep", why, failed=True)
    return Unscanned(path, "semgrep", f"semgrep failed at the file ({kind}).", failed=True)


def _named(trouble: Trouble) -> str:
    known = trouble.rule_id in semgrep_rules.messages()
    return f" ({semgrep_rules.rule_name(trouble.rule_id)})" if known and trouble.rule_id else ""


def _spans(text: str, matches: Iterable[Match]) -> Mapping[Match, Span]:
    """In one pass over the text, whatever the number of matches."""
    matches = list(matches)
    offsets = sorted({offset for one in matches for offset in (one.start.offset, one.end.offset)})
    places = dict(zip(offsets, _places(text, offsets), strict=True))
    return {one: Span(*places[one.start.offset], *places[one.end.offset]) for one in matches}


def _places(text: str, offsets: Iterable[int]) -> Iterable[tuple[int, int]]:
    """(line, column in code points) for offsets in order, in bytes."""
    data = text.encode()
    starts = line_starts(split_lines(text)[:-1])
    at = points = 0
    for offset in offsets:
        points += len(data[at:offset].decode("utf-8", "ignore"))
        at = max(at, offset)
        line = bisect_right(starts, points) - 1
        yield line, points - starts[line]
