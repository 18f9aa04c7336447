"""Every check against the examples beside it, and what all of them keep to."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest

from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.scanners.own import Check, checks, scan
from deltaloom_server.security.scanners.own.view import View

NAMES = [check.__name__.rpartition(".")[2] for check in checks()]  # type: ignore[attr-defined]


def lines_of(check: Check, text: str) -> list[int]:
    """The lines that one check reports, also where another has something to say."""
    source = Source.parse(text)
    assert source is not None, f"the example doesn't parse:\n{text}"
    return sorted({hit.node.lineno for hit in check.check(View(source))})


@pytest.mark.parametrize("check", checks(), ids=NAMES)
def test_a_check_reports_the_marked_lines_of_its_bad_examples(check: Check) -> None:
    assert check.INVALID
    for text in check.INVALID:
        marked = [number for number, line in enumerate(text.split("\n"), 1) if line.endswith("# here")]
        assert marked
        assert lines_of(check, text) == marked, text
        assert any(word in text for word in check.WORDS), text


@pytest.mark.parametrize("check", checks(), ids=NAMES)
def test_a_check_is_silent_on_its_good_examples(check: Check) -> None:
    assert check.VALID
    for text in check.VALID:
        assert lines_of(check, text) == [], text


def by_rule(path: str, text: str) -> dict[str, Finding]:
    return {one.rule: one for one in scan(path, text)}


def test_findings_say_rule_place_and_weakness() -> None:
    text = "import jwt\n\nx = 'é'; jwt.decode(t, options={'verify_signature': False})\n"
    (finding,) = scan("app/a.py", text)
    assert (finding.rule, finding.cwe, finding.severity) == ("DL102", 347, "high")
    assert (finding.span.start_line, finding.span.start_column) == (2, 9)
    assert finding.scanners == ("deltaloom",)
    assert finding.help_url.endswith("/347.html")


def test_a_missing_httponly_alone_is_another_weakness_than_a_missing_secure() -> None:
    both = by_rule("a.py", "def f(r):\n    r.set_cookie('sid', v())\n")
    script = by_rule("a.py", "def f(r):\n    r.set_cookie('sid', v(), secure=True)\n")
    assert (both["DL107"].cwe, script["DL107"].cwe) == (614, 1004)


def test_only_python_is_parsed_and_what_does_not_parse_has_no_findings() -> None:
    text = "import os\nos.umask(0)\n"
    assert by_rule("a.py", text)
    assert scan("a.txt", text) == ()
    assert scan("a.py", text + "def (:\n") == ()
    assert scan("a.py", "x = " + "-" * 100_000 + "1  # umask\n") == ()


def test_hidden_marks_of_direction_are_seen_in_any_language() -> None:
    text = "var admin = false;\n/*\u202e } if (admin) \u2066*/\n"
    (finding,) = scan("a.js", text)
    assert (finding.rule, finding.cwe, finding.span.start_line, finding.span.start_column) == (
        "DL002",
        1007,
        1,
        2,
    )
    assert "U+202E" in finding.message
    (python,) = scan("a.py", "x = 1  # \u202e y\n")
    assert python.rule == "B613"


def test_characters_without_width_are_seen_but_not_where_a_script_needs_them() -> None:
    assert by_rule("a.py", "pass\u200bword = 1\n")["DL002"].span.start_column == 4
    assert scan("a.py", "\ufeffx = 1\n") == ()
    assert scan("a.py", "x = '\u06a9\u06cc\u200c\u0647\u0627'\n") == ()
    assert scan("a.py", "x = '\U0001f469\u200d\U0001f680'\n") == ()


def test_the_standard_library_is_all_but_silent() -> None:
    """What is well kept and read by many: a finding there would be noise."""
    folder = Path(sysconfig.get_path("stdlib"))
    places = ("asyncio", "email", "http", "json", "logging", "urllib", "wsgiref", "xml", "xmlrpc")
    files = sorted(path for place in places for path in folder.glob(f"{place}/**/*.py"))
    found = [
        (file.name, one.rule)
        for file in files
        for one in scan(file.name, file.read_text(encoding="utf-8", errors="replace"))
    ]
    assert len(files) > 80
    # It calls a number a token that only has to differ from the text around it.
    assert set(found) <= {("generator.py", "S311")}
