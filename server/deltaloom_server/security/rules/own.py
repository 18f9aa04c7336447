"""Our own rules: those of the checks in `scanners.own`, and of suppression comments that suppress nothing.

Invariant: every check's rule is here, and none that has no check.
"""

from __future__ import annotations

from deltaloom_server.security.finding import UNUSED_SUPPRESSION, Confidence, Severity
from deltaloom_server.security.rules.info import RuleInfo, cwe_url

_PYTHON = ("python",)


def _own(
    rule: str,
    severity: Severity,
    confidence: Confidence,
    cwe: int | None,
    title: str,
    languages: tuple[str, ...] = _PYTHON,
) -> RuleInfo:
    return RuleInfo(rule, title, severity, confidence, cwe, cwe_url(cwe), languages, (rule,))


# fmt: off
RULES: tuple[RuleInfo, ...] = (
    _own(UNUSED_SUPPRESSION, "low", "high", None, "Suppression comment that suppresses nothing", ()),
    _own("DL002", "high", "high", 1007, "Hidden characters that make code read other than it runs", ()),
    _own("DL101", "medium", "high", 208, "Secret value compared in a time that tells how much of it fits"),
    _own("DL102", "high", "high", 347, "Token read without verifying its signature"),
    _own("DL103", "high", "medium", 22, "Path from outside opened without checking where it leads"),
    _own("DL104", "high", "medium", 22, "Archive member written wherever its name says"),
    _own("DL105", "medium", "medium", 601, "Redirect to wherever the request says"),
    _own("DL106", "medium", "medium", 532, "Secret written to a log"),
    _own("DL107", "medium", "high", 614, "Session cookie without `secure` or `httponly`"),
    _own("DL108", "medium", "high", 1333, "Regular expression made from outside text"),
    _own("DL109", "high", "medium", 943, "LDAP or XPath query put together from pieces of text"),
    _own("DL110", "high", "high", 1336, "Template whose text comes from outside"),
    _own("DL112", "medium", "medium", 113, "Response header from a request, line breaks and all"),
    _own("DL113", "medium", "high", 209, "Error's text or traceback sent to the client"),
    _own("DL114", "high", "high", 611, "XML parser that follows external entities"),
    _own("DL115", "medium", "high", 276, "Files that anybody may write to by default"),
    _own("DL116", "high", "medium", 916, "Password hashed so fast that it can be guessed"),
    _own("DL117", "high", "high", 321, "Cryptographic key, IV or salt written into the code"),
)
# fmt: on
