"""One list out of several scanners' findings: merged, the same in any order, and with lasting identities."""

from __future__ import annotations

import random
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaloom_server.security.analysis.messages import ScanResult
from deltaloom_server.security.assemble import assemble, merge
from deltaloom_server.security.finding import Finding, Inspection, Scanner, Span, Unscanned
from deltaloom_server.security.rules import rule_info
from deltaloom_server.security.scanners import bandit, own, ruff

PYTHON: tuple[Scanner, ...] = ("ruff", "bandit", "deltaloom")
TEXT = """import hashlib
import pickle
import subprocess

import requests
import yaml
from flask import Flask

app = Flask(__name__)
password = "hunter2x"


def run(command, cursor, name):
    subprocess.run(
        command,
        shell=True,
    )
    subprocess.run("ls", shell=True)
    subprocess.run(subprocess.check_output(command, shell=True), shell=True)
    digest = hashlib.md5(command), hashlib.md5(name)
    cursor.execute(
        "select * from t where name = '%s'"
        % name
    )
    requests.get(
        name,
        verify=False,
    )
    yaml.load(command)
    try:
        pickle.loads(command)
    except Exception:
        pass
    digest = hashlib.md5(command), hashlib.md5(name)
    subprocess.run("ls", shell=True)  # nosec B602
    return digest  # nosec B101


app.run(debug=True)
"""


def found(
    rule: str,
    span: tuple[int, int, int, int],
    scanner: Scanner,
    alias: str = "",
    *,
    message: str = "m",
) -> Finding:
    info = rule_info(rule)
    return Finding(
        rule=info.rule,
        message=message,
        path="a.py",
        span=Span(*span),
        severity=info.severity,
        confidence=info.confidence,
        scanners=(scanner,),
        aliases=(alias or rule,),
        cwe=info.cwe,
    )


@cache
def scanned() -> tuple[ScanResult, ScanResult, ScanResult]:
    """What ruff, bandit and our own checks say of the text."""
    results = ruff.scan_text("a.py", TEXT), bandit.scan("a.py", TEXT), ScanResult(own.scan("a.py", TEXT))
    assert not any(one.unscanned for one in results)
    return results


def all_of_it() -> Inspection:
    return assemble("a.py", TEXT, scanned(), PYTHON)


# -- merging -------------------------------------------------------------------------------------------------


def test_real_scanners_findings_of_one_weakness_become_one() -> None:
    ruff_result, bandit_result, _ = scanned()
    inspection = all_of_it()
    both = {"ruff", "bandit"}
    by_rule: dict[str, list[Finding]] = {}
    for one in inspection.findings:
        by_rule.setdefault(one.rule, []).append(one)
    for rule in ("S324", "S501", "S506", "S301", "S110", "S201", "S105", "S602", "S608"):
        seen_by_ruff = [one for one in ruff_result.findings if one.rule == rule]
        seen_by_bandit = [one for one in bandit_result.findings if one.rule == rule]
        merged = by_rule[rule]
        assert len(merged) == max(len(seen_by_ruff), len(seen_by_bandit)), rule
        assert sum(both <= set(one.scanners) for one in merged) == min(
            len(seen_by_ruff), len(seen_by_bandit)
        ), rule
        assert {one.span for one in seen_by_ruff} <= {one.span for one in merged}, rule


def test_two_weaknesses_in_one_line_stay_two() -> None:
    hashes = [one for one in all_of_it().findings if one.rule == "S324"]
    assert len(hashes) == 4
    assert all(set(one.scanners) == {"ruff", "bandit"} for one in hashes)


def test_bandits_grade_counts_where_it_depends_on_the_call() -> None:
    """`shell=True` with a constant is harmless, which the catalogue can't know."""
    shells = {
        one.span.start_line: one
        for one in all_of_it().findings
        if one.rule == "S602" and "bandit" in one.scanners
    }
    lines = TEXT.split("\n")
    (literal,) = (one for line, one in shells.items() if lines[line].endswith('run("ls", shell=True)'))
    assert literal.severity == "low"
    assert shells[lines.index("    subprocess.run(")].severity == "high"


