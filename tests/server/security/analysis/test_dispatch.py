"""What the analysis process answers to each kind of request."""

from __future__ import annotations

import pytest

from deltaloom_server.security.analysis import dispatch
from deltaloom_server.security.analysis.messages import (
    CheckCode,
    Failed,
    Judge,
    Judged,
    Locate,
    Located,
    Propose,
    Proposed,
    ScanResult,
    ScanText,
)
from deltaloom_server.security.proposal import Edit, Proposal
from deltaloom_server.security.scanners import bandit

YAML = "import yaml\nyaml.load(x)\n"


def scanned(text: str, *scanners: str) -> ScanResult:
    reply = dispatch.serve(ScanText("a.py", text, scanners))  # type: ignore[arg-type]
    assert isinstance(reply, ScanResult)
    return reply


def test_each_scanner_that_is_asked_for_is_heard() -> None:
    token = "gh" + "p_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    text = f"eval(x)\nt = '{token}'\nif x != 'a\u202e':\n    pass\n"
    found = {
        finding.scanners[0] for finding in scanned(text, "ruff", "bandit", "secrets", "deltaloom").findings
    }
    assert found == {"ruff", "bandit", "secrets", "deltaloom"}
    assert {finding.scanners for finding in scanned(text, "bandit").findings} == {("bandit",)}
    assert scanned(text) == ScanResult(())


@pytest.mark.parametrize(
    ("error", "said", "failed"),
    [
        (MemoryError(), "The scan failed: it needs more memory than it may take.", True),
        (RecursionError(), "The text is nested too deeply.", False),
        (ValueError("no\nsuch thing."), "The scan failed: ValueError no.", True),
    ],
)
def test_a_scanner_that_fails_is_said_and_the_others_are_heard(
    monkeypatch: pytest.MonkeyPatch, error: Exception, said: str, failed: bool
) -> None:
    def scan(path: str, text: str) -> ScanResult:
        raise error

    monkeypatch.setattr(bandit, "scan", scan)
    result = scanned("eval(x)\n", "bandit", "ruff")
    assert [finding.scanners for finding in result.findings] == [("ruff",)]
    assert [(one.scanner, one.reason, one.failed) for one in result.unscanned] == [("bandit", said, failed)]


def test_a_text_that_is_too_large_to_parse_is_said_by_all_that_parse() -> None:
    result = scanned("x = 1\n" * 200_000, "bandit", "deltaloom", "ruff", "secrets")
    assert [(one.scanner, one.failed) for one in result.unscanned] == [
        ("bandit", False),
        ("deltaloom", False),
    ]


@pytest.mark.parametrize(
    "text", ["", "\0", "x = " + "-" * 100_000 + "1", "\ufeff", "\r", "x = a" + ".b" * 2_500]
)
def test_no_text_brings_it_down(text: str) -> None:
    scanned(text, "ruff", "bandit", "secrets", "deltaloom")


def test_a_fix_is_proposed_and_judged() -> None:
    (finding,) = scanned(YAML, "bandit").findings
    proposed = dispatch.serve(Propose(YAML, finding))
    assert isinstance(proposed, Proposed)
    judged = dispatch.serve(Judge(YAML, finding, proposed.proposals[0]))
    assert isinstance(judged, Judged)
    assert judged.verdict.accepted


def test_a_change_that_leaves_the_weakness_is_not_accepted() -> None:
    (finding,) = scanned(YAML, "bandit").findings
    end = len(YAML) - 1
    judged = dispatch.serve(Judge(YAML, finding, Proposal("Nothing", (Edit(end, end, "  # fine"),))))
    assert isinstance(judged, Judged)
    assert not judged.verdict.accepted


def test_a_codemod_that_knows_nothing_says_so() -> None:
    (finding,) = scanned("eval(x)\n", "bandit").findings
    reply = dispatch.serve(Propose("x = 1\n", finding))
    assert reply == Proposed((), "No codemod knows how to fix S307 here.")


def test_code_is_checked_and_statements_are_located() -> None:
    text = "def f(x):\n    return x\n"
    reply = dispatch.serve(CheckCode("a.py", text, Proposal("t", (Edit(14, 22, "return eval(x)"),)), 1, 1))
    assert isinstance(reply, Judged)
    assert not reply.verdict.accepted
    (finding,) = scanned("def f(x):\n    eval(x)\n", "bandit").findings
    located = dispatch.serve(Locate("a.py", "def f(x):\n    eval(x)\n", finding.span))
    assert isinstance(located, Located)
    assert located.function == "f"


def test_an_error_that_nobody_expected_is_a_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    from deltaloom_server.security import codemods

    def propose(*_: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr(codemods, "propose", propose)
    (finding,) = scanned(YAML, "bandit").findings
    assert dispatch.serve(Propose(YAML, finding)) == Failed("The analysis failed: KeyError 'x'.")
