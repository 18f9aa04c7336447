"""`--format rdjson`: Reviewdog's diagnostics (its proto/rdf/reviewdog.proto).

Invariant: columns count UTF-8 bytes from 1, ends are exclusive. A suggestion is always a whole, safe fix:
reviewers accept suggestions one by one.
"""

from __future__ import annotations

import json
from typing import Any

from deltaloom_server.lint.outcome import OfferedFix, Outcome, Reported
from deltaloom_server.lint.reports.common import (
    TOOL,
    as_unicode,
    byte_range,
    cwe,
    plain,
    shown,
    unscanned_sentence,
)
from deltaloom_server.positions import PositionEncoding, units_of_column
from deltaloom_server.security.finding import Severity

_SEVERITIES: dict[Severity, str] = {
    "low": "INFO", "medium": "WARNING", "high": "ERROR", "critical": "ERROR"
}  # fmt: skip


def render(outcome: Outcome) -> str:
    """One DiagnosticResult."""
    diagnostics = [_diagnostic(reported) for reported in shown(outcome)]
    diagnostics += [
        {
            "message": unscanned_sentence(one),
            "location": {"path": as_unicode(one.path)},
            "severity": "ERROR" if one.failed else "WARNING",
        }
        for one in outcome.unscanned
        if one.path
    ]
    return json.dumps({"source": {"name": TOOL}, "diagnostics": diagnostics}, indent=1) + "\n"


def _diagnostic(reported: Reported) -> dict[str, Any]:
    finding = reported.finding
    code = {"value": plain(finding.rule)}
    if finding.help_url:
        code["url"] = finding.help_url
    number = cwe(finding)
    return {
        "message": plain(finding.message) + (f" ({number})" if number else ""),
        "location": {"path": as_unicode(finding.path), "range": _range(reported)},
        "severity": _SEVERITIES[finding.severity],
        "code": code,
        "suggestions": [_suggestion(fix) for fix in reported.fixes if _is_one_safe_edit(fix)][:1],
    }


def _range(reported: Reported) -> dict[str, Any]:
    span = reported.finding.span
    if span.start_line != span.end_line:  # whole lines: the last one's text isn't known here
        return {"start": {"line": span.start_line + 1}, "end": {"line": span.end_line + 1}}
    first, last = (
        units_of_column(reported.source, column, PositionEncoding.UTF8)
        for column in (span.start_column, span.end_column)
    )
    line = span.start_line + 1
    return {"start": {"line": line, "column": first + 1}, "end": {"line": line, "column": last + 1}}


def _is_one_safe_edit(fix: OfferedFix) -> bool:
    return not fix.unsafe and len(fix.replacements) == 1


def _suggestion(fix: OfferedFix) -> dict[str, Any]:
    replacement = fix.replacements[0]
    first, last = byte_range(replacement)
    return {
        "range": {
            "start": {"line": replacement.span.start_line + 1, "column": first + 1},
            "end": {"line": replacement.span.end_line + 1, "column": last + 1},
        },
        "text": as_unicode(replacement.text),
    }
