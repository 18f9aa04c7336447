from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltaloom_model.api import StopRules
from deltaloom_model.stopping import StopChecker, loop_start

MANY = 50


def ended(text: str, rules: StopRules) -> str:
    """What is kept of `text`, produced in one piece by a model that then ends."""
    checker = StopChecker(rules)
    return checker.text if checker.push(text) else checker.finish()


@pytest.mark.parametrize(
    ("text", "rules", "kept"),
    [
        ("a\nb\nc", StopRules(max_lines=1), "a"),
        ("a\nb\nc", StopRules(max_lines=2), "a\nb"),
        ("a\nb", StopRules(max_lines=2), "a\nb"),
        ("\n    a", StopRules(max_lines=1), ""),
        ("a\n    b\nc\n", StopRules(MANY, block_indent=4), "a\n    b"),
        ("a\n\tb\n  c\n", StopRules(MANY, block_indent=4), "a\n\tb"),
        ("a\n\n    b\nc", StopRules(MANY, block_indent=4), "a\n\n    b"),
        ("a\n    b\n}\n", StopRules(MANY, block_indent=0), "a\n    b\n}\n"),
        ("a\nreturn x\nb", StopRules(MANY, next_line="  return x"), "a"),
        ("a\nreturn xy\n", StopRules(MANY, next_line="return x"), "a\nreturn xy\n"),
        ("a\nreturn x", StopRules(MANY, next_line="return x"), "a"),
        ("a\n\nb", StopRules(MANY, blank_lines=1), "a"),
        ("a\n\nb\n \n\nc", StopRules(MANY, blank_lines=2), "a\n\nb"),
        ("\n\n  a\n\nb", StopRules(MANY, blank_lines=1), "\n\n  a"),
        ("a\n  b\nb\nc\n", StopRules(MANY, repeats=1), "a\n  b"),
        ("a\nb\nb\nb\n", StopRules(MANY, repeats=2), "a\nb\nb"),
        ("a\na\n", StopRules(MANY), "a\na\n"),
    ],
)
def test_each_rule_ends_the_text_before_what_it_forbids(text: str, rules: StopRules, kept: str) -> None:
    assert ended(text, rules) == kept


def test_a_line_less_indented_ends_the_answer_at_its_first_character() -> None:
    checker = StopChecker(StopRules(MANY, block_indent=4))
    assert not checker.push("x\n    y\n")
    assert checker.push("d")
    assert checker.text == "x\n    y"


def test_the_next_line_is_recognized_only_when_it_is_complete() -> None:
    checker = StopChecker(StopRules(MANY, next_line="return"))
    assert not checker.push("x\nreturn")
    assert not checker.push(" y\n")
    assert checker.finish() == "x\nreturn y\n"


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("shakekekekekekekeke", 3),
        (": tuple[Optional, " + "tuple[Optional, " * 3, 2),
        ("# ----------------------------", None),
        ("0000000000000000", None),
        ("a, b, c, d, e, f, g", None),
        ("x = x = x = x = ", 0),
        ("ababab", None),
        ("", None),
    ],
)
def test_text_that_goes_round_in_a_circle_is_found(text: str, start: int | None) -> None:
    assert loop_start(text) == start


def test_a_circle_ends_the_answer_before_it() -> None:
    checker = StopChecker(StopRules())
    assert not checker.push("shop = S")
    assert checker.push("ake, ake, ake, ake, ")
    assert checker.text == "shop = S"


LINES = st.lists(st.sampled_from(["", " ", "a", "  a", "    b", "\tb", "return x"]), max_size=12)
RULES = st.builds(
    StopRules,
    max_lines=st.integers(1, 12),
    block_indent=st.none() | st.integers(0, 5),
    next_line=st.sampled_from(["", "a", "return x"]),
    blank_lines=st.integers(0, 3),
    repeats=st.integers(0, 2),
)


@given(LINES.map("\n".join), RULES, st.integers(1, 7))
def test_pieces_end_where_the_whole_text_ends(text: str, rules: StopRules, size: int) -> None:
    checker = StopChecker(rules)
    for start in range(0, len(text), size):
        if checker.push(text[start : start + size]):
            break
    else:
        checker.finish()
    assert text.startswith(checker.text)
    assert checker.text == ended(text, rules)


@given(LINES.map("\n".join), RULES)
def test_what_is_kept_obeys_the_rules_itself(text: str, rules: StopRules) -> None:
    kept = ended(text, rules)
    assert kept.count("\n") < rules.max_lines or kept.endswith("\n")
    assert ended(kept, rules) == kept
