"""What is shown of the model's text, and what of the cursor's line it replaces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltaloom_server.completion.trigger import CLOSERS, CursorLine
from deltaloom_server.completion.trim import Trimmed, trim

_CODE = st.text(alphabet="ab_ .=+()[]{}\"'`;:,>\n", max_size=24)
_LINE = st.text(alphabet="ab_ .=+()[]{}\"'`;:,>", max_size=12)
_PLAIN = st.text(alphabet="ab_ .=+", max_size=12)


def _placed(typed: str, text: str, rest: str) -> str:
    """The cursor's line with the suggestion in place."""
    trimmed = trim(text, CursorLine(typed, rest), [])
    return typed + trimmed.text + rest[trimmed.replaces :]


def test_white_space_at_the_end_is_cut_off() -> None:
    assert trim("value  \n\n", CursorLine("x = ", ""), []) == Trimmed("value")


@pytest.mark.parametrize("text", ["", "  ", "\n\n", " \t\n"])
def test_nothing_but_white_space_suggests_nothing(text: str) -> None:
    assert trim(text, CursorLine("x = ", ")"), []) == Trimmed("")


@pytest.mark.parametrize(
    ("typed", "text", "rest", "placed"),
    [
        ("print(", "name)", ")", "print(name)"),
        ('print("', 'hello")', '")', 'print("hello")'),
        ("f(", "x)", ");", "f(x);"),
        ("f(", "x)", " )", "f(x )"),
        ("f(g(", "x)", "))", "f(g(x))"),
        ("x = ", "first + second", "second", "x = first + second"),
        ("if ", "ready:", ":", "if ready:"),
    ],
)
def test_what_stands_after_the_cursor_is_not_written_again(
    typed: str, text: str, rest: str, placed: str
) -> None:
    assert _placed(typed, text, rest) == placed
    assert trim(text, CursorLine(typed, rest), []).replaces == 0


def test_text_that_only_repeats_the_rest_suggests_nothing() -> None:
    assert trim(")", CursorLine("print(name", ")"), []) == Trimmed("")


@pytest.mark.parametrize(
    ("typed", "text", "rest", "placed"),
    [
        ("print(", "len(x)", ")", "print(len(x))"),
        ("print(", 'd.get("a")', ")", 'print(d.get("a"))'),
        ("    ", "f(x)", ")", "    f(x))"),
        ("f(g(", "h(x))", "))", "f(g(h(x)))"),
        ("f(", "a), g(b", ")", "f(a), g(b)"),
    ],
)
def test_brackets_that_the_text_opens_do_not_use_up_those_after_the_cursor(
    typed: str, text: str, rest: str, placed: str
) -> None:
    assert _placed(typed, text, rest) == placed


@pytest.mark.parametrize(
    ("typed", "text", "rest"),
    [("a=", "f(x, y)", ","), ("for x in ", "d[1:2]", ":"), ('x = "', 'a" + "b', '"')],
)
def test_separators_and_quotes_within_the_text_leave_those_after_the_cursor(
    typed: str, text: str, rest: str
) -> None:
    assert _placed(typed, text, rest) == typed + text + rest


@pytest.mark.parametrize(
    ("typed", "text", "rest", "replaces"),
    [("if f(", "x):", ")", 1), ("f(", "a), b", " )", 2), ('f("', 'a") + 1', '")', 2)],
)
def test_closing_characters_the_text_brings_in_its_middle_are_replaced(
    typed: str, text: str, rest: str, replaces: int
) -> None:
    assert trim(text, CursorLine(typed, rest), []) == Trimmed(text, replaces)


def test_code_after_the_cursor_is_never_replaced() -> None:
    assert trim("a) + b", CursorLine("f(", ") * c"), []) == Trimmed("a) + b")


def test_lines_the_document_goes_on_with_are_dropped() -> None:
    below = ["", "    return total", "", "def after():"]
    text = "\n    total += 1\n    return total"
    assert trim(text, CursorLine("    total = 0", ""), below) == Trimmed("\n    total += 1")


def test_lines_of_punctuation_alone_are_no_repetition() -> None:
    assert trim(" {\n  a();\n}", CursorLine("if (x)", ""), ["}"]) == Trimmed(" {\n  a();\n}")


def test_what_continues_the_cursors_line_is_not_taken_for_a_line_below() -> None:
    assert trim("a\n\nb", CursorLine("x = ", ""), ["a", "b"]) == Trimmed("a\n\nb")


def test_a_block_ends_with_the_line_that_closes_its_brace() -> None:
    text = "\n  if (a) {\n  } else {\n  }\n}\nnext();"
    assert trim(text, CursorLine("f() {", ""), []) == Trimmed("\n  if (a) {\n  } else {\n  }\n}")


@given(typed=_PLAIN, kept=_PLAIN, rest=st.text(alphabet="ab_)]}\"'`;:,>", min_size=1, max_size=6))
def test_text_that_ends_with_the_rest_never_duplicates_it(typed: str, kept: str, rest: str) -> None:
    expected = typed + kept + rest if kept.strip() else typed + rest
    assert _placed(typed, kept + rest, rest) == expected


@given(typed=_LINE, text=_CODE, rest=_LINE)
def test_only_closing_characters_are_replaced_and_the_text_brings_each(
    typed: str, text: str, rest: str
) -> None:
    trimmed = trim(text, CursorLine(typed, rest), [])
    assert 0 <= trimmed.replaces <= len(rest)
    covered = rest[: trimmed.replaces].replace(" ", "")
    assert set(covered) <= CLOSERS
    assert all(trimmed.text.count(letter) >= covered.count(letter) for letter in covered)


@given(typed=_LINE, text=_CODE, rest=_LINE, below=st.lists(_LINE, max_size=4))
def test_a_suggestion_is_a_beginning_of_the_models_text(
    typed: str, text: str, rest: str, below: list[str]
) -> None:
    trimmed = trim(text, CursorLine(typed, rest), below)
    assert text.startswith(trimmed.text)
    assert not trimmed.text or trimmed.text.strip()