def test_our_own_look_at_what_a_random_number_is_for_grades_it() -> None:
    text = "import random\n\ndef make_token():\n    return random.randbytes(8)\n\npause = random.random()\n"
    results = [ruff.scan_text("a.py", text), ScanResult(own.scan("a.py", text))]
    token, pause = assemble("a.py", text, results, ("ruff", "deltaloom")).findings
    assert (token.rule, token.severity, token.scanners) == ("S311", "medium", ("deltaloom", "ruff"))
    assert (pause.rule, pause.severity) == ("S311", "low")


def test_ruffs_place_and_both_names_are_kept_and_the_longer_message() -> None:
    (one,) = merge(
        [
            found("S602", (3, 4, 6, 5), "bandit", "B602", message="a much longer message"),
            found("S602", (3, 4, 3, 18), "ruff", message="short"),
        ]
    )
    assert one.span == Span(3, 4, 3, 18)
    assert one.aliases == ("B602", "S602")
    assert one.scanners == ("bandit", "ruff")
    assert one.message == "a much longer message"
    assert one.cwe == 78


def test_the_inner_of_two_nested_calls_goes_with_the_inner_finding() -> None:
    merged = merge(
        [
            found("S602", (3, 0, 3, 60), "bandit", "outer"),
            found("S602", (3, 15, 3, 50), "bandit", "inner"),
            found("S602", (3, 0, 3, 14), "ruff", "ruff outer"),
            found("S602", (3, 15, 3, 30), "ruff", "ruff inner"),
        ]
    )
    assert [one.aliases for one in merged] == [("outer", "ruff outer"), ("inner", "ruff inner")]


def test_two_of_bandits_tests_for_one_thing_become_one() -> None:
    (one,) = merge(
        [found("B308", (3, 4, 3, 20), "bandit", "B308"), found("B703", (3, 4, 3, 20), "bandit", "B703")]
    )
    assert (one.rule, one.aliases) == ("S308", ("B308", "B703"))


def test_other_rules_and_other_lines_are_not_merged() -> None:
    merged = merge(
        [
            found("S602", (3, 4, 3, 18), "ruff"),
            found("S602", (4, 4, 4, 18), "bandit"),
            found("S603", (3, 4, 3, 18), "bandit"),
        ]
    )
    assert len(merged) == 3


def test_a_secret_that_is_a_hard_coded_password_becomes_part_of_that_finding() -> None:
    password = found("S105", (9, 11, 9, 21), "ruff")
    secret = found("secret/aws-access-key", (9, 12, 9, 20), "secrets", message="AWS key")
    elsewhere = found("secret/slack-token", (11, 0, 11, 9), "secrets")
    one, other = merge([secret, elsewhere, password])
    assert (one.rule, one.severity, one.cwe) == ("S105", "critical", 259)
    assert one.scanners == ("ruff", "secrets")
    assert "secret/aws-access-key" in one.aliases
    assert other.rule == "secret/slack-token"


def test_a_guess_becomes_part_of_what_the_secret_is_known_for() -> None:
    (one,) = merge(
        [
            found("secret/secret-keyword", (1, 7, 1, 30), "secrets"),
            found("secret/hex-high-entropy-string", (1, 7, 1, 30), "secrets"),
            found("secret/slack-token", (1, 7, 1, 30), "secrets"),
        ]
    )
    assert one.rule == "secret/slack-token"
    assert "secret/secret-keyword" in one.aliases


# -- the whole inspection ------------------------------------------------------------------------------------


def test_suppressed_findings_stay_and_unused_comments_are_told() -> None:
    inspection = all_of_it()
    (hidden,) = (one for one in inspection.findings if one.suppressed is not None and one.rule == "S602")
    assert hidden.suppressed is not None
    assert hidden.suppressed.family == "nosec"
    (unused,) = (one for one in inspection.findings if one.rule == "DL001")
    assert unused.message == "`# nosec B101` suppresses nothing."
    assert all(one.identity for one in inspection.findings)
    assert [one.span for one in inspection.findings] == sorted(one.span for one in inspection.findings)


def test_what_was_not_scanned_is_kept_and_nothing_is_called_unused_for_it() -> None:
    crashed = ScanResult((), (Unscanned("a.py", "bandit", "Bandit crashed.", failed=True),))
    inspection = assemble("a.py", TEXT, [scanned()[0], crashed, crashed], PYTHON)
    assert inspection.unscanned == crashed.unscanned
    assert inspection.scanners == ("deltaloom", "ruff")
    assert not [one for one in inspection.findings if one.rule == "DL001"]


