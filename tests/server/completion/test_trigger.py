"""When the model is asked at a cursor, and where its answer has to end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltaloom_model.api import StopRules
from deltaloom_server.completion.trigger import Ask, CursorLine, judge_cursor
from deltaloom_server.settings import CompletionSettings

_SETTINGS = CompletionSettings()


def _asked(line: CursorLine, settings: CompletionSettings = _SETTINGS) -> Ask:
    judged = judge_cursor(line, settings, automatic=False)
    assert isinstance(judged, Ask)
    return judged


@pytest.mark.parametrize("automatic", [True, False])
def test_switched_off_says_which_setting(automatic: bool) -> None:
    judged = judge_cursor(CursorLine("x = ", ""), CompletionSettings(enabled=False), automatic=automatic)
    assert isinstance(judged, str)
    assert "completion.enabled" in judged


@pytest.mark.parametrize("rest", ["me = 1", "_x", "9", "é"])
def test_typing_within_a_word_is_passed_over(rest: str) -> None:
    judged = judge_cursor(CursorLine("na", rest), _SETTINGS, automatic=True)
    assert judged == "The cursor stands within a word."


@pytest.mark.parametrize("rest", [" + y", "(x)", ") * 2"])
def test_typing_before_code_is_passed_over(rest: str) -> None:
    judged = judge_cursor(CursorLine("x", rest), _SETTINGS, automatic=True)
    assert isinstance(judged, str)
    assert "explicitly" in judged


@pytest.mark.parametrize("rest", ["", "  ", ")", '")', " ) ]", "):", "});\r", ">,"])
def test_typing_before_nothing_but_closing_characters_asks(rest: str) -> None:
    assert isinstance(judge_cursor(CursorLine("f(", rest), _SETTINGS, automatic=True), Ask)


@pytest.mark.parametrize("rest", ["me", " + y", ") * 2"])
def test_an_explicit_request_asks_for_one_line_before_code(rest: str) -> None:
    assert _asked(CursorLine("na", rest)).stop == StopRules(max_lines=1)


@pytest.mark.parametrize(
    "typed", ["", "    ", "def f():", "fn f() {", "x =>", "case ->", "while x; do", "else", "  try  "]
)
def test_blank_lines_and_openers_ask_for_several_lines(typed: str) -> None:
    asked = _asked(CursorLine(typed, "  ", "return x"))
    assert asked.max_new_tokens == _SETTINGS.max_new_tokens
    assert asked.stop.max_lines > 1
    assert asked.stop.next_line == "return x"
    assert asked.stop.blank_lines == 1
    assert asked.stop.repeats == 1


@pytest.mark.parametrize("typed", ["x = ", "undo", "return a", "somewhere"])
def test_within_a_statement_one_line_is_asked_for(typed: str) -> None:
    assert _asked(CursorLine(typed, "", "below")).stop == StopRules(max_lines=1)


def test_closing_characters_after_an_opener_keep_it_to_one_line() -> None:
    assert _asked(CursorLine("x = {", "}")).stop == StopRules(max_lines=1)


def test_one_line_is_all_there_is_without_multiline() -> None:
    assert _asked(CursorLine("def f():", ""), CompletionSettings(multiline=False)).stop == StopRules(
        max_lines=1
    )


@pytest.mark.parametrize(
    ("typed", "indent"),
    [
        ("", 0),
        ("    ", 4),
        ("\t", 4),
        ("  \t", 4),
        ("\t  ", 6),
        ("    def f():", 5),
        ("    fn f() {", 4),
        ("\telse", 4),
    ],
)
def test_a_block_ends_where_indentation_falls_below_its_own(typed: str, indent: int) -> None:
    assert _asked(CursorLine(typed, "")).stop.block_indent == indent


@given(most=st.integers(min_value=1, max_value=4096), typed=st.sampled_from(["", "x = ", "f() {"]))
def test_never_more_tokens_than_the_settings_allow(most: int, typed: str) -> None:
    line = CursorLine(typed, "")
    several = _asked(line, CompletionSettings(max_new_tokens=most))
    single = _asked(line, CompletionSettings(max_new_tokens=most, multiline=False))
    assert 1 <= single.max_new_tokens <= several.max_new_tokens <= most


@given(st.text(), st.text(), st.text(), st.booleans(), st.booleans())
def test_any_text_is_judged_and_a_no_has_its_sentence(
    typed: str, rest: str, below: str, automatic: bool, multiline: bool
) -> None:
    line = CursorLine(typed, rest, below)
    judged = judge_cursor(line, CompletionSettings(multiline=multiline), automatic=automatic)
    assert isinstance(judged, Ask) or judged.endswith(".")
    assert automatic or isinstance(judged, Ask)
