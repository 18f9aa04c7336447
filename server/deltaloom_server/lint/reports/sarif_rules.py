"""The rules of a SARIF run: what a service shows of a rule beside its results.

Invariant: a rule is as severe and as certain as the worst of its findings in this run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from deltaloom_server.lint.reports.common import plain
from deltaloom_server.security.finding import CONFIDENCES, SEVERITIES, Finding, Severity
from deltaloom_server.security.rules import cwe_url, rule_info

LEVELS: Mapping[Severity, str] = MappingProxyType(
    {"low": "note", "medium": "warning", "high": "error", "critical": "error"}
)
# GitHub calls over 9.0 critical, 7.0 to 8.9 high, 4.0 to 6.9 medium, below low.
_SCORES: Mapping[Severity, str] = MappingProxyType(
    {"low": "3.0", "medium": "5.5", "high": "8.0", "critical": "9.5"}
)


def descriptor(rule: str, findings: Sequence[Finding]) -> dict[str, Any]:
    """A reportingDescriptor (SARIF 2.1.0, 3.49) with the properties that GitHub reads."""
    mine = [finding for finding in findings if finding.rule == rule]
    worst = max((finding.severity for finding in mine), key=SEVERITIES.index)
    surest = max((finding.confidence for finding in mine), key=CONFIDENCES.index)
    info = rule_info(rule)
    cwe = next((finding.cwe for finding in mine if finding.cwe is not None), info.cwe)
    url = next((finding.help_url for finding in mine if finding.help_url), info.help_url) or cwe_url(cwe)
    title = plain(info.title).rstrip(".")
    entry: dict[str, Any] = {
        "id": plain(rule),
        "name": _pascal(title) or "Finding",
        "shortDescription": {"text": f"{title}."},
        "fullDescription": {"text": f"{title}{f' (CWE-{cwe})' if cwe is not None else ''}."},
        "help": _help(title, url, cwe),
        "defaultConfiguration": {"level": LEVELS[worst]},
        "properties": {
            "tags": ["security", *([f"external/cwe/cwe-{cwe:03d}"] if cwe is not None else [])],
            "precision": surest,
            "problem.severity": {"note": "recommendation"}.get(LEVELS[worst], LEVELS[worst]),
            "security-severity": _SCORES[worst],
        },
    }
    if url:
        entry["helpUri"] = url
    return entry


def _help(title: str, url: str, cwe: int | None) -> dict[str, str]:
    links = [link for link in dict.fromkeys((url, cwe_url(cwe))) if link]
    text = ". ".join([title, *(f"See {link}" for link in links)]) + "."
    markdown = "\n\n".join([f"**{title}**", *(f"<{link}>" for link in links)])
    return {"text": text, "markdown": markdown}


def _pascal(title: str) -> str:
    """A friendly name as SARIF wants one: PascalCase, letters and digits."""
    words = "".join(letter if letter.isascii() and letter.isalnum() else " " for letter in title).split()
    return "".join(word.capitalize() for word in words if len(word) > 1)[:100]
