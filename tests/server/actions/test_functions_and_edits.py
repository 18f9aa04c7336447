"""What menus know of a text without parsing it, and the edits that whole files become."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltaloom_server.actions import actions
from deltaloom_server.actions.fix_all import line_edits
from deltaloom_server.actions.python_functions import function_at
from deltaloom_server.actions.write_docstring import _literal
from deltaloom_server.actions.write_test import _module
from deltaloom_server.context.roots import name_roots
from deltaloom_server.positions import split_lines
from deltaloom_server.security.proposal import apply_edits

_LINES = st.lists(st.sampled_from(["a", "b", "", "é😀"]), max_size=10)
_TEXTS = st.builds(lambda lines, end: end.join(lines), _LINES, st.sampled_from(["\n", "\r\n", "\r"]))


@given(_TEXTS, _TEXTS)
def test_edits_of_whole_lines_make_one_text_the_other(before: str, after: str) -> None:
    edits = line_edits(before, after)
    assert apply_edits(before, edits) == after
    lines = split_lines(before)
    starts = {sum(map(len, lines[:number])) for number in range(len(lines) + 1)}
    assert {place for one in edits for place in (one.start, one.end)} <= starts
    assert (edits == ()) == (before == after)


# -- functions -----------------------------------------------------------------------------------------------


_DOCSTRINGS = ("", '{0}    """Doc."""\n', "\n{0}    '''D\n\n{0}    d'''\n")
_HEADS = {
    "def": "{0}def {1}():\n",
    "async": "{0}async def {1}(\n{0}    a={{}}, b=':',  # c:\n{0}):\n",
    "class": "{0}class {1}:\n",
}


@st.composite
def _program(draw: st.DrawFn, indent: str = "", depth: int = 0) -> str:
    """Valid Python with functions in functions and classes."""
    pieces = []
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["plain", "blank", "call", *(_HEADS if depth < 3 else ())]))
        if kind == "blank":
            pieces.append("\n")
        elif kind == "plain":
            pieces.append(f"{indent}x = 1\n")
        elif kind == "call":
            pieces.append(f"{indent}x = (\n{indent}    1,\n{indent})\n")
        else:
            pieces.append(_HEADS[kind].format(indent, draw(st.sampled_from("fgh"))))
            pieces.append(draw(st.sampled_from(_DOCSTRINGS)).format(indent))
            pieces.append(draw(_program(indent + "    ", depth + 1)))
            pieces.append(f"{indent}    pass\n")
    return "".join(pieces)


@given(_program())
def test_the_innermost_function_around_a_line_is_found_as_a_parser_finds_it(text: str) -> None:
    lines = split_lines(text)
    functions = [
        one for one in ast.walk(ast.parse(text)) if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    for function in functions:
        found = function_at(lines, function.lineno - 1)
        assert found is not None
        assert (found.name, found.first, found.end) == (
            function.name,
            function.lineno - 1,
            function.end_lineno,
        )
        assert found.has_docstring == (ast.get_docstring(function) is not None)
        code = function.body[1:] if found.has_docstring else function.body
        assert not "".join(lines[found.code : code[0].lineno - 1]).strip()
    for number, line in enumerate(lines):
        if line.strip() and line.lstrip().startswith(("x =", "pass")):
            around = [one for one in functions if one.lineno <= number + 1 <= (one.end_lineno or 0)]
            innermost = max(around, key=lambda one: one.lineno, default=None)
            found = function_at(lines, number)
            assert (found and found.first) == (innermost and innermost.lineno - 1), number


@given(st.text(alphabet="def ():\n\t\"'#\\[]{}x\r", max_size=80), st.integers(0, 20))
def test_any_text_may_be_asked_about(text: str, line: int) -> None:
    lines = split_lines(text)
    found = function_at(lines, line)
    if found is not None:
        assert 0 <= found.first < found.body <= found.code
        assert found.end <= len(lines)


@pytest.mark.parametrize(
    ("text", "empty"),
    [
        ("def f():\n    pass\n", True),
        ("def f():\n    ...\n", True),
        ('def f():\n    """Doc."""\n', True),
        ('def f():\n    """Doc."""\n    raise NotImplementedError("later")\n', True),
        ("def f():\n    # later\n", True),
        ("def f():\n", True),
        ("def f():\n    return 1\n", False),
        ("def f():\n    x = 1\n    pass\n", False),
        ("def f(): return 1\n", None),
    ],
)
def test_a_function_without_a_body_of_its_own_is_known(text: str, empty: bool | None) -> None:
    found = function_at(split_lines(text), 0)
    assert (found.is_empty if found is not None else None) == empty


def test_a_docstring_whose_lines_stand_at_the_left_is_one() -> None:
    found = function_at(split_lines('def f():\n    """Doc\nat the left\n"""\n    return 1\n'), 0)
    assert found is not None
    assert (found.code, found.end, found.has_docstring, found.is_empty) == (4, 5, True, False)


# -- what the model writes -----------------------------------------------------------------------------------


@given(st.text(max_size=60).filter(lambda text: "\0" not in text), st.sampled_from(["    ", "\t", ""]))
def test_a_docstring_is_one_string_that_says_what_was_said(text: str, inner: str) -> None:
    literal = _literal(text, inner)
    if literal is None:
        return
    (statement,) = ast.parse(literal).body
    assert isinstance(statement, ast.Expr)
    assert isinstance(statement.value, ast.Constant)
    said = "".join(str(statement.value.value).split())
    assert said in "".join(text.split())


@pytest.mark.parametrize("text", ["", '"""', "```", "  \n", "123", "a\\", 'a """ b', "``"])
def test_words_that_can_not_be_a_docstring_are_none(text: str) -> None:
    assert _literal(text, "    ") is None


@pytest.mark.parametrize(
    ("path", "module"),
    [
        ("a.py", "a"),
        ("pkg/a.py", "pkg.a"),
        ("src/pkg/a.py", "pkg.a"),
        ("lib/src/a.py", "a"),
        ("src.py", "src"),
        ("pkg/__init__.py", "pkg"),
    ],
)
def test_a_file_is_imported_by_its_modules_name(server: Any, tmp_path: Path, path: str, module: str) -> None:
    server.session.roots = name_roots([str(tmp_path)])
    assert _module(server, path) == module


def test_every_action_has_a_name_and_a_kind_that_is_announced() -> None:
    from deltaloom_server.handlers.code_action import KINDS

    assert list(actions()) == [action.DO for action in actions().values()]
    for action in actions().values():
        assert f"{action.KIND}.".startswith(tuple(f"{kind}." for kind in KINDS))
