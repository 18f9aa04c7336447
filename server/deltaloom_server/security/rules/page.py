"""The catalogue as people read it: one page of all rules, and one rule in full.

Invariant: nothing here is known only here. Grades come from the catalogue, and whether a rule has a codemod
from the codemods' own examples, which the tests run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Literal

from deltaloom_server.security.advice import advice
from deltaloom_server.security.codemods import by_rule
from deltaloom_server.security.finding import UNUSED_SUPPRESSION, Scanner
from deltaloom_server.security.rules import RuleInfo, all_rules, bandit_id, cwe_url, rule_info

Repair = Literal["safe", "look first", "safe or look first", "model", ""]
"""What there is for a rule: codemods whose fixes `--fix` applies, such that a person should look at first,
both, advice for a model only, nothing."""

_HEAD = """\
# Rules

Made from the code by `deltaloom rules --markdown`; don't edit it by hand. `deltaloom rules S602` explains one
rule, by any of its names.

A rule has one name, whichever scanner saw it: `S602` is ruff's S602 and bandit's B602. `--select` and
`--ignore` take the beginnings of all names in the first two columns ("S6", "B602", "secret/"), and CWEs
("CWE-78"). Some grades vary with the place: bandit tells a fixed command from one put together from pieces.

**Fix** says what codemods, which need no model, can do. *safe*: `--fix` and the action "Apply all verified
security fixes" apply it. *look first*: what the program does may change beyond the weakness, so it is offered
in the menu and applied by `--unsafe-fixes` only. *model*: there is no codemod, but a model is told what sound
code would do. Every one of them passes the gate first ([security.md](security.md)), and none is promised: a
codemod proposes nothing where the code around the place doesn't tell enough.
"""
_SECTIONS: tuple[tuple[str, str], ...] = (
    ("Python", "Seen by ruff while you type, by bandit on saving and in pauses; `B…` by bandit alone."),
    (
        "Deltaloom's own checks",
        "While you type. Few, and each only where the file itself shows the weakness.",
    ),
    (
        "Other languages",
        "With the optional semgrep (`pip install 'deltaloom[semgrep]'`), by rules of our own.",
    ),
    ("Credentials", "On changed lines only. No part of one is repeated in a report or sent anywhere."),
)


def page() -> str:
    """The whole page, as Markdown."""
    parts = [_HEAD]
    for (title, told), infos in zip(_SECTIONS, _sections(), strict=True):
        if infos:
            parts.append(f"## {title}\n{told}\n\n{_table(infos)}")
    return "\n".join(parts)


def listing() -> str:
    """One line a rule, for a terminal."""
    infos = [info for section in _sections() for info in section]
    widest = max(len(info.rule) for info in infos)
    return "".join(
        f"{info.rule:<{widest}}  {info.severity:<8}  {_cwe(info):<8}  {repair(info.rule):<18}  {info.title}\n"
        for info in infos
    )


def explain(name: str) -> str | None:
    """One rule in full, by any of its names; None where there is none such."""
    info = _known(name)
    if info is None:
        return None
    lines = [f"{info.rule}: {info.title}", ""]
    graded = " (bandit grades it by the call)" if info.varies else ""
    rows = [
        ("names", ", ".join(info.names)),
        ("severity", f"{info.severity}, confidence {info.confidence}{graded}"),
        ("weakness", f"{_cwe(info)}  {cwe_url(info.cwe)}" if info.cwe else ""),
        ("seen by", ", ".join(scanners_of(info))),
        ("languages", ", ".join(info.languages)),
        ("fix", _in_words(repair(info.rule))),
        ("sound code", advice(info.rule)),
        ("more", info.help_url if info.help_url != cwe_url(info.cwe) else ""),
    ]
    lines += [f"  {label:<11} {text}" for label, text in rows if text]
    return "\n".join(lines) + "\n"


def scanners_of(info: RuleInfo) -> tuple[Scanner, ...]:
    """Those that look for it."""
    if info.rule.startswith("secret/"):
        return ("secrets",)
    if info.rule.startswith("DL"):
        return ("deltaloom",)
    if "/" in info.rule:
        return ("semgrep",)
    if info.rule.startswith("B"):
        return ("bandit",)
    return ("ruff", "bandit") if any(bandit_id(name) for name in info.names) else ("ruff",)


def repair(rule: str) -> Repair:
    """What there is to fix findings of a rule, by the codemods' examples."""
    if rule == UNUSED_SUPPRESSION:
        return "safe"
    examples = [
        (case.rule or codemod.RULES[0], case.unsafe)
        for codemod in by_rule().get(rule, ())
        for case in codemod.CASES
        if case.after is not None
    ]
    # Rules that are fixed alike share their examples.
    found = {unsafe for one, unsafe in examples if one == rule} or {unsafe for _, unsafe in examples}
    if found == {True, False}:
        return "safe or look first"
    if found:
        return "look first" if True in found else "safe"
    return "model" if advice(rule) else ""


def _in_words(kind: Repair) -> str:
    if kind == "model":
        return "by a model only"
    return f"by a codemod: {kind}" if kind else ""


def _known(name: str) -> RuleInfo | None:
    info = rule_info(name)
    known = {one.rule for section in _sections() for one in section}
    return info if info.rule in known else None


@cache
def _sections() -> tuple[tuple[RuleInfo, ...], ...]:
    """The rules by `_SECTIONS`, each in the order of their names."""
    python, own, other = [], [], []
    for info in sorted(all_rules(), key=lambda one: one.rule):
        if info.rule.startswith("DL"):
            own.append(info)
        elif "/" in info.rule:
            other.append(info)
        else:
            python.append(info)
    # Ours stand by number, whichever letter a number has.
    python.sort(key=lambda one: int(re.sub(r"\D", "", one.rule)))
    return tuple(python), tuple(own), tuple(other), tuple(_credentials())


def _credentials() -> Iterator[RuleInfo]:
    from deltaloom_server.security.rules import secret_rule
    from deltaloom_server.security.scanners import secret_words
    from deltaloom_server.security.scanners.secret_detectors import detectors

    kinds = {detector.kind for detector in detectors()} | {secret_words.KIND, "Private Key"}
    yield from sorted(map(rule_info, map(secret_rule, kinds)), key=lambda one: one.rule)


def _table(infos: Sequence[RuleInfo]) -> str:
    rows = [
        "| rule | also | severity | weakness | fix | what it is |",
        "|---|---|---|---|---|---|",
    ]
    for info in infos:
        rule = f"[{info.rule}]({info.help_url})" if info.help_url else info.rule
        cwe = f"[{_cwe(info)}]({cwe_url(info.cwe)})" if info.cwe else ""
        cells = (rule, _also(info), info.severity, cwe, repair(info.rule), info.title.replace("|", "\\|"))
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _also(info: RuleInfo) -> str:
    """Other ids; `explain` has the words, too."""
    return ", ".join(sorted({one for name in info.names if (one := bandit_id(name)) and one != info.rule}))


def _cwe(info: RuleInfo) -> str:
    return f"CWE-{info.cwe}" if info.cwe else ""
