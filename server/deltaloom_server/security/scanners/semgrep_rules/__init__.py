"""Our own rules for semgrep: the sources, one rule a file with its cases, and what is compiled from them.

Invariant: a rule is called by its folder and its file: `js/eval.yaml` is "js/eval" everywhere in Deltaloom
and "js.eval" for semgrep, whose names have no slash.

`compiled.json` is what semgrep-core is given, `catalogue.json` what the catalogue of rules shows;
`python -m deltaloom_server.security.scanners.semgrep_rules.compile` writes both.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

import msgspec

FOLDER = Path(__file__).parent
COMPILED = FOLDER / "compiled.json"
CATALOGUE = FOLDER / "catalogue.json"
NO_AUTHORITY = FOLDER / "no_authority.pem"
"""A certificate whose key nobody has, for programs that ask for authorities to trust."""


class _Rule(msgspec.Struct, frozen=True):
    id: str
    message: str


class _Rules(msgspec.Struct, frozen=True):
    rules: list[_Rule]


@cache
def messages() -> Mapping[str, str]:
    """What each rule says of its findings, by semgrep's name for it."""
    rules = msgspec.json.decode(COMPILED.read_bytes(), type=_Rules).rules
    return MappingProxyType({rule.id: rule.message for rule in rules})


def rule_name(identifier: str) -> str:
    """A rule's name by semgrep's: "js/eval" for "js.eval"."""
    return identifier.replace(".", "/", 1)
