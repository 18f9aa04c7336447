"""Which findings are shown.

Invariant: settings decide what is shown, never what is found; an unused suppression is shown whenever
findings of its file are, as it costs nothing to remove.
"""

from __future__ import annotations

from collections.abc import Iterable

from deltaloom_server.security.finding import UNUSED_SUPPRESSION, Finding
from deltaloom_server.settings import SecuritySettings


def is_shown(finding: Finding, settings: SecuritySettings) -> bool:
    """Is it unsuppressed, selected, not ignored, and as severe and certain as asked for?"""
    if finding.suppressed is not None or not settings.enabled:
        return False
    if settings.select and not matches(finding, settings.select):
        return False
    if matches(finding, settings.ignore):
        return False
    return finding.rule == UNUSED_SUPPRESSION or finding.at_least(settings.severity, settings.confidence)


def shown(findings: Iterable[Finding], settings: SecuritySettings) -> tuple[Finding, ...]:
    """Those of these findings that are shown."""
    return tuple(finding for finding in findings if is_shown(finding, settings))


def matches(finding: Finding, selectors: Iterable[str]) -> bool:
    """Does a selector name its CWE ("CWE-78"), or begin its rule or one of the scanners' names for it?"""
    names = (finding.rule, *finding.aliases)
    return any(
        finding.cwe is not None and selector[4:] == str(finding.cwe)
        if selector.upper().startswith("CWE-")
        else any(name.startswith(selector) for name in names)
        for selector in selectors
        if selector
    )
