"""After edits in a context of more than 262,144 tokens, only the edits are read, and nothing is lost by it.

Invariant: kept state, logits and answers equal those of a cold read of the same tokens, within fp32 rounding
(`_NOISE`, relative to the largest entry of a tensor); what a broken restore does to them is `_PLANTED` and
more, twenty times that.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor

from deltaloom_model.api import GenerateRequest, ModelSpec, Segment, StopRules, SyncRequest, text_digest
from deltaloom_model.engine import HybridEngine, build_engine
from deltaloom_model.hybrid_cache import HybridState, SavedState
from deltaloom_model.hybrid_model import HybridModel
from deltaloom_model.loading.build import load_model
from deltaloom_model.prompts import PromptFormat
from deltaloom_model.stopping import StopChecker
from deltaloom_model.token_sequence import TokenIds

if TYPE_CHECKING:
    from conftest import Session, Step

FULL_LENGTH = 262_144
MAX_TOKENS = 360_000
NEW_TOKENS = 12
PREFIX_TOKENS, SUFFIX_TOKENS = 2048, 256

_COLD_STRIDE = 10_007  # on nobody's grid
_NOISE, _PLANTED = 1e-5, 2e-4


# --- cold reads -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reading:
    """What is known after all tokens of a step have been read, and what is then chosen greedily."""

    tokens: int
    recurrent: Tensor
    conv: Tensor
    keys: Tensor
    values: Tensor
    logits: Tensor
    text: str = ""
    mean_logprob: float = 0.0


class ColdReader:
    """Reads each step's tokens into an empty state, with no engine, store or restore in between.

    Base tokens are the same at every step and are read once; `early` is the state 64 tokens before their end.
    """

    def __init__(self, spec: ModelSpec, session: Session) -> None:
        self.model, self.tokenizer, _ = load_model(spec)
        self._format = PromptFormat.for_model(
            self.tokenizer, self.model.config.fim_order, self.model.config.eos_token_ids
        )
        self._session = session
        base = self._context(session.steps[0], "base")
        state = self.model.new_state()
        state.reserve(len(base))
        self._read(state, base[:-64])
        self.early = state.save()
        self._read(state, base[-64:])
        self.base_ids, self.base = base, state.save()

    def _context(self, step: Step, region: str) -> TokenIds:
        """The tokens of a region; those of the base begin with the repository's header."""
        parts = [
            self._format.segment(path, self.tokenizer.encode(text))
            for path, at, text in self._session.segments(step)
            if at == region
        ]
        header = [self._format.repository_header(self._session.repository)] if region == "base" else []
        return np.concatenate([*header, *parts, np.empty(0, np.int32)])

    def tokens(self, step: Step) -> TokenIds:
        """All that the model reads before the first new token, from the texts alone."""
        prefix, typed, suffix = step.cursor
        anchor = self._format.anchor(
            step.path, prefix, suffix, prefix_tokens=PREFIX_TOKENS, suffix_tokens=SUFFIX_TOKENS
        )
        parts = (self._context(step, "base"), self._context(step, "log"), anchor.ids)
        return np.concatenate((*parts, self._format.typed(typed)))

    @torch.inference_mode()
    def read(self, step: Step, begin: SavedState | None = None) -> Reading:
        """Read a step's tokens; `begin` stands in for the state after the base (for planted bugs)."""
        ids = self.tokens(step)
        assert np.array_equal(ids[: len(self.base_ids)], self.base_ids), "the base doesn't change"
        state = self.model.new_state()
        state.restore(begin or self.base)
        rest = ids[len(self.base_ids) :]
        state.fork_tail(len(rest) + NEW_TOKENS)
        logits = self.model.logits(self._read(state, rest))
        found = snapshot(state, logits)
        text, logprob = self._answer(state, logits)
        return Reading(**{**vars(found), "text": text, "mean_logprob": logprob})

    @torch.inference_mode()
    def _read(self, state: HybridState, ids: TokenIds) -> Tensor:
        for start in range(0, len(ids), _COLD_STRIDE):
            piece = torch.from_numpy(ids[start : start + _COLD_STRIDE].astype(np.int64))
            hidden = self.model(piece.unsqueeze(0), state)
        last: Tensor = hidden[0, -1]
        return last

    def _answer(self, state: HybridState, logits: Tensor) -> tuple[str, float]:
        """The most probable tokens within the line, as text, and their mean log-probability."""
        checker, produced = StopChecker(StopRules(max_lines=1)), self.tokenizer.detokenizer()
        logprobs: list[float] = []
        while len(logprobs) < NEW_TOKENS:
            token = int(logits.argmax())
            if token in self._format.stop_ids:
                break
            logprobs.append(float(logits.log_softmax(-1)[token]))
            if checker.push(produced.push(token)):
                break
            logits = self.model.logits(self._read(state, np.array([token], np.int32)))
        return checker.text, sum(logprobs) / max(1, len(logprobs))


def snapshot(state: HybridState, logits: Tensor) -> Reading:
    """A copy of all that a state holds."""
    keys, values = (torch.cat(spans, 1) for spans in zip(*state.earlier(0), strict=True))
    return Reading(state.position, state.recurrent.clone(), state.conv.clone(), keys, values, logits)


def difference(found: Tensor, expected: Tensor) -> float:
    """The largest difference of two entries, relative to the largest entry."""
    assert found.shape == expected.shape
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.fixture(scope="module")
def spec(model_folder: Path) -> ModelSpec:
    return ModelSpec(str(model_folder), device="cpu", dtype="float32", threads=1, max_tokens=MAX_TOKENS)


