"""The same sentence is shown once, until the trouble has passed."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltaloom_server.notices import Notices


def _recorded() -> tuple[Notices, list[tuple[str, str]]]:
    shown: list[tuple[str, str]] = []
    return Notices(lambda weight, sentence: shown.append((weight, sentence))), shown


def test_a_sentence_is_shown_once_whatever_its_weight() -> None:
    notices, shown = _recorded()
    notices.tell("The disk is full.")
    notices.tell("The disk is full.", "error")
    notices.tell("The model is gone.", "error")
    assert shown == [("warning", "The disk is full."), ("error", "The model is gone.")]


def test_a_forgotten_sentence_is_shown_again() -> None:
    notices, shown = _recorded()
    for _ in range(2):
        notices.tell("The disk is full.")
        notices.forget("The disk is full.")
    assert len(shown) == 2


def test_forgetting_what_was_never_told_is_no_matter() -> None:
    notices, _ = _recorded()
    notices.forget("")
    assert notices.told == ()


def test_what_is_told_stands_in_the_order_in_which_it_was() -> None:
    notices, _ = _recorded()
    for sentence in ("a", "b", "a", "c"):
        notices.tell(sentence)
    notices.forget("b")
    assert notices.told == ("a", "c")


@pytest.mark.parametrize(("weight", "level"), [("error", "ERROR"), ("warning", "WARNING"), ("info", "INFO")])
def test_each_is_logged_at_its_weight(weight: str, level: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "deltaloom")
    notices, _ = _recorded()
    notices.tell("100% of it.", weight)  # type: ignore[arg-type]
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [(level, "100% of it.")]


def test_memory_is_bounded_and_the_oldest_is_forgotten_first() -> None:
    notices, shown = _recorded()
    for number in range(1000):
        notices.tell(f"{number}")
    assert len(notices.told) < 1000
    assert notices.told[-1] == "999"
    notices.tell("999")
    notices.tell("0")
    assert [sentence for _, sentence in shown[-2:]] == ["999", "0"]


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abc"))))
def test_shown_and_not_forgotten_is_never_shown_again(steps: list[tuple[bool, str]]) -> None:
    notices, shown = _recorded()
    expected: list[str] = []
    holds: set[str] = set()
    for telling, sentence in steps:
        if not telling:
            notices.forget(sentence)
            holds.discard(sentence)
            continue
        notices.tell(sentence)
        if sentence not in holds:
            expected.append(sentence)
        holds.add(sentence)
    assert [sentence for _, sentence in shown] == expected
    assert set(notices.told) == holds
