"""Bandit by the real bandit: places to the code point, and nothing that hides what it sees."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from collections import Counter
from pathlib import Path

import bandit as installed
import pytest

from deltaloom_server.positions import split_lines
from deltaloom_server.security.analysis.messages import ScanResult
from deltaloom_server.security.finding import Finding, Span
from deltaloom_server.security.scanners import bandit, ruff


def marked(text: str, span: Span) -> str:
    """The piece of a text that a span covers."""
    lines = split_lines(text)
    if span.start_line == span.end_line:
        return lines[span.start_line][span.start_column : span.end_column]
    middle = lines[span.start_line + 1 : span.end_line]
    return "".join(
        (lines[span.start_line][span.start_column :], *middle, lines[span.end_line][: span.end_column])
    )


def only(text: str, rule: str) -> Finding:
    (finding,) = (one for one in bandit.scan("a.py", text).findings if one.rule == rule)
    return finding


def why(result: ScanResult) -> tuple[str, bool]:
    assert result.findings == ()
    (unscanned,) = result.unscanned
    assert unscanned.scanner == "bandit"
    return unscanned.reason, unscanned.failed


@pytest.mark.parametrize(
    "text",
    [
        "eval(x)\n",
        "é = '𝒳\u0301'; eval(x)",
        "s = '\u2028\u2029\x85'\nif x:\n\teval(x)\n",
        "\x0ceval(x)\n",
        "a = 1\rb = 2\r\neval(x)\r",
        "a = '''\x0b\x0c\r\n\r'''\neval(x)\n",
        "\ufeffeval(x)\n",
        "\ufeff# -*- coding: latin-1 -*-\né = 1; eval(x)\n",
    ],
)
def test_a_place_is_exact_whatever_stands_before_it(text: str) -> None:
    assert marked(text, only(text, "S307").span) == "eval(x)"


@pytest.mark.parametrize(
    ("text", "rule", "piece"),
    [
        ("é = pickle.loads(\n    '𝒳' + x,\n)\n", "S301", "pickle.loads(\n    '𝒳' + x,\n)"),
        ("requests.get(\n    u,\n    timeout=1,\n    verify=False,\n)\n", "S501", "verify=False"),
        ("requests.get(\n    u,\n)\n", "S113", "requests.get(\n    u,\n)"),
        (
            "subprocess.run(\n    'é' + x,\n    shell=True)\n",
            "S602",
            "subprocess.run(\n    'é' + x,\n    shell=True)",
        ),
        ("subprocess.run(\n    ['ls', x],\n)\n", "S607", "['ls', x]"),
        ("os.chmod(\n    p,\n    0o777,\n)\n", "S103", "0o777"),
        ("hashlib.new(\n    'md5',\n    x)\n", "S324", "'md5'"),
        ("connect(\n    a,\n    password='abc',\n)\n", "S106", "password='abc'"),
        ("def f(\n    a,\n    password='abc',\n): ...\n", "S107", "'abc'"),
        ("d['password'] = (\n    'abc')\n", "S105", "'abc'"),
        (
            "c.execute(\n    'select a from b where c='\n    + x\n)\n",
            "S608",
            "'select a from b where c='\n    + x",
        ),
        (
            "q = f'''é {x}\n  select {a} from {b} where c'''\n",
            "S608",
            "f'''é {x}\n  select {a} from {b} where c'''",
        ),
        (
            "q = 'select {} from b where'.format(\n    x)\n",
            "S608",
            "'select {} from b where'.format(\n    x)",
        ),
        ("app.run(\n    debug=True,\n)\n", "S201", "debug=True"),
    ],
)
def test_a_finding_covers_what_is_wrong_and_begins_where_ruffs_does(text: str, rule: str, piece: str) -> None:
    text = (
        "import hashlib, os, pickle, requests, subprocess\nfrom flask import Flask\napp = Flask('a')\n" + text
    )
    finding = only(text, rule)
    assert marked(text, finding.span) == piece
    begins = {one.span.start_line for one in ruff.scan_text("a.py", text).findings if one.rule == rule}
    assert finding.span.start_line in begins or not begins


def test_hidden_characters_are_marked_in_the_lines_that_an_editor_shows() -> None:
    text = "s = 'a\u2028b'\nif x != 'no\u202e \u2066':\n    pass\n"
    assert only(text, "B613").span == Span(1, 11, 1, 12)


def test_grades_depend_on_the_call_where_bandit_looks_at_it() -> None:
    literal = only("import subprocess\nsubprocess.run('ls', shell=True)\n", "S602")
    built = only("import subprocess\nsubprocess.run('ls ' + x, shell=True)\n", "S602")
    assert (literal.severity, built.severity) == ("low", "high")
    assert literal.scanners == ("bandit",)
    assert literal.aliases == ("B602",)
    assert literal.cwe == 78


def test_a_message_does_not_repeat_the_password() -> None:
    text = "password = 'correct horse'\nf(token='correct horse')\ndef g(secret='correct horse'): ...\n"
    findings = bandit.scan("a.py", text).findings
    assert {finding.rule for finding in findings} == {"S105", "S106", "S107"}
    assert not any("horse" in finding.message for finding in findings)


def test_no_suppression_and_no_configuration_counts(
    hostile_tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(hostile_tree)
    text = (hostile_tree / "vulnerable.py").read_text()
    found = {finding.rule for finding in bandit.scan("vulnerable.py", text).findings}
    assert found == {"S307", "S605"}
    assert not (hostile_tree / "ran").exists()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x = 1\ndef f(:\n", "Line 2 doesn't parse: invalid syntax."),
        ("x = '\0'", "null bytes"),
        ("x = '\ud800'", "lone surrogates"),
        ("# coding: nonsense\nx = 1\n", "unknown encoding"),
        ("x = " + "-" * 100_000 + "1", "nested too deeply"),
        ("x = a" + ".b" * 100_000, "nested too deeply"),
        ("x = 1" + "+1" * 100_000, "nested too deeply"),
        ("x = " + "lambda: " * 100_000 + "1", "nested too deeply"),
        ("f" + "()" * 100_000, "nested too deeply"),
        ("x = " + "(" * 100_000 + ")" * 100_000, "too many nested parentheses"),
        ("x = " + "[" * 100_000 + "]" * 100_000, "too many nested parentheses"),
        ("if x: pass\n" + "elif x: pass\n" * 50_000, "nested too deeply"),
        ("x = 1\n" * 437_000, "The text is over 1 MiB."),
    ],
)
def test_what_it_does_not_look_at_is_said(text: str, reason: str) -> None:
    said, failed = why(bandit.scan("a.py", text))
    assert reason in said
    assert not failed


def test_what_parses_is_looked_at_however_deep_it_is() -> None:
    deep = "eval(x)\ny = a" + ".b" * 2_500 + "\nz = 'select '" + " + b" * 900 + "\n"
    result = bandit.scan("a.py", deep)
    assert [finding.rule for finding in result.findings] == ["S307"]
    assert result.unscanned == ()


def test_an_empty_text_has_nothing() -> None:
    assert bandit.scan("a.py", "") == ScanResult(())


def test_another_version_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "__version__", "9.9.9")
    said, failed = why(bandit.scan("a.py", "eval(x)\n"))
    assert said == "Bandit 9.9.9 is installed and only 1.9.4 is known to work; install bandit==1.9.4."
    assert failed


def test_a_test_of_bandits_that_fails_is_said_and_the_others_count(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(context: object) -> None:
        raise ValueError("no such thing")

    broken._test_id = "B999"  # type: ignore[attr-defined]
    tests = bandit._tests()
    monkeypatch.setitem(tests.tests, "Call", [broken, *tests.tests["Call"]])
    result = bandit.scan("a.py", "\neval(x)\n")
    assert [finding.rule for finding in result.findings] == ["S307"]
    (unscanned,) = result.unscanned
    assert unscanned.reason == "Bandit's test broken failed at line 2: ValueError no such thing."
    assert unscanned.failed


def test_it_sees_what_bandits_own_command_sees(tmp_path: Path) -> None:
    folder = Path(sysconfig.get_path("stdlib"))
    files = [
        folder / name for name in ("subprocess.py", "ftplib.py", "tarfile.py", "xmlrpc/client.py", "pdb.py")
    ]
    done = subprocess.run(
        [sys.executable, "-m", "bandit", "--quiet", "--ignore-nosec", "--format", "json", *map(str, files)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    theirs = Counter(one["test_id"] for one in json.loads(done.stdout)["results"])
    ours = Counter(
        finding.aliases[0]
        for file in files
        for finding in bandit.scan(file.name, file.read_text("utf-8")).findings
    )
    assert ours == theirs
    assert len(theirs) > 5
