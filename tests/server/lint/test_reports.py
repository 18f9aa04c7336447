"""Reports: each is what its readers expect, whatever names, lines and messages hold."""

from __future__ import annotations

import io
import json
import re
from datetime import datetime
from typing import Any
from uuid import UUID
from xml.etree import ElementTree

import msgspec
import pytest

from deltaloom_server.lint.options import FORMATS
from deltaloom_server.lint.outcome import FileDiff, OfferedFix, Outcome, Replacement, Reported
from deltaloom_server.lint.reports import render, text
from deltaloom_server.lint.reports.common import plain
from deltaloom_server.security.finding import Finding, Span, Unscanned

CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def parsed(outcome: Outcome, format: Any) -> Any:
    return json.loads(render(outcome, format))


def as_text(outcome: Outcome) -> str:
    return text.render(outcome)


# -- all of them -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", [one for one in FORMATS if one != "text"])
def test_every_report_is_text_that_utf8_can_hold_and_ends_a_line(outcome: Outcome, format: Any) -> None:
    strange = Reported(
        Finding(
            "S1\udc00",
            "m\ud800",
            "bytes\udcff.py",
            Span(0, 0, 0, 3),
            "high",
            "low",
            ("ruff",),
            identity="ab" * 16,
        ),
        "x = '\udfff'",
        fixes=(OfferedFix("t\ud801", (Replacement(Span(0, 0, 0, 1), "\udc01", "x = 1"),), "parsed"),),
    )
    report = render(msgspec.structs.replace(outcome, findings=(strange,)), format)
    report.encode("utf-8", "strict")
    assert report.endswith("\n")


@pytest.mark.parametrize("format", ["json", "sarif", "gitlab", "rdjson"])
def test_a_json_report_of_nothing_is_json(empty: Outcome, format: Any) -> None:
    assert isinstance(parsed(empty, format), dict)


def test_invisible_characters_are_written_out() -> None:
    assert plain("a\tb\n\x1b[1m\x00\u202e\u200b\ud800\x7f é𝒳") == r"a b\n\x1b[1m\x00\u202e\u200b\ud800\x7f é𝒳"


# -- text --------------------------------------------------------------------------------------------------


def test_text_shows_what_is_new_with_its_line_and_what_verified_its_fix(outcome: Outcome) -> None:
    report = as_text(outcome)
    assert "  3:1      high     S602 (CWE-78)" in report
    lines = report.splitlines()
    at = lines.index("           subprocess.run(cmd, shell=True)")
    assert lines[at + 1] == "           " + "^" * 31
    assert lines[at + 2] == "           fix: Pass a list  [parsed; rescanned by bandit and ruff]"
    assert "Leave it out (look before you apply it)" in report
    assert "other file.py" not in report


def test_the_carets_stand_below_what_is_meant(outcome: Outcome) -> None:
    lines = as_text(outcome).splitlines()
    at = next(number for number, line in enumerate(lines) if line.strip().startswith("é ="))
    assert lines[at][11:] == "é = '𝒳'; exec(x)"
    assert lines[at + 1].index("^") - 11 == 9


def test_the_summary_counts_what_is_not_shown(outcome: Outcome) -> None:
    summary = text.summary_line(msgspec.structs.replace(outcome, left_out=7))
    assert summary == (
        "2 findings in 4 files (1 in the baseline, 1 on unchanged lines, 1 suppressed, 7 below "
        "medium severity or low confidence, 2 with a verified fix), 1.2 s."
    )


def test_text_says_what_was_not_scanned_and_what_failed(outcome: Outcome) -> None:
    report = as_text(outcome)
    assert "big.py: bandit did not look at this file: it is larger than 1 MiB" in report
    assert "deep.py: ruff failed: it was ended by signal 6" in report
    assert ".bandit would hide 3 findings" in report
    assert report.splitlines()[-1].startswith("ruff failed on deep.py")


def test_nothing_that_a_file_holds_reaches_the_terminal(outcome: Outcome) -> None:
    assert not CONTROLS.search(as_text(outcome))
    assert "\n::error" not in as_text(outcome)


COMMANDS = re.compile(r"^\s*::|##(vso|teamcity)?\[", re.MULTILINE | re.IGNORECASE)


