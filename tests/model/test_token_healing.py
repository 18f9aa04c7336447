from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import deltaloom_model
from deltaloom_model.decode import Constraint
from deltaloom_model.token_healing import TokenIndex, split_typed
from deltaloom_model.tokenizer import SegmentTokenizer

NANO = Path(deltaloom_model.__file__).parent / "nano" / "tokenizer.json"
TOKENIZER = SegmentTokenizer.from_file(NANO)
INDEX = TokenIndex(TOKENIZER)
NO_STOPS: frozenset[int] = frozenset()


@pytest.mark.parametrize(
    ("typed", "fed", "held"),
    [
        ("    return self.na", "    return self.", "na"),
        ("x = val", "x =", " val"),
        ("x = ", "x = ", ""),
        ("    ", "    ", ""),
        ("", "", ""),
        ("f(a, ", "f(a, ", ""),
        ("naïve", "", "naïve"),
        ("a" * 100, "a" * 100, ""),
    ],
)
def test_only_a_word_that_is_broken_off_is_held_back(typed: str, fed: str, held: str) -> None:
    assert split_typed(typed) == (fed, held)


@given(st.text("abcdefxyz _éß", min_size=1, max_size=8))
def test_the_agreeing_tokens_are_those_that_may_stand_there(text: str) -> None:
    held = text.encode()
    wanted = [
        token
        for token in range(TOKENIZER.size)
        if (data := TOKENIZER.bytes_of(token)) and (data.startswith(held) or held.startswith(data))
    ]
    assert INDEX.agreeing(held).tolist() == wanted
    assert wanted


@given(st.text("abcdefxyz _éß漢", min_size=1, max_size=6), st.integers(0, 2**31))
def test_whatever_the_model_prefers_the_held_word_stands_there_once(text: str, seed: int) -> None:
    constraint = Constraint(lambda: INDEX, TOKENIZER.detokenizer(), held=text)
    generator = torch.Generator().manual_seed(seed)
    produced, shown = b"", ""
    for _ in range(len(text.encode()) + 4):
        logits = torch.rand(TOKENIZER.size, generator=generator)
        candidates = constraint.candidates(logits, NO_STOPS)
        token = int(logits.argmax() if candidates is None else candidates[logits[candidates].argmax()])
        produced += TOKENIZER.bytes_of(token)
        shown += constraint.push(token)
        if len(produced) >= len(text.encode()):
            break
    assert produced.startswith(text.encode())
    assert (text + shown).encode().startswith(produced.decode("utf-8", "ignore").encode())


def test_an_explicit_request_begins_with_something_visible() -> None:
    stop = TOKENIZER.special_id("<|endoftext|>")
    assert stop is not None
    (newline,) = TOKENIZER.encode("\n")
    (word,) = TOKENIZER.encode("self")
    logits = torch.zeros(TOKENIZER.size)
    logits[stop], logits[newline], logits[word] = 3.0, 2.0, 1.0

    def best(**options: bool) -> int:
        constraint = Constraint(lambda: INDEX, TOKENIZER.detokenizer(), **options)
        candidates = constraint.candidates(logits, frozenset({stop}))
        return int(logits.argmax() if candidates is None else candidates[logits[candidates].argmax()])

    assert best() == stop
    assert best(explicit=True) == newline
    assert best(explicit=True, within_line=True) == word


def test_after_something_visible_an_explicit_request_may_end() -> None:
    constraint = Constraint(lambda: INDEX, TOKENIZER.detokenizer(), explicit=True)
    (word,) = TOKENIZER.encode("self")
    assert constraint.push(int(word)) == "self"
    assert constraint.candidates(torch.zeros(TOKENIZER.size), NO_STOPS) is None
