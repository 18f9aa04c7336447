"""What codemods of our own propose, as their cases say, the gate lets through."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from deltaloom_server.security.analysis.messages import Judge, ScanResult, ScanText
from deltaloom_server.security.codemods import Case, by_rule, propose
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.gate import judge
from deltaloom_server.security.proposal import Proposal, apply_edits


def _cases() -> list[tuple[str, str, Case]]:
    found = []
    codemods = {id(one): one for several in by_rule().values() for one in several}.values()
    for codemod in codemods:
        name = str(getattr(codemod, "__name__", "")).rpartition(".")[2]
        for number, case in enumerate(codemod.CASES):
            if case.after is not None:
                found.append((f"{name}-{number}", case.rule or codemod.RULES[0], case))
    return found


@pytest.mark.parametrize(
    ("rule", "case"), [pytest.param(rule, case, id=name) for name, rule, case in _cases()]
)
def test_what_a_codemod_proposes_passes(
    rule: str, case: Case, scanners: Callable[[ScanText], ScanResult], tmp_path: Path
) -> None:
    (tmp_path / "requirements.txt").write_text("defusedxml\nmarkupsafe\ndjango\n")
    seen = scanners(ScanText("app/module.py", case.before, ("ruff", "bandit", "deltaloom"))).findings
    tried: list[tuple[Finding, Proposal]] = []
    for finding in seen:
        if finding.rule == rule:
            tried += [(finding, proposal) for proposal in propose(case.before, finding)]
    meant = [one for one in tried if apply_edits(case.before, one[1].edits) == case.after]
    assert meant, f"no proposal for {rule} gives the case's text"
    finding, proposal = meant[0]
    verdict = judge(Judge(case.before, finding, proposal, (), (str(tmp_path),)), scanners)
    assert verdict.objections == ()
    assert set(finding.scanners) <= set(verdict.rescanned)
