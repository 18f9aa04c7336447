"""Suppressing one finding with a comment: the scanners then agree, and nothing else changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from lsprotocol import types

from deltaloom_server.actions import Place, suppress
from deltaloom_server.documents import DocumentSnapshot
from deltaloom_server.positions import PositionEncoding, split_lines
from deltaloom_server.security.finding import Finding, Inspection, Span
from deltaloom_server.security.inspector import Inspector
from deltaloom_server.security.proposal import apply_edits

KEY = "AKIA" + "IOSFODNN7" + "EXAMPLQ"


def place(path: str, text: str, *findings: Finding) -> Place:
    document = DocumentSnapshot(
        f"file:///{path}", 1, "python", PositionEncoding.UTF16, tuple(split_lines(text))
    )
    return Place(document, path, 0, 0, types.Position(0, 0), findings, findings)


@pytest.fixture
def inspect(server: Any) -> Callable[..., Any]:
    async def run(path: str, text: str) -> Inspection:
        inspector: Inspector = server.security.inspector
        return await inspector.full(path, text, ((0, text.count("\n")),))

    return run


@pytest.mark.parametrize(
    ("path", "text", "rule"),
    [
        ("a.py", "import subprocess\nsubprocess.run(f'ls {x}', shell=True)\n", "S602"),
        ("a.py", "x = eval(y)\r\nz = 1\r\n", "S307"),
        ("a.py", "x = eval(y)", "S307"),
        ("a.py", "x = eval(y)  # they said so\n", "S307"),
        ("a.py", "x = eval(y)  # noqa: E501\n", "S307"),
        ("a.py", "import torch\nm = torch.load(p)\n", "B614"),
        ("a.py", "x = [\n    eval(y),\n]\n", "S307"),
        ("a.py", '"""Doc."""\nx = eval(y)\n', "S307"),
        ("a.py", f"place = '{KEY}'\n", "secret/aws-access-key"),
    ],
)
async def test_the_finding_is_suppressed_and_no_other_is(
    inspect: Any, path: str, text: str, rule: str
) -> None:
    before = (await inspect(path, text)).findings
    (finding,) = [one for one in before if one.rule == rule and one.suppressed is None]
    (offer,) = suppress.offer(place(path, text, finding))
    after = apply_edits(text, offer.edits)
    findings = (await inspect(path, after)).findings
    (told,) = [one for one in findings if one.rule == rule]
    assert told.suppressed is not None
    others = [one.rule for one in before if one is not finding and one.suppressed is None]
    assert [one.rule for one in findings if one.suppressed is None] == others
    (edit,) = offer.edits
    assert edit.start == edit.end
    assert "\n" not in edit.text
    assert edit.text.startswith("  # ")


@pytest.mark.parametrize(
    ("path", "text", "line"),
    [
        ("a.py", f'TEXT = """\nkey {KEY}\n"""\n', 1),
        ("a.py", f"TEXT = '''\nkey {KEY}\n'''\n", 1),
        ("a.py", 'TEXT = """begins\nends"""\n', 0),
        ("a.py", "x = 1 + \\\n  2\n", 0),
        ("a.ini", f"key = {KEY}\n", 0),
        ("a.js", "f(x); // nosemgrep: other\n", 0),
        ("a.py", "f(x)  # noqa: S105 # nosec B105\n", 0),
    ],
)
def test_where_a_comment_would_be_something_else_none_is_offered(path: str, text: str, line: int) -> None:
    finding = Finding("S602", "m", path, Span(line, 0, line, 3), "high", "high", ("ruff",), ("B602",))
    assert list(suppress.offer(place(path, text, finding))) == []


def test_a_finding_over_several_lines_is_left_to_a_person() -> None:
    finding = Finding("S602", "m", "a.py", Span(0, 0, 1, 3), "high", "high", ("ruff",))
    assert list(suppress.offer(place("a.py", "run(\n  x)\n", finding))) == []


def test_other_languages_have_their_own_comments() -> None:
    finding = Finding("js/eval", "m", "a.js", Span(0, 0, 0, 3), "high", "high", ("semgrep",))
    (offer,) = suppress.offer(place("a.js", "f(x);\n", finding))
    assert apply_edits("f(x);\n", offer.edits) == "f(x);  // nosemgrep: js/eval\n"
