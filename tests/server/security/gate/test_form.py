"""Rule 1: the result parses, the edits lie in the text, something changes; else it is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from deltaloom_server.security.analysis.messages import Judge, ScanResult, ScanText
from deltaloom_server.security.finding import Finding, Span
from deltaloom_server.security.gate import judge
from deltaloom_server.security.proposal import Edit, Proposal

Bench = Callable[..., Any]
TEXT = "import yaml\n\n\ndef load(s):\n    return yaml.load(s)\n"


def test_a_result_that_does_not_parse_is_refused(bench: Bench) -> None:
    verdict = bench("S506", TEXT).put("yaml.load(s)", "yaml.safe_load(s")
    assert verdict.objections == ("The result can't be parsed.",)
    assert not verdict.parsed


def test_edits_past_the_end_are_refused(bench: Bench) -> None:
    assert bench("S506", TEXT).edits(Edit(10, 10_000, "")).objections


def test_edits_that_overlap_are_refused(bench: Bench) -> None:
    assert bench("S506", TEXT).edits(Edit(5, 20, "a"), Edit(10, 25, "b")).objections


def test_negative_edits_are_refused(bench: Bench) -> None:
    assert bench("S506", TEXT).edits(Edit(-5, 3, "a")).objections


def test_changing_nothing_is_refused(bench: Bench) -> None:
    assert bench("S506", TEXT).put("yaml.load", "yaml.load").objections == ("It changes nothing.",)


def test_changing_blanks_and_comments_only_is_refused(bench: Bench) -> None:
    for new in ("yaml.load( s )", "yaml.load(s)  # safe: input is ours", "(yaml.load(s))", "yaml .load(s)"):
        assert bench("S506", TEXT).put("yaml.load(s)", new).objections


def test_an_encoding_line_or_a_nul_does_not_get_past(bench: Bench) -> None:
    assert bench("S506", TEXT).put("yaml.load(s)", "yaml.safe_load(s)\0").objections


def test_deep_nesting_is_an_objection_not_a_crash(bench: Bench) -> None:
    for deep in ("-" * 100_000 + "1", "(" * 3000 + "1" + ")" * 3000, "+".join(["1"] * 3000)):
        verdict = bench("S506", TEXT).put("yaml.load(s)", f"yaml.safe_load(s, {deep})")
        assert verdict.objections


def test_a_text_that_did_not_parse_before_is_not_fixed(scanners: Callable[[ScanText], ScanResult]) -> None:
    finding = Finding("S506", "m", "a.py", Span(0, 0, 0, 5), "medium", "high", ("bandit",))
    verdict = judge(Judge("def (:\n", finding, Proposal("t", (Edit(0, 7, "x = 1\n"),))), scanners)
    assert verdict.objections


def test_a_finding_that_no_scanner_sees_there_is_not_fixed(
    scanners: Callable[[ScanText], ScanResult],
) -> None:
    text = "import yaml\n\n\ndef load(s):\n    return yaml.safe_load(s)\n"
    finding = Finding("S506", "m", "a.py", Span(4, 11, 4, 20), "medium", "high", ("bandit",))
    at = text.index("(s)\n")
    verdict = judge(Judge(text, finding, Proposal("t", (Edit(at, at, "_all"),))), scanners)
    assert any("No scanner sees S506" in one for one in verdict.objections)
