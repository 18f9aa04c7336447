"""Decoding, on a reader whose every next token is written down."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from deltaloom_model.api import Cause, GenerateUpdate, StopRules
from deltaloom_model.decode import Constraint, Decoded, decode
from deltaloom_model.token_healing import TokenIndex
from deltaloom_model.token_sequence import TokenIds
from deltaloom_model.tokenizer import SegmentTokenizer

LINES = StopRules(max_lines=50)


class ScriptedReader:
    """After each token read, `script`'s next one is by far the likeliest; `others` come next, in order."""

    def __init__(self, script: list[int], vocabulary: int, others: list[int] | None = None) -> None:
        self.script, self.vocabulary, self.others = list(script), vocabulary, others or []
        self.entered: list[tuple[int, Cause]] = []

    def read(
        self, _state: object, ids: TokenIds, cause: Cause, tally: dict[str, int] | None = None
    ) -> Tensor:
        self.entered += [(token, cause) for token in ids.tolist()]
        return torch.zeros(1)

    def logits(self, _hidden: Tensor | None = None) -> Tensor:
        logits = torch.zeros(self.vocabulary)
        for rank, token in enumerate(self.others):
            logits[token] = 20.0 - rank
        logits[self.script.pop(0)] = 30.0
        return logits


class Scene:
    """One decode of a script: its result, its updates, and what was read for it."""

    def __init__(self, tokenizer: SegmentTokenizer) -> None:
        self.tokenizer = tokenizer
        end = tokenizer.special_id("<|endoftext|>")
        assert end is not None
        self.end = end
        self.updates: list[str] = []
        self.entered: list[tuple[int, Cause]] = []

    def tokens(self, text: str) -> list[int]:
        return [int(token) for token in self.tokenizer.encode(text)]

    def byte_tokens(self, data: bytes) -> list[int]:
        """One token a byte: how a byte-level vocabulary writes a character it has no token for."""
        single = {self.tokenizer.bytes_of(t): t for t in range(self.tokenizer.size - 1, -1, -1)}
        return [single[bytes([byte])] for byte in data]

    def play(
        self,
        script: list[int],
        rules: StopRules = LINES,
        most: int = 64,
        steps: int | None = None,
        others: list[int] | None = None,
        sampled: dict[str, Any] | None = None,
        **constraint: Any,
    ) -> Decoded | None:
        reader: Any = ScriptedReader(script, self.tokenizer.size, others)
        self.entered, self.updates = reader.entered, []
        stepping = decode(
            reader, None, reader.logits(),  # type: ignore[arg-type]
            constraint=Constraint(
                lambda: TokenIndex(self.tokenizer), self.tokenizer.detokenizer(), **constraint
            ),
            stop_ids=frozenset({self.end}), rules=rules, max_new_tokens=most, **sampled or {},
        )  # fmt: skip
        while steps is None or steps > 0:
            try:
                update = next(stepping)
            except StopIteration as stop:
                decoded: Decoded = stop.value
                return decoded
            if update is not None:
                assert isinstance(update, GenerateUpdate)
                self.updates.append(update.text)
            steps = None if steps is None else steps - 1
        stepping.close()
        return None


@pytest.fixture
def scene(tokenizer: SegmentTokenizer) -> Scene:
    return Scene(tokenizer)


def test_tokens_are_produced_until_the_model_ends(scene: Scene) -> None:
    tokens = scene.tokens("value = first(\n    second)\n")
    decoded = scene.play([*tokens, scene.end])
    assert decoded is not None
    assert (decoded.text, decoded.finish) == ("value = first(\n    second)\n", "stop")
    assert "".join(scene.updates) == decoded.text
    assert scene.entered == [(token, "decode") for token in tokens]
    assert len(decoded.logprobs) == len(tokens)
    assert all(-0.01 < logprob <= 0.0 for logprob in decoded.logprobs)


def test_at_the_length_limit_the_last_token_is_not_read(scene: Scene) -> None:
    tokens = scene.tokens("value = first(second, third)")
    decoded = scene.play(tokens, most=len(tokens) - 1)
    assert decoded is not None
    assert decoded.finish == "length"
    assert len(decoded.logprobs) == len(tokens) - 1
    assert [token for token, _ in scene.entered] == tokens[:-2]


