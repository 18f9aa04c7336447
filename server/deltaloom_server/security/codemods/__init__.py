"""Codemods: changes of our own that remove a finding without a model.

Each module here that has `RULES` is one: a file for a rule, or for a few that are fixed alike.

    RULES: tuple[str, ...]                     the findings' rules that it knows ("S506")
    CASES: tuple[Case, ...]                    what it does, as examples; the tests run them all
    def propose(source, finding) -> Iterator[Proposal]      best first; nothing where it can't tell

A codemod may assume that the gate looks at what it proposes; it must not propose what it can't argue for.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import Protocol

from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.proposal import Proposal


@dataclass(frozen=True, slots=True)
class Case:
    """An example: a whole file before and after. `after` None: nothing is proposed.

    `rule` may be left out where the codemod has only one. `unsafe`: what the proposal must say of itself.
    """

    before: str
    after: str | None
    rule: str = ""
    unsafe: bool = False


class Codemod(Protocol):
    """What a module of this package offers."""

    RULES: tuple[str, ...]
    CASES: tuple[Case, ...]

    def propose(self, source: Source, finding: Finding) -> Iterator[Proposal]: ...


@cache
def by_rule() -> Mapping[str, tuple[Codemod, ...]]:
    """The codemods for each rule, in the order of their names."""
    found: dict[str, tuple[Codemod, ...]] = {}
    for entry in pkgutil.iter_modules(__path__):
        module = import_module(f"{__name__}.{entry.name}")
        for rule in getattr(module, "RULES", ()):
            found[rule] = (*found.get(rule, ()), module)
    return MappingProxyType(found)


def propose(text: str, finding: Finding) -> tuple[Proposal, ...]:
    """What the codemods have for a finding in a text; empty where they have nothing or it doesn't parse."""
    codemods = by_rule().get(finding.rule, ())
    source = Source.parse(text) if codemods else None
    if source is None:
        return ()
    return tuple(proposal for codemod in codemods for proposal in codemod.propose(source, finding))