@pytest.mark.parametrize(
    ("source", "marked", "shown", "carets"),
    [
        ("::stop-commands::x", "stop", r"\x3a:stop-commands::x", "     ^^^^"),
        ("  ::error::x", "::error", r"\x3a:error::x", "^^^^^^^^^^"),
        ("x = 1  ##[set-env name=A]b", "x", r"x = 1  \x23#[set-env name=A]b", "^"),
        ("y ##vso[task.setvariable]", "task", r"y \x23#vso[task.setvariable]", "           ^^^^"),
        ("##TeamCity[x] ##[y]", "]", r"\x23#TeamCity[x] \x23#[y]", "               ^"),
        ("a::b ## [c]", "b", "a::b ## [c]", "   ^"),
    ],
)
def test_no_line_of_a_file_is_a_command_for_a_ci(source: str, marked: str, shown: str, carets: str) -> None:
    at = source.index(marked)
    finding = Finding("S1", source, source, Span(0, at, 0, at + len(marked)), "high", "low", ("ruff",))
    fixes = (OfferedFix(source, (), source),)
    unscanned = (Unscanned(source, "ruff", source, failed=True),)
    outcome = Outcome("0", "/", 1, (Reported(finding, source, fixes=fixes),), unscanned, (source,))
    stream = io.StringIO()
    text.print_text(outcome, stream, "")
    for report in (as_text(outcome), stream.getvalue()):
        assert not COMMANDS.search(report)
        lines = report.splitlines()
        assert lines[2:4] == [" " * 11 + shown, " " * 11 + carets]


