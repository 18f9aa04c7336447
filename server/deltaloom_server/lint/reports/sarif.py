"""`--format sarif`: SARIF 2.1.0, as code scanning services read it.

Invariant: locations are relative to %SRCROOT%, lines and columns count from 1, columns in code points; every
result has our identity among its partial fingerprints, and a fingerprint that no other result of the run has.
A run in which a scanner failed says that it was not successful.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, metadata
from typing import Any

from deltaloom_server.lint.outcome import OfferedFix, Outcome, Reported
from deltaloom_server.lint.reports.common import TOOL, as_unicode, key, plain, unscanned_sentence, uri
from deltaloom_server.lint.reports.sarif_rules import LEVELS, descriptor
from deltaloom_server.security.finding import Span, Unscanned

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def render(outcome: Outcome) -> str:
    """One log with one run: new, suppressed and accepted findings, the latter two as such."""
    reported = [one for one in outcome.findings if one.state != "unchanged-line"]
    rules = sorted({one.finding.rule for one in reported})
    driver: dict[str, Any] = {
        "name": TOOL,
        "version": outcome.version,
        "rules": [descriptor(rule, [one.finding for one in reported]) for rule in rules],
    }
    if home := _home():
        driver["informationUri"] = home
    run = {
        "tool": {"driver": driver},
        "automationDetails": {"id": _automation_id(outcome)},
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {
            "%SRCROOT%": {"description": {"text": "The top folder of the repository that was looked at."}}
        },
        "invocations": [_invocation(outcome)],
        "results": [_result(one, rules) for one in reported],
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1) + "\n"


def _home() -> str:
    """The project's home page, as its package names it; "" where it names none."""
    try:
        urls = metadata("deltaloom").get_all("Project-URL") or []
    except PackageNotFoundError:
        return ""
    return next((url.partition(",")[2].strip() for url in urls if "," in url), "")


def _automation_id(outcome: Outcome) -> str:
    if outcome.shard is None:
        return "deltaloom/"
    part, parts = outcome.shard
    return f"deltaloom/{part}-of-{parts}/"


def _result(reported: Reported, rules: Sequence[str]) -> dict[str, Any]:
    finding = reported.finding
    result: dict[str, Any] = {
        "ruleId": plain(finding.rule),
        "ruleIndex": rules.index(finding.rule),
        "level": LEVELS[finding.severity],
        "message": {"text": _sentence(finding.message)},
        "locations": [{"physicalLocation": _location(finding.path, finding.span, reported.source)}],
        "partialFingerprints": {
            "deltaloomIdentity/v1": finding.identity,
            "primaryLocationLineHash": f"{finding.identity[:16]}:1",
        },
        "fingerprints": {"deltaloomFinding/v1": key(finding)},
        "properties": {
            "severity": finding.severity,
            "confidence": finding.confidence,
            "scanners": list(finding.scanners),
            "aliases": [plain(alias) for alias in finding.aliases],
        },
    }
    if finding.related:
        result["relatedLocations"] = [
            {
                "id": number,
                "message": {"text": _sentence(one.message)},
                "physicalLocation": _location(finding.path, one.span),
            }
            for number, one in enumerate(finding.related, 1)
        ]
    suppressions = []
    if finding.suppressed is not None:
        suppressions.append({"kind": "inSource", "justification": plain(finding.suppressed.comment)})
    if reported.state == "baseline":
        suppressions.append({"kind": "external", "justification": "Accepted in the baseline."})
    if suppressions:
        result["suppressions"] = suppressions
    if reported.fixes:
        result["fixes"] = [_fix(finding.path, fix) for fix in reported.fixes]
    return result


def _sentence(message: str) -> str:
    text = plain(message).strip() or "A weakness was found here"
    return text if text.endswith((".", "!", "?")) else text + "."


def _location(path: str, span: Span, source: str | None = None) -> dict[str, Any]:
    region = _region(span)
    if source is not None and span.start_line == span.end_line:
        region["snippet"] = {"text": as_unicode(source[span.start_column : span.end_column])}
    return {"artifactLocation": _artifact(path), "region": region}


def _artifact(path: str) -> dict[str, Any]:
    return {"uri": uri(path), "uriBaseId": "%SRCROOT%"}


def _region(span: Span) -> dict[str, Any]:
    return {
        "startLine": span.start_line + 1,
        "startColumn": span.start_column + 1,
        "endLine": span.end_line + 1,
        "endColumn": span.end_column + 1,
    }


def _fix(path: str, fix: OfferedFix) -> dict[str, Any]:
    description = f"{plain(fix.title)} (verified: {plain(fix.label)})."
    if fix.unsafe:
        description += " Look before you apply it."
    if fix.note:
        description += f" {plain(fix.note)}"
    replacements = [
        {"deletedRegion": _region(one.span), "insertedContent": {"text": as_unicode(one.text)}}
        for one in fix.replacements
    ]
    changes = [{"artifactLocation": _artifact(path), "replacements": replacements}]
    return {"description": {"text": description}, "artifactChanges": changes}


def _invocation(outcome: Outcome) -> dict[str, Any]:
    invocation: dict[str, Any] = {"executionSuccessful": not outcome.failures and outcome.complete}
    notifications = [*_unscanned(outcome.unscanned)]
    notifications += [{"level": "note", "message": {"text": _sentence(note)}} for note in outcome.notes]
    if not outcome.complete:
        notifications.append(
            {"level": "error", "message": {"text": "Not all of the work was done, findings may be missing."}}
        )
    if notifications:
        invocation["toolExecutionNotifications"] = notifications
    return invocation


def _unscanned(unscanned: Iterable[Unscanned]) -> Iterable[dict[str, Any]]:
    for one in unscanned:
        notification: dict[str, Any] = {
            "level": "error" if one.failed else "warning",
            "message": {"text": _sentence(unscanned_sentence(one))},
        }
        if one.path:
            notification["locations"] = [{"physicalLocation": {"artifactLocation": _artifact(one.path)}}]
        yield notification