def test_a_finding_has_the_same_identity_from_ruff_alone_as_from_all() -> None:
    alone = assemble("a.py", TEXT, [scanned()[0]], ("ruff",))
    identities = {(one.rule, one.span): one.identity for one in all_of_it().findings}
    assert len(alone.findings) > 10
    for one in alone.findings:
        assert identities[one.rule, one.span] == one.identity


def test_lines_that_move_keep_their_identities() -> None:
    moved_text = "# one\n\n" + TEXT.replace("def run(", "X = 1\n\n\ndef run(").replace(
        "    requests", "    requests"
    )
    results = ruff.scan_text("a.py", moved_text), bandit.scan("a.py", moved_text)
    moved = assemble("a.py", moved_text, results, ("ruff", "bandit"))
    before = assemble("a.py", TEXT, scanned()[:2], ("ruff", "bandit"))
    assert {one.identity for one in moved.findings} == {one.identity for one in before.findings}
    assert [one.span for one in moved.findings] != [one.span for one in before.findings]


def test_identities_are_all_different() -> None:
    identities = [one.identity for one in all_of_it().findings]
    assert len(identities) == len(set(identities))


def test_assembling_again_changes_nothing() -> None:
    once = all_of_it()
    assert assemble("a.py", TEXT, [ScanResult(once.findings, once.unscanned)], once.scanners) == once


@pytest.mark.parametrize("seed", range(8))
def test_the_order_in_which_scanners_tell_does_not_matter(seed: int) -> None:
    shuffle = random.Random(seed).sample
    pieces = [ScanResult((one,)) for result in scanned() for one in result.findings]
    assert assemble("a.py", TEXT, shuffle(pieces, len(pieces)), PYTHON) == all_of_it()


def test_many_findings_of_one_rule_are_merged_in_time() -> None:
    """Pairs are looked for among neighbours: thousands of asserts are common in tests."""
    asserts = [
        one
        for line in range(6000)
        for one in (
            found("S101", (line, 4, line, 10), "ruff"),
            found("S101", (line, 4, line, 30), "bandit", "B101"),
        )
    ]
    merged = merge(asserts)
    assert len(merged) == 6000
    assert all(one.scanners == ("bandit", "ruff") for one in merged)


# -- any findings --------------------------------------------------------------------------------------------

SCANNERS: tuple[Scanner, ...] = ("ruff", "bandit", "deltaloom", "secrets", "semgrep")


@st.composite
def some_finding(draw: st.DrawFn) -> Finding:
    line = draw(st.integers(0, 5))
    column = draw(st.integers(0, 8))
    end = line + draw(st.integers(0, 2))
    scanner = draw(st.sampled_from(SCANNERS))
    rules = (
        ("secret/slack-token", "secret/secret-keyword") if scanner == "secrets" else ("S105", "S602", "S608")
    )
    rule = draw(st.sampled_from(rules))
    width = draw(st.integers(1, 9))
    return found(
        rule,
        (line, column, end, column + width),
        scanner,
        f"{scanner}-{rule}",
        message=draw(st.text(max_size=2)),
    )


@given(st.lists(some_finding(), max_size=14), st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None)
def test_any_findings_merge_alike_in_any_order_and_once_for_all(
    findings: list[Finding], chance: random.Random
) -> None:
    once = merge(findings)
    shuffled = list(findings)
    chance.shuffle(shuffled)
    assert merge(shuffled) == once
    assert merge(once) == once


@given(st.lists(some_finding(), max_size=14))
@settings(max_examples=200, deadline=None)
def test_no_scanner_and_no_name_is_lost_in_merging(findings: list[Finding]) -> None:
    merged = merge(findings)
    assert {(s, a) for one in findings for s in one.scanners for a in one.aliases} <= {
        (s, a) for one in merged for s in one.scanners for a in one.aliases
    }
    ruffs = {(one.rule, one.span) for one in findings if one.scanners == ("ruff",)}
    assert ruffs <= {(one.rule, one.span) for one in merged}