@pytest.fixture(scope="module")
def cold(spec: ModelSpec, session: Session) -> Iterator[ColdReader]:
    threads = torch.get_num_threads()
    torch.set_num_threads(spec.threads)
    yield ColdReader(spec, session)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def readings(cold: ColdReader, session: Session) -> dict[str, Reading]:
    return {step.name: cold.read(step) for step in session.steps}


# --- the session over LSP -------------------------------------------------------------------------------


def test_the_whole_length_is_indexed_and_each_token_is_read_once(session: Session) -> None:
    context = session.indexed.context
    assert context.state == "ready"
    assert context.total == context.done >= FULL_LENGTH
    assert sum(session.indexed.counters.values()) == context.total
    assert [step.name.split(": ")[1] for step in session.steps] == ["opened", "edited", "typed"] * 3


def test_each_step_reads_the_open_file_and_what_was_left_changed_and_nothing_of_the_base(
    session: Session,
) -> None:
    logged: list[Any] = []
    for step in session.steps:
        assert step.completion.source in ("model", "none")  # none where a random answer goes round in circles
        assert step.completion.repository_context
        assert step.entered["base"] == step.entered["compaction"] == 0, step
        log = [file for file in step.files if file.region == "log"]
        left = sum(file.tokens for file in log[len(logged) :])
        logged = log
        tokens = next(file.tokens for file in step.files if file.path == step.path)
        most = {
            "opened": left + min(tokens, PREFIX_TOKENS + SUFFIX_TOKENS) + 64,
            "edited": SUFFIX_TOKENS + 64,
            "typed": 64,
        }
        assert 0 < step.read <= most[step.name.split(": ")[1]], step.name
        assert step.entered["decode"] <= NEW_TOKENS


def test_answers_over_lsp_are_those_of_a_cold_read(session: Session, readings: dict[str, Reading]) -> None:
    for step in session.steps:
        expected = readings[step.name]
        assert step.completion.context_tokens == expected.tokens >= FULL_LENGTH
        assert step.shown == expected.text.rstrip(), step.name
        # The report rounds to three places.
        assert step.completion.mean_logprob == pytest.approx(expected.mean_logprob, abs=1e-3), step.name


def test_the_answers_tell_the_places_apart(session: Session) -> None:
    assert len({step.shown for step in session.steps if step.shown}) > len(session.steps) // 2


# --- one engine in this process -------------------------------------------------------------------------


def _run(steps: Generator[Any, None, Any]) -> Any:
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def _segments(session: Session, step: Step) -> tuple[list[Segment], dict[str, str]]:
    entries = session.segments(step)
    segments = [Segment(path, text_digest(text), kind=region) for path, region, text in entries]  # type: ignore[arg-type]
    return segments, {text_digest(text): text for _, _, text in entries}


def _warm_readings(engine: HybridEngine, session: Session, lengths: Iterable[int]) -> list[Reading]:
    """What the engine's working state is when each step's last known token has been read."""
    model: HybridModel = engine.reader.model
    readings: list[Reading] = []
    awaited = iter(lengths)

    def note(_module: object, inputs: tuple[Any, ...], hidden: Tensor) -> None:
        state = inputs[1]
        if state.position == length:
            readings.append(snapshot(state, model.logits(hidden[0, -1])))

    hook = model.register_forward_hook(note)
    try:
        for revision, step in enumerate(session.steps):
            length = next(awaited)
            segments, texts = _segments(session, step)
            key = ("one", "w", session.repository, revision)
            _run(engine.sync(SyncRequest(*key, segments, texts)))
            _run(engine.generate(GenerateRequest(*key, step.path, *step.cursor, max_new_tokens=1)))
            assert len(readings) == revision + 1, "the last known token was read, once"
    finally:
        hook.remove()
    return readings


def test_the_engines_state_after_each_edit_is_that_of_a_cold_read(
    spec: ModelSpec, session: Session, readings: dict[str, Reading]
) -> None:
    engine = build_engine(spec)
    cold = [readings[step.name] for step in session.steps]
    warm = _warm_readings(engine, session, [reading.tokens for reading in cold])
    for step, found, expected in zip(session.steps, warm, cold, strict=True):
        for name in ("recurrent", "conv", "keys", "values", "logits"):
            by = difference(getattr(found, name), getattr(expected, name))
            assert by <= _NOISE, (step.name, name, by)
    # And not by reading everything again each time.
    assert engine.reader.counters["base"] <= cold[0].tokens


# --- a broken restore would show ------------------------------------------------------------------------


def test_a_dropped_or_misplaced_state_would_show(
    cold: ColdReader, session: Session, readings: dict[str, Reading]
) -> None:
    base, early = cold.base, cold.early
    broken = {
        "state dropped": SavedState(
            base.position, torch.zeros_like(base.recurrent), torch.zeros_like(base.conv), base.views
        ),
        "state of 64 tokens before": SavedState(base.position, early.recurrent, early.conv, base.views),
        "keys and values of 64 tokens before": SavedState(
            early.position, base.recurrent, base.conv, early.views
        ),
    }
    for step in (session.steps[1], session.steps[-1]):
        expected = readings[step.name]
        for name, begin in broken.items():
            found = cold.read(step, begin)
            by = max(
                difference(getattr(found, part), getattr(expected, part)) for part in ("recurrent", "logits")
            )
            assert by > _PLANTED, (step.name, name, by)