def test_a_very_long_line_is_cut_around_the_finding() -> None:
    source = "x" * 5_000 + "eval(y)" + "z" * 5_000
    finding = Finding("S307", "m", "a.py", Span(0, 5_000, 0, 5_007), "high", "high", ("ruff",))
    lines = as_text(Outcome("0", "/", 1, (Reported(finding, source),))).splitlines()
    code, caret = lines[2], lines[3]
    assert len(code) < 120
    assert code[caret.index("^") : caret.rindex("^") + 1] == "eval(y)"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_colours_are_for_terminals_that_want_them(
    outcome: Outcome, monkeypatch: pytest.MonkeyPatch, no_color: str, coloured: bool
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    terminal, file = Terminal(), io.StringIO()
    text.print_text(outcome, terminal, "")
    text.print_text(outcome, file, "")
    assert bool(re.search("\x1b\\[[0-9;]*3[0-9]m", terminal.getvalue())) is coloured
    assert file.getvalue() == as_text(outcome)


def test_a_diff_comes_out_as_it_is(outcome: Outcome) -> None:
    diff = "--- a/é\n+++ b/é\n@@ -1 +1 @@\n-\tx\x0c\n+y\n"
    stream = io.StringIO()
    text.print_diffs(msgspec.structs.replace(outcome, diffs=(FileDiff("é", diff),)), stream)
    assert stream.getvalue() == diff


# -- GitLab ------------------------------------------------------------------------------------------------


def test_gitlab_has_what_its_schema_demands(outcome: Outcome) -> None:
    report = parsed(outcome, "gitlab")
    assert re.fullmatch(r"15\.\d+\.\d+", report["version"])
    scan = report["scan"]
    for name in ("analyzer", "scanner"):
        tool = scan[name]
        assert all(tool[key] for key in ("id", "name", "version"))
        assert tool["vendor"]["name"]
    assert scan["type"] == "sast"
    start, end = (datetime.strptime(scan[key], "%Y-%m-%dT%H:%M:%S") for key in ("start_time", "end_time"))
    assert (end - start).seconds == 1
    for entry in report["vulnerabilities"]:
        UUID(entry["id"])
        assert len(entry["name"]) <= 255
        assert entry["severity"] in {"Info", "Unknown", "Low", "Medium", "High", "Critical"}
        assert entry["location"]["start_line"] >= 1
        for identifier in entry["identifiers"]:
            assert all(identifier[key] for key in ("type", "name", "value"))


def test_gitlab_gets_new_findings_only_with_weakness_and_solution(outcome: Outcome) -> None:
    first, second = parsed(outcome, "gitlab")["vulnerabilities"]
    assert first["location"]["file"] == outcome.findings[0].finding.path
    assert [one["value"] for one in first["identifiers"]] == ["S602", "B602", "78"]
    assert first["solution"].startswith("Pass a list (parsed; rescanned by bandit and ruff)")
    assert first["tracking"]["items"][0]["signatures"][0]["value"] == outcome.findings[0].finding.identity
    assert second["identifiers"][-1]["name"] == "CWE-94"


def test_gitlab_is_told_of_a_failure(outcome: Outcome, empty: Outcome) -> None:
    scan = parsed(outcome, "gitlab")["scan"]
    assert scan["status"] == "failure"
    assert [one["level"] for one in scan["messages"]] == ["warn", "fatal", "info"]
    assert parsed(empty, "gitlab")["scan"]["status"] == "success"


def test_gitlab_ids_differ_for_equal_lines_of_two_files(outcome: Outcome) -> None:
    copies = tuple(
        msgspec.structs.replace(one, state="new") for one in (outcome.findings[0], outcome.findings[-1])
    )
    entries = parsed(msgspec.structs.replace(outcome, findings=copies), "gitlab")["vulnerabilities"]
    assert len({entry["id"] for entry in entries}) == 2


# -- JUnit -------------------------------------------------------------------------------------------------


def test_junit_is_xml_whose_counts_are_true(outcome: Outcome) -> None:
    suites = ElementTree.fromstring(render(outcome, "junit"))
    (suite,) = suites
    cases = suite.findall("testcase")
    assert int(suite.get("tests", "")) == int(suites.get("tests", "")) == len(cases) == 4
    assert int(suite.get("failures", "")) == len(suite.findall("testcase/failure")) == 2
    assert int(suite.get("errors", "")) == len(suite.findall("testcase/error")) == 1
    assert int(suite.get("skipped", "")) == len(suite.findall("testcase/skipped")) == 1
    assert "subprocess.run(cmd, shell=True)" in (suite.findtext("testcase/failure") or "")


def test_junit_does_not_fail_for_what_does_not_block(outcome: Outcome) -> None:
    strict = msgspec.structs.replace(outcome, severity="critical", unscanned=())
    suite = ElementTree.fromstring(render(strict, "junit"))[0]
    assert suite.get("failures") == "0"
    assert len(suite.findall("testcase/system-out")) == 2


def test_junit_of_nothing_is_a_test_that_passed(empty: Outcome) -> None:
    suite = ElementTree.fromstring(render(empty, "junit"))[0]
    assert suite.get("tests") == "1"
    assert list(suite[0]) == []


def test_junit_of_broken_off_work_is_an_error(empty: Outcome) -> None:
    suite = ElementTree.fromstring(render(msgspec.structs.replace(empty, complete=False), "junit"))[0]
    assert suite.get("errors") == "1"


# -- Reviewdog ---------------------------------------------------------------------------------------------


def test_rdjson_counts_columns_in_bytes(outcome: Outcome) -> None:
    second = parsed(outcome, "rdjson")["diagnostics"][1]
    line = "é = '𝒳'; exec(x)".encode()
    region = second["location"]["range"]
    assert line[region["start"]["column"] - 1 : region["end"]["column"] - 1] == b"exec(x)"
    assert region["start"]["line"] == 4


def test_rdjson_suggests_only_whole_safe_fixes(outcome: Outcome) -> None:
    first, second, *rest = parsed(outcome, "rdjson")["diagnostics"]
    assert first["suggestions"] == [
        {
            "range": {"start": {"line": 3, "column": 21}, "end": {"line": 3, "column": 31}},
            "text": "shell=False",
        }
    ]
    assert second["suggestions"] == []
    assert [(one["location"]["path"], one["severity"]) for one in rest] == [
        ("big.py", "WARNING"), ("deep.py", "ERROR"),
    ]  # fmt: skip


def test_rdjson_of_a_fix_over_lines_counts_bytes_of_both() -> None:
    before = "é(\n  é)\n"
    fix = OfferedFix("t", (Replacement(Span(4, 1, 5, 3), "[]", before),), "parsed")
    finding = Finding("S1", "m", "a.py", Span(4, 0, 5, 4), "low", "low", ("ruff",))
    report = parsed(Outcome("0", "/", 1, (Reported(finding, "é(", fixes=(fix,)),)), "rdjson")
    (diagnostic,) = report["diagnostics"]
    assert diagnostic["location"]["range"] == {"start": {"line": 5}, "end": {"line": 6}}
    assert diagnostic["suggestions"][0]["range"] == {
        "start": {"line": 5, "column": 3}, "end": {"line": 6, "column": 5},
    }  # fmt: skip


# -- GitHub ------------------------------------------------------------------------------------------------


def commands(report: str) -> list[tuple[str, dict[str, str], str]]:
    """As GitHub reads them: https://docs.github.com, workflow commands."""
    parsed_commands = []
    for line in report.splitlines():
        match = re.fullmatch(r"::(\w+)(?: ([^:]*))?::(.*)", line)
        assert match, line
        words = dict(word.split("=", 1) for word in (match[2] or "").split(",") if word)
        for escape, letter in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
            words = {key: value.replace(escape, letter) for key, value in words.items()}
        parsed_commands.append((match[1], words, match[3]))
    return parsed_commands


def test_github_annotates_the_lines_and_nothing_breaks_out(outcome: Outcome) -> None:
    found = commands(render(outcome, "github"))
    assert [kind for kind, _, _ in found] == ["error", "warning", "warning", "error", "notice", "error"]
    _, words, message = found[0]
    assert words["file"] == outcome.findings[0].finding.path
    assert (words["line"], words["endLine"], words["col"], words["endColumn"]) == ("3", "3", "1", "32")
    assert words["title"] == "Deltaloom S602 (CWE-78)"
    assert "%0D%0A::error::taken over" in message
    assert "100%25" in message
    assert "Fix: Pass a list (parsed; rescanned by bandit and ruff)" in message
    assert not CONTROLS.search(render(outcome, "github"))


def test_github_of_nothing_is_nothing(empty: Outcome) -> None:
    assert render(empty, "github") == ""
