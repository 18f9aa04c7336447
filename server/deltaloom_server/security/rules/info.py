"""`RuleInfo`: what is known of a rule before it is met in a text.

Invariant: nothing here depends on where a rule was found.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from deltaloom_server.security.finding import Confidence, Severity

Varies = Literal["", "severity", "confidence", "both"]


class RuleInfo(msgspec.Struct, frozen=True):
    """A rule. `rule` is its name for all scanners, `names` are all names that it goes by, ids and words.

    `varies`: what bandit grades by looking at the call ("severity", "confidence", "both"): its word then
    counts more than the grade here. `languages` are the LSP's identifiers; empty: any.
    """

    rule: str
    title: str
    severity: Severity = "medium"
    confidence: Confidence = "medium"
    cwe: int | None = None
    help_url: str = ""
    languages: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    varies: Varies = ""


def cwe_url(cwe: int | None) -> str:
    """MITRE's page; "" for None."""
    return f"https://cwe.mitre.org/data/definitions/{cwe}.html" if cwe is not None else ""
