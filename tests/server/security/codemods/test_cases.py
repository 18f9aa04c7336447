"""Each codemod does what its cases say, to findings that the scanners really report, and nothing else."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pytest

from deltaloom_server.security.codemods import Case, by_rule, propose
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.gate.rescan import CONSEQUENCES
from deltaloom_server.security.proposal import Proposal, apply_edits
from deltaloom_server.security.rules import all_rules, canonical

LAYOUTS = ("spaces", "tabs", "crlf")


@dataclass(frozen=True)
class Example:
    """A case of a codemod, in one of its layouts."""

    rule: str
    case: Case
    layout: str

    @property
    def before(self) -> str:
        return _laid_out(self.case.before, self.layout)

    @property
    def after(self) -> str:
        assert self.case.after is not None
        return _laid_out(self.case.after, self.layout)


def _laid_out(text: str, layout: str) -> str:
    if layout == "tabs":
        return "".join(map(_with_tabs, text.splitlines(keepends=True)))
    return text.replace("\n", "\r\n") if layout == "crlf" else text


def _with_tabs(line: str) -> str:
    code = line.lstrip(" ")
    columns = len(line) - len(code)
    return "\t" * (columns // 4) + " " * (columns % 4) + code


def _examples() -> dict[str, Example]:
    codemods = {id(one): one for several in by_rule().values() for one in several}.values()
    found = {}
    for codemod in sorted(codemods, key=lambda one: str(getattr(one, "__name__", one))):
        name = str(getattr(codemod, "__name__", codemod)).rpartition(".")[2]
        for number, case in enumerate(codemod.CASES):
            rule = case.rule or codemod.RULES[0]
            assert rule in codemod.RULES, f"{name} has a case for {rule}, which it doesn't know"
            for layout in LAYOUTS:
                found[f"{name}-{rule}-{number}-{layout}"] = Example(rule, case, layout)
    return found


EXAMPLES = _examples()
FIXED = [name for name, one in EXAMPLES.items() if one.case.after is not None]
LEFT = [name for name, one in EXAMPLES.items() if one.case.after is None]

Found = Mapping[str, Sequence[Finding]]


@pytest.fixture(scope="module")
def found(scan: Callable[[Sequence[str]], list[list[Finding]]]) -> Found:
    """The findings of every text before and after."""
    texts = list({one.before for one in EXAMPLES.values()} | {EXAMPLES[name].after for name in FIXED})
    return dict(zip(texts, scan(texts), strict=True))


def _of_rule(findings: Sequence[Finding], rule: str) -> list[Finding]:
    return [one for one in findings if one.rule == rule]


def _firsts(example: Example, found: Found) -> list[tuple[Finding, Proposal | None]]:
    """For each scanner that reports it, the finding and what is proposed for it first."""
    findings = _of_rule(found[example.before], example.rule)
    assert findings, f"no scanner reports {example.rule} in:\n{example.before}"
    first_of = {one.scanners: one for one in reversed(findings)}
    return [(one, next(iter(propose(example.before, one)), None)) for one in first_of.values()]


@pytest.mark.parametrize("name", FIXED)
def test_what_is_proposed_is_what_the_case_says(name: str, found: Found) -> None:
    example = EXAMPLES[name]
    for finding, proposal in _firsts(example, found):
        assert proposal is not None, f"nothing for {finding}"
        assert apply_edits(example.before, proposal.edits) == example.after
        assert proposal.unsafe == example.case.unsafe
        assert proposal.title
        assert proposal.origin == "codemod"


@pytest.mark.parametrize("name", FIXED)
def test_the_result_parses_and_no_scanner_sees_the_finding_or_a_new_one(name: str, found: Found) -> None:
    example = EXAMPLES[name]
    ast.parse(example.after)
    reported = Counter((one.rule, one.scanners) for one in found[example.before])
    left = Counter((one.rule, one.scanners) for one in found[example.after])
    for finding in _of_rule(found[example.before], example.rule):
        key = (finding.rule, finding.scanners)
        assert left[key] < reported[key], f"{finding.scanners} still sees {example.rule}"
    new = {rule for rule, _ in left - reported} - CONSEQUENCES.get(example.rule, {}).keys()
    assert not new, f"new findings in:\n{example.after}"


@pytest.mark.parametrize("name", FIXED)
def test_a_fixed_finding_is_not_fixed_again(name: str, found: Found) -> None:
    example = EXAMPLES[name]
    for finding, proposal in _firsts(example, found):
        assert proposal is not None
        left = _of_rule(found[example.after], example.rule)
        if not left:  # Another one of the same rule may stand beside it.
            again = [one for one in propose(example.after, finding) if one.title == proposal.title]
            assert not [one for one in again if apply_edits(example.after, one.edits) != example.after]


@pytest.mark.parametrize("name", LEFT)
def test_nothing_is_proposed_where_it_cannot_be_told(name: str, found: Found) -> None:
    example = EXAMPLES[name]
    for _, proposal in _firsts(example, found):
        assert proposal is None, apply_edits(example.before, proposal.edits)


@pytest.mark.parametrize("name", FIXED)
def test_text_outside_the_edits_stays_as_it_was(name: str, found: Found) -> None:
    example = EXAMPLES[name]
    for finding, _ in _firsts(example, found):
        for proposal in propose(example.before, finding):
            result = apply_edits(example.before, proposal.edits)
            at, shift = 0, 0
            for edit in proposal.edits:
                assert at <= edit.start <= edit.end <= len(example.before)
                assert result[at + shift : edit.start + shift] == example.before[at : edit.start]
                at, shift = edit.end, shift + len(edit.text) - (edit.end - edit.start)
            assert result[at + shift :] == example.before[at:]
            if example.layout == "crlf":
                assert "\n" not in result.replace("\r\n", "")


def test_every_codemod_has_a_case_that_is_fixed_and_the_rules_are_known() -> None:
    reported = {info.rule for info in all_rules()}
    for rule, codemods in by_rule().items():
        assert rule in reported or rule.startswith("secret/"), f"no scanner reports {rule} under this name"
        assert canonical(rule) == rule
        for codemod in codemods:
            assert any(one.after is not None for one in codemod.CASES), codemod