def test_no_new_tokens_asked_for_none_made(scene: Scene) -> None:
    assert scene.play(scene.tokens("x"), most=0) == Decoded("", "length", [])
    assert scene.entered == []


def test_ending_at_once_is_an_empty_answer(scene: Scene) -> None:
    assert scene.play([scene.end]) == Decoded("", "stop", [])


def test_a_stop_rule_ends_it_without_reading_on(scene: Scene) -> None:
    first, rest = scene.tokens("first()\n"), scene.tokens("second()\n")
    decoded = scene.play([*first, *rest, scene.end], StopRules(max_lines=1))
    assert decoded is not None
    assert (decoded.text, decoded.finish) == ("first()", "stop")
    assert [token for token, _ in scene.entered] == first[:-1]


@pytest.mark.parametrize("character", ["é", "汉", "🧵"])
@pytest.mark.parametrize("finish", ["stop", "length"])
def test_an_answer_that_ends_within_a_character_loses_just_that(
    scene: Scene, character: str, finish: str
) -> None:
    data = character.encode()
    for cut in range(1, len(data)):
        script = [*scene.tokens("x = '"), *scene.byte_tokens(data), *scene.byte_tokens(data[:cut])]
        decoded = scene.play([*script, scene.end], most=len(script) + (finish == "stop"))
        assert decoded is not None
        assert (decoded.text, decoded.finish) == (f"x = '{character}", finish)
        assert "".join(scene.updates) == decoded.text
        assert all("\ufffd" not in update for update in scene.updates)


def test_closed_at_any_step_nothing_more_is_read(scene: Scene) -> None:
    tokens = scene.tokens("value = first(second)")
    for steps in range(1, len(tokens)):
        assert scene.play([*tokens, scene.end], steps=steps) is None
        assert len(scene.entered) == steps - 1


def test_a_held_word_is_produced_again_and_not_answered_twice(scene: Scene) -> None:
    decoded = scene.play([*scene.tokens(" return value\n"), scene.end], held=" ret")
    assert decoded is not None
    assert decoded.text == "urn value\n"
    assert "".join(scene.updates) == "urn value\n"
    assert [token for token, _ in scene.entered] == scene.tokens(" return value\n")


@pytest.mark.parametrize("held", ["x", " valu", "größ", " 汉", "snake_case_nam"])
def test_what_is_produced_begins_with_what_is_held_whatever_the_model_prefers(
    scene: Scene, held: str
) -> None:
    decoded = scene.play(scene.tokens("(") * 40, most=30, held=held)
    assert decoded is not None
    read = b"".join(scene.tokenizer.bytes_of(token) for token, _ in scene.entered).decode()
    assert read.startswith(held)
    assert read.endswith("((("), "and then nothing is forced"
    assert decoded.text == read[len(held) :] + "(", "all but the last token was read"


def test_an_explicit_request_is_not_answered_with_nothing(scene: Scene) -> None:
    newline, word = scene.tokens("\n")[0], scene.tokens("word")
    tail = [*word[1:], scene.end]
    silent = [scene.end, *tail]
    assert scene.play(silent, others=[newline, word[0]]) == Decoded("", "stop", [])
    for within_line in (True, False):
        decoded = scene.play(silent, others=[newline, word[0]], explicit=True, within_line=within_line)
        assert decoded is not None
        assert bool(decoded.text.strip()) or not within_line
        assert decoded.text


def test_temperature_with_a_seed_is_reproducible(scene: Scene) -> None:
    choices = scene.tokens("a b c d e f g h")

    def sampled(seed: int) -> str:
        decoded = scene.play(
            [choices[0]] * 30, most=30, others=choices[1:], sampled={"temperature": 20.0, "seed": seed}
        )
        assert decoded is not None
        return decoded.text

    assert sampled(1) == sampled(1)
    assert len({sampled(seed) for seed in range(4)}) == 4
