"""`--format gitlab`: a report of GitLab's SAST (artifacts: reports: sast), schema 15.2.1.

It is the security report, not the code quality one: GitLab then shows findings in merge requests and in its
vulnerability report.

Invariant: ids are unique and stay the same for the same finding of the same file; new findings only.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from deltaloom_server.lint.outcome import Outcome, Reported
from deltaloom_server.lint.reports.common import TOOL, as_unicode, cwe, key, plain, shown, unscanned_sentence
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.rules import cwe_url, rule_info

_SCHEMA = "15.2.1"
_NAME_LIMIT = 255


def render(outcome: Outcome) -> str:
    """One report."""
    tool = {"id": "deltaloom", "name": TOOL, "version": outcome.version, "vendor": {"name": TOOL}}
    failed = bool(outcome.failures) or not outcome.complete
    report = {
        "version": _SCHEMA,
        "scan": {
            "analyzer": tool,
            "scanner": tool,
            "type": "sast",
            "start_time": _time(outcome.started),
            "end_time": _time(outcome.started + outcome.seconds),
            "status": "failure" if failed else "success",
            "messages": _messages(outcome),
        },
        "vulnerabilities": [_vulnerability(one) for one in shown(outcome)],
    }
    return json.dumps(report, indent=1) + "\n"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _messages(outcome: Outcome) -> list[dict[str, str]]:
    messages = [
        {
            "level": "fatal" if one.failed else "warn",
            "value": f"{plain(one.path)}: {unscanned_sentence(one)}" if one.path else unscanned_sentence(one),
        }
        for one in outcome.unscanned
    ]
    messages += [{"level": "info", "value": plain(note)} for note in outcome.notes]
    if not outcome.complete:
        messages.append({"level": "fatal", "value": "Not all of the work was done."})
    return messages


def _vulnerability(reported: Reported) -> dict[str, Any]:
    finding = reported.finding
    span = finding.span
    entry: dict[str, Any] = {
        "id": str(UUID(hex=key(finding))),
        "name": plain(rule_info(finding.rule).title)[:_NAME_LIMIT],
        "description": plain(finding.message),
        "severity": finding.severity.capitalize(),
        "identifiers": _identifiers(finding),
        "location": {
            "file": as_unicode(finding.path),
            "start_line": span.start_line + 1,
            "end_line": span.end_line + 1,
        },
        "tracking": {
            "type": "source",
            "items": [
                {
                    "file": as_unicode(finding.path),
                    "start_line": span.start_line + 1,
                    "end_line": span.end_line + 1,
                    "signatures": [{"algorithm": "hash", "value": finding.identity}],
                }
            ],
        },
        "details": {
            "confidence": {"type": "text", "name": "Confidence", "value": finding.confidence},
            "scanners": {"type": "text", "name": "Seen by", "value": ", ".join(finding.scanners)},
        },
    }
    if finding.help_url:
        entry["links"] = [{"url": finding.help_url}]
    if reported.fixes:
        fix = reported.fixes[0]
        entry["solution"] = f"{plain(fix.title)} ({plain(fix.label)}). {plain(fix.note)}".rstrip()
    return entry


def _identifiers(finding: Finding) -> list[dict[str, str]]:
    names = dict.fromkeys((finding.rule, *finding.aliases))
    identifiers = [
        {"type": "deltaloom_rule", "name": f"Deltaloom {plain(name)}", "value": plain(name)} for name in names
    ]
    if finding.help_url:
        identifiers[0]["url"] = finding.help_url
    if finding.cwe is not None:
        number = str(finding.cwe)
        identifiers.append(
            {"type": "cwe", "name": cwe(finding), "value": number, "url": cwe_url(finding.cwe)}
        )
    return identifiers
