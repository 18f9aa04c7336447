"""Our own checks: few, and each only where the text itself shows the weakness.

Each module here that has a `check` is one:

    RULES: tuple[str, ...]                  what it reports
    WORDS: tuple[str, ...]                  a text without any of these isn't looked at
    VALID: tuple[str, ...]                  texts in which it sees nothing
    INVALID: tuple[str, ...]                texts in which it reports each line that ends in `# here`
    def check(view) -> Iterator[Hit]

Its docstring says what it doesn't see. Invariant: a finding here can be argued for from the file alone.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Protocol, cast

from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.languages import is_python
from deltaloom_server.security.rules import cwe_url, rule_info
from deltaloom_server.security.scanners.own import hidden_characters
from deltaloom_server.security.scanners.own.view import Hit, View

__all__ = ["Check", "checks", "rules", "scan"]


class Check(Protocol):
    """What a module of this package offers."""

    RULES: tuple[str, ...]
    WORDS: tuple[str, ...]
    VALID: tuple[str, ...]
    INVALID: tuple[str, ...]

    def check(self, view: View) -> Iterator[Hit]: ...


@cache
def checks() -> tuple[Check, ...]:
    """All checks of Python texts, in the order of their names."""
    modules = (import_module(f"{__name__}.{entry.name}") for entry in pkgutil.iter_modules(__path__))
    return tuple(cast(Check, module) for module in modules if hasattr(module, "check"))


def rules() -> frozenset[str]:
    """The rules that some check reports."""
    return frozenset(rule for check in checks() for rule in check.RULES) | {hidden_characters.RULE}


def scan(path: str, text: str) -> tuple[Finding, ...]:
    """What our own checks see in a text.

    Of a Python text that doesn't parse these are hidden characters only; a check that runs out of stack over
    expressions nested thousands deep says nothing.
    """
    found = [*hidden_characters.scan(path, text)]
    if is_python(path):
        wanted = [one for one in checks() if any(word in text for word in one.WORDS)]
        source = Source.parse(text) if wanted else None
        if source is not None:
            view = View(source)
            hits = (hit for check in wanted for hit in _hits(check, view))
            found += [_finding(path, source, hit) for hit in dict.fromkeys(hits)]
    return tuple(found)


def _hits(check: Check, view: View) -> tuple[Hit, ...]:
    try:
        return tuple(check.check(view))
    except RecursionError:
        return ()


def _finding(path: str, source: Source, hit: Hit) -> Finding:
    info = rule_info(hit.rule)
    cwe = hit.cwe if hit.cwe is not None else info.cwe
    return Finding(
        rule=hit.rule,
        message=hit.message,
        path=path,
        span=source.span(hit.node),
        severity=hit.severity or info.severity,
        confidence=hit.confidence or info.confidence,
        scanners=("deltaloom",),
        cwe=cwe,
        help_url=info.help_url if cwe == info.cwe else cwe_url(cwe),
    )
