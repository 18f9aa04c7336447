"""Findings as LSP diagnostics, and back.

Invariant: a diagnostic's `data` carries the finding's identity and rule, by which a code action finds it
again in whatever the text is by then; positions are in the client's encoding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lsprotocol import types

from deltaloom_server.positions import PositionEncoding, content_length, units_of_column
from deltaloom_server.security.finding import UNUSED_SUPPRESSION, Finding, Inspection, Span, Unscanned

SOURCE = "deltaloom"
NOT_SCANNED = "DL000"

_SEVERITIES: Mapping[str, types.DiagnosticSeverity] = {
    "low": types.DiagnosticSeverity.Information,
    "medium": types.DiagnosticSeverity.Warning,
    "high": types.DiagnosticSeverity.Error,
    "critical": types.DiagnosticSeverity.Error,
}


def to_diagnostics(
    inspection: Inspection,
    findings: Iterable[Finding],
    lines: Sequence[str],
    encoding: PositionEncoding,
    uri: str,
) -> list[types.Diagnostic]:
    """The diagnostics of one document: `findings` (those of the inspection's that are shown), and what wasn't
    scanned."""
    made = [to_diagnostic(finding, lines, encoding, uri) for finding in findings]
    return made + [_not_scanned(one) for one in inspection.unscanned]


def to_diagnostic(
    finding: Finding, lines: Sequence[str], encoding: PositionEncoding, uri: str
) -> types.Diagnostic:
    """One finding."""
    unused = finding.rule == UNUSED_SUPPRESSION
    related = [
        types.DiagnosticRelatedInformation(
            types.Location(uri, to_range(one.span, lines, encoding)), one.message
        )
        for one in finding.related
    ]
    cwe = f" (CWE-{finding.cwe})" if finding.cwe else ""
    return types.Diagnostic(
        range=to_range(finding.span, lines, encoding),
        message=f"{finding.message}{cwe}",
        severity=types.DiagnosticSeverity.Hint if unused else _SEVERITIES[finding.severity],
        code=finding.rule,
        code_description=types.CodeDescription(finding.help_url) if finding.help_url else None,
        source=SOURCE,
        tags=[types.DiagnosticTag.Unnecessary] if unused else None,
        related_information=related or None,
        data={
            "identity": finding.identity,
            "rule": finding.rule,
            "aliases": list(finding.aliases),
            "scanners": list(finding.scanners),
            "severity": finding.severity,
            "confidence": finding.confidence,
            "cwe": finding.cwe,
        },
    )


def identity_of(diagnostic: types.Diagnostic) -> str | None:
    """The identity of the finding behind a diagnostic; None for another server's."""
    data: Any = diagnostic.data
    if diagnostic.source != SOURCE or not isinstance(data, dict):
        return None
    identity = data.get("identity")
    return identity if isinstance(identity, str) else None


def to_range(span: Span, lines: Sequence[str], encoding: PositionEncoding) -> types.Range:
    """A span in the client's units."""
    return types.Range(
        _position(span.start_line, span.start_column, lines, encoding),
        _position(span.end_line, span.end_column, lines, encoding),
    )


def _position(line: int, column: int, lines: Sequence[str], encoding: PositionEncoding) -> types.Position:
    if line >= len(lines):
        return types.Position(line, 0)
    text = lines[line][: content_length(lines[line])]
    return types.Position(line, units_of_column(text, min(column, len(text)), encoding))


def _not_scanned(unscanned: Unscanned) -> types.Diagnostic:
    start = types.Position(0, 0)
    return types.Diagnostic(
        range=types.Range(start, start),
        message=f"Not scanned by {unscanned.scanner}: {unscanned.reason}",
        severity=types.DiagnosticSeverity.Warning
        if unscanned.failed
        else types.DiagnosticSeverity.Information,
        code=NOT_SCANNED,
        source=SOURCE,
        data={"scanner": unscanned.scanner, "failed": unscanned.failed},
    )
