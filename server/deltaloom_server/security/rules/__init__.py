"""The catalogue of rules: what each is called, how grave it is, and which weakness of MITRE's list it is.

Invariant: a rule has one name here whichever scanner saw it ("S602" for bandit's B602), and `rule_info`
answers for any code, known or not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType

import msgspec

from deltaloom_server.security.finding import Confidence, Severity
from deltaloom_server.security.rules import own, python
from deltaloom_server.security.rules.info import RuleInfo, cwe_url

__all__ = ["RuleInfo", "all_rules", "bandit_id", "canonical", "cwe_url", "rule_info", "secret_rule"]

_BANDIT_ID = re.compile(r"B\d{3}\Z")
_SEMGREP_CATALOGUE = ("scanners", "semgrep_rules", "catalogue.json")
_SECRETS: Mapping[str, tuple[Severity, Confidence]] = MappingProxyType(
    {
        "secret/base64-high-entropy-string": ("low", "low"),
        "secret/hex-high-entropy-string": ("low", "low"),
        "secret/public-ip-ipv4": ("low", "low"),
        "secret/secret-keyword": ("medium", "medium"),
        "secret/basic-auth-credentials": ("medium", "medium"),
        "secret/json-web-token": ("medium", "medium"),
        "secret/softlayer-credentials": ("medium", "medium"),
        "secret/private-key": ("critical", "high"),
        "secret/aws-access-key": ("critical", "high"),
    }
)


class _Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An entry of the catalogue that comes with the rules for other languages, by the rule's name."""

    title: str
    severity: Severity = "medium"
    confidence: Confidence = "medium"
    cwe: int | None = None
    help_url: str = ""
    languages: tuple[str, ...] = ()


def rule_info(code: str) -> RuleInfo:
    """What is known of a rule, by any of its names; something sensible where it isn't known."""
    rule = canonical(code)
    known = _by_rule().get(rule)
    if known is not None:
        return known
    if rule.startswith("secret/"):
        return _secret(rule)
    if "/" in rule and rule in _other_languages():
        return _other_languages()[rule]
    return RuleInfo(rule, f"Finding of rule {rule}", names=(rule,))


def canonical(code: str) -> str:
    """A rule's one name, by any of its names: "S602" for "B602" and "subprocess_popen_with_…".

    What isn't known stays as it is. Letters count as they are written.
    """
    return _by_name().get(code, code)


def bandit_id(name: str) -> str:
    """Bandit's id of a test, by its id or its word ("assert_used"), "" where bandit has none such."""
    return _bandit_names().get(name, "")


def all_rules() -> tuple[RuleInfo, ...]:
    """Every rule of the catalogue but the secrets', which are named after their detectors."""
    return (*python.RULES, *own.RULES, *_other_languages().values())


def secret_rule(secret_type: str) -> str:
    """The rule for a kind of secret, as detect-secrets names it: "secret/aws-access-key"."""
    return "secret/" + "-".join(re.findall(r"[a-z0-9]+", secret_type.lower()))


def _secret(rule: str) -> RuleInfo:
    severity, confidence = _SECRETS.get(rule, ("high", "high"))
    words = rule.partition("/")[2].replace("-", " ")
    return RuleInfo(
        rule, f"Secret in the text: {words}", severity, confidence, 798, cwe_url(798), (), (rule,)
    )


@cache
def _by_rule() -> Mapping[str, RuleInfo]:
    return MappingProxyType({info.rule: info for info in (*python.RULES, *own.RULES)})


@cache
def _by_name() -> Mapping[str, str]:
    """Words that bandit and ruff use for different rules mean bandit's: only `nosec` knows rules by words."""
    names = dict(python.ALSO)
    for info in (*python.RULES, *own.RULES):
        for name in reversed(info.names):
            names.setdefault(name, info.rule)
    return MappingProxyType(names)


@cache
def _bandit_names() -> Mapping[str, str]:
    names = {"B703": "B703", "django_mark_safe": "B703"}
    for info in python.RULES:
        ids = [name for name in info.names if _BANDIT_ID.match(name)]
        for identifier in ids:
            names[identifier] = identifier
            names[info.names[-1]] = identifier
    return MappingProxyType(names)


@cache
def _other_languages() -> Mapping[str, RuleInfo]:
    """The catalogue beside the rules for other languages; empty where they aren't there."""
    file = files("deltaloom_server.security").joinpath(*_SEMGREP_CATALOGUE)
    if not file.is_file():
        return MappingProxyType({})
    rows = msgspec.json.decode(file.read_bytes(), type=dict[str, _Row])
    return MappingProxyType(
        {
            rule: RuleInfo(
                rule, row.title, row.severity, row.confidence, row.cwe, row.help_url or cwe_url(row.cwe),
                row.languages, (rule,),
            )
            for rule, row in rows.items()
        }
    )  # fmt: skip
