"""Several scanners' findings of one text become one list.

Invariant: the result depends on what was found, not on the order in which scanners told it; a finding that
ruff sees has the same identity whether or not others see it too; assembling a result again changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

import msgspec

from deltaloom_model.api import text_digest
from deltaloom_server.positions import split_lines
from deltaloom_server.security.analysis.messages import ScanResult
from deltaloom_server.security.finding import (
    CONFIDENCES,
    SEVERITIES,
    UNUSED_SUPPRESSION,
    Finding,
    Inspection,
    Related,
    Scanner,
    Span,
    identify,
)  # fmt: skip
from deltaloom_server.security.rules import rule_info
from deltaloom_server.security.suppressions import apply

_ORDER: tuple[Scanner, ...] = ("ruff", "deltaloom", "semgrep", "sarif", "secrets", "bandit")
"""Whose place a merged finding takes: the first that sees it. Ruff's spans are exact, bandit's are lines."""

_PASSWORD_RULES = frozenset({"S105", "S106", "S107"})
_GUESSED = frozenset(
    {"secret/secret-keyword", "secret/base64-high-entropy-string", "secret/hex-high-entropy-string"}
)


def assemble(
    path: str,
    text: str,
    results: Iterable[ScanResult],
    scanners: Collection[Scanner],
    *,
    comments: bool = True,
) -> Inspection:
    """All that `results` say of a text, merged, suppressed and identified.

    `scanners` are those that were asked to look at all of it; those that didn't are left out of the
    inspection's, and no suppression comment is called unused for what they didn't see. With `comments` the
    text is tokenized and may be parsed for them, if it has any: so it is called in the analysis process.
    """
    results = tuple(results)
    unscanned = sorted({one for result in results for one in result.unscanned}, key=_plain)
    missed = {one.scanner for one in unscanned}
    looked = tuple(one for one in sorted(set(scanners)) if one not in missed)
    found = (one for result in results for one in result.findings if one.rule != UNUSED_SUPPRESSION)
    merged = merge(found)
    judged = apply(text, path, merged, looked) if comments else merged
    findings = identify(judged, split_lines(text))
    return Inspection(path, text_digest(text), findings, tuple(unscanned), looked)


def merge(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """One finding for each weakness, whoever sees it, in the order of the text."""
    by_rule: dict[str, list[Finding]] = {}
    for finding in findings:
        by_rule.setdefault(finding.rule, []).append(finding)
    merged = [one for rule in sorted(by_rule) for one in _merge_rule(by_rule[rule])]
    return tuple(sorted(_with_secrets(merged), key=lambda one: (one.span, one.rule)))


# -- one rule, several scanners ------------------------------------------------------------------------------


def _merge_rule(findings: Sequence[Finding]) -> list[Finding]:
    """Those of one rule, each with what other scanners say of the same place.

    A scanner's two findings are two weaknesses, unless they have the very same span. Of two scanners'
    findings those belong together of which one lies in the other, the tightest pairs first; then those that
    share a line.
    """
    groups = _same_span(findings)
    pairs = sorted(_pairs([group[0].span for group in groups]))
    member = {number: {number} for number in range(len(groups))}
    for _, first, second in pairs:
        one, other = member[first], member[second]
        if one is other or _seen_by(groups, one) & _seen_by(groups, other):
            continue
        one |= other
        for number in other:
            member[number] = one
    unique = {min(numbers): sorted(numbers) for numbers in member.values()}
    return [_one([f for number in numbers for f in groups[number]]) for numbers in unique.values()]


def _same_span(findings: Iterable[Finding]) -> list[list[Finding]]:
    groups: dict[Span, list[Finding]] = {}
    for finding in sorted(findings, key=_plain):
        groups.setdefault(finding.span, []).append(finding)
    return [groups[span] for span in sorted(groups)]


def _seen_by(groups: Sequence[Sequence[Finding]], numbers: Iterable[int]) -> set[Scanner]:
    return {scanner for number in numbers for one in groups[number] for scanner in one.scanners}


def _pairs(spans: Sequence[Span]) -> Iterator[tuple[tuple[int, ...], int, int]]:
    """Which of some spans in order share a line: how well they fit, and their numbers."""
    for first, span in enumerate(spans):
        for second in range(first + 1, len(spans)):
            if spans[second].start_line > span.end_line:
                break
            yield _fit(span, spans[second]), first, second


def _fit(first: Span, second: Span) -> tuple[int, ...]:
    """How well two spans fit, the best first."""
    inside = _holds(first, second) or _holds(second, first)
    wide = max(_extent(first), _extent(second))
    rows = abs(first.start_line - second.start_line)
    return (not inside, *wide, rows, abs(first.start_column - second.start_column))


def _holds(wide: Span, narrow: Span) -> bool:
    return (wide.start_line, wide.start_column) <= (narrow.start_line, narrow.start_column) and (
        narrow.end_line, narrow.end_column
    ) <= (wide.end_line, wide.end_column)  # fmt: skip


def _extent(span: Span) -> tuple[int, int]:
    """For comparing: how many lines and columns a span takes."""
    lines = span.end_line - span.start_line
    return lines, span.end_column - (0 if lines else span.start_column)


def _one(findings: Sequence[Finding]) -> Finding:
    """What several scanners say of one weakness, as one finding."""
    if len(findings) == 1:
        return findings[0]
    ordered = sorted(findings, key=_precedence)
    best = ordered[0]
    graded = [one for one in ordered if "bandit" in one.scanners]
    varies = rule_info(best.rule).varies if graded else ""
    severity = max((one.severity for one in ordered), key=SEVERITIES.index)
    confidence = max((one.confidence for one in ordered), key=CONFIDENCES.index)
    if varies in ("severity", "both"):
        severity = max((one.severity for one in graded), key=SEVERITIES.index)
    if varies in ("confidence", "both"):
        confidence = max((one.confidence for one in graded), key=CONFIDENCES.index)
    return msgspec.structs.replace(
        best,
        message=max((one.message for one in ordered), key=lambda text: (len(text), text)),
        severity=severity,
        confidence=confidence,
        scanners=tuple(sorted({scanner for one in ordered for scanner in one.scanners})),
        aliases=tuple(sorted({alias for one in ordered for alias in one.aliases})),
        cwe=next((one.cwe for one in ordered if one.cwe is not None), None),
        help_url=next((one.help_url for one in ordered if one.help_url), ""),
        related=_related(ordered),
    )


def _precedence(finding: Finding) -> tuple[int, tuple[int, int], bytes]:
    return min(map(_ORDER.index, finding.scanners)), _extent(finding.span), _plain(finding)


def _related(findings: Iterable[Finding]) -> tuple[Related, ...]:
    return tuple(sorted({one for finding in findings for one in finding.related}, key=_plain))


def _plain(value: msgspec.Struct) -> bytes:
    """A total order for things that have none of their own."""
    return msgspec.json.encode(value)


# -- passwords and secrets -----------------------------------------------------------------------------------


def _with_secrets(findings: Sequence[Finding]) -> list[Finding]:
    """Secrets that are also somebody's hard-coded password become part of that finding.

    It keeps the password's rule, so that it is the same finding where nobody looks for secrets. What only
    looks like a secret (by its name, by its letters) becomes part of one that is known for what it is.
    """
    result: dict[int, Finding] = dict(enumerate(findings))
    secrets = [number for number, one in result.items() if one.rule.startswith("secret/")]
    for number in sorted(secrets, key=lambda number: result[number].rule not in _GUESSED):
        secret = result[number]
        same = [
            at
            for at, one in result.items()
            if _tells_more(one.rule, secret.rule) and _shares_text(one.span, secret.span)
        ]
        if same:
            at = min(same, key=lambda at: (_extent(result[at].span), result[at].span))
            result[at] = _absorb(result[at], secret)
            del result[number]
    return list(result.values())


def _tells_more(rule: str, secret: str) -> bool:
    guessed = secret in _GUESSED and rule not in _GUESSED and rule.startswith("secret/")
    return rule in _PASSWORD_RULES or guessed


def _shares_text(one: Span, other: Span) -> bool:
    """Do they overlap?"""
    return (one.start_line, one.start_column) < (other.end_line, other.end_column) and (
        other.start_line, other.start_column
    ) < (one.end_line, one.end_column)  # fmt: skip


def _absorb(password: Finding, secret: Finding) -> Finding:
    return msgspec.structs.replace(
        password,
        message=password.message
        if secret.message in password.message
        else f"{password.message} ({secret.message})",
        severity=max(password.severity, secret.severity, key=SEVERITIES.index),
        confidence=max(password.confidence, secret.confidence, key=CONFIDENCES.index),
        scanners=tuple(sorted({*password.scanners, *secret.scanners})),
        aliases=tuple(sorted({*password.aliases, secret.rule, *secret.aliases})),
        related=_related((password, secret)),
    )
