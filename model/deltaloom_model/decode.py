"""Producing new tokens from a state that is thrown away afterwards.

Invariant (pure): decoding writes to a span of its own and to a working state; nothing it produces can be
reached from a checkpoint or a context.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deltaloom_model.api import FinishReason, GenerateUpdate, StopRules
from deltaloom_model.hybrid_cache import HybridState
from deltaloom_model.prefill import Reader
from deltaloom_model.sampling import choose
from deltaloom_model.stopping import StopChecker
from deltaloom_model.token_healing import TokenIndex
from deltaloom_model.token_sequence import TokenIds
from deltaloom_model.tokenizer import Detokenizer

_LOOKED_AT = 64
"""Candidates among which something visible is looked for."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What was produced. `logprobs` are natural, one per new token."""

    text: str
    finish: FinishReason
    logprobs: list[float]


class Constraint:
    """Which tokens may come next: those that go on with `held`, and where an answer was asked for
    explicitly, something visible before the end."""

    def __init__(
        self,
        index: Callable[[], TokenIndex],
        detokenizer: Detokenizer,
        *,
        held: str = "",
        explicit: bool = False,
        within_line: bool = False,
    ) -> None:
        self._index, self._detokenizer = index, detokenizer
        self._held = held.encode("utf-8", "replace")
        self._skip = len(held)
        self._explicit, self._within_line = explicit, within_line

    def candidates(self, logits: Tensor, stop_ids: frozenset[int]) -> Tensor | None:
        """Ids to choose among, int64 ascending; None for all."""
        if self._held:
            return self._index().agreeing(self._held)
        if not self._explicit:
            return None
        best = logits.topk(min(_LOOKED_AT, len(logits))).indices.tolist()
        visible = [token for token in best if token not in stop_ids and self._begins_visibly(token)]
        return torch.tensor(sorted(visible), dtype=torch.int64) if visible else None

    def push(self, token: int) -> str:
        """The text that `token` adds to the answer: what was held stands in the document already."""
        self._held = self._held[len(self._detokenizer.bytes_of(token)) :]
        piece = self._detokenizer.push(token)
        dropped = min(self._skip, len(piece))
        self._skip -= dropped
        if piece[dropped:].strip():
            self._explicit = False
        return piece[dropped:]

    def _begins_visibly(self, token: int) -> bool:
        text = self._detokenizer.bytes_of(token).decode("utf-8", "replace")
        return bool(text.partition("\n")[0].strip() if self._within_line else text)


def decode(
    reader: Reader,
    state: HybridState,
    logits: Tensor,
    *,
    constraint: Constraint,
    stop_ids: frozenset[int],
    rules: StopRules,
    max_new_tokens: int,
    temperature: float = 0.0,
    seed: int = 0,
    tally: dict[str, int] | None = None,
) -> Generator[GenerateUpdate | None, None, Decoded]:
    """Yield after every new token, with the text it completed. `logits` [vocabulary] are for the first one.

    `tally` counts what is read, by cause. Ends at a stop token, a stop rule, or `max_new_tokens`. An answer
    that ends within a character loses it.
    """
    generator = torch.Generator().manual_seed(seed) if temperature > 0.0 else None
    checker = StopChecker(rules)
    logprobs: list[float] = []
    while len(logprobs) < max_new_tokens:
        candidates = constraint.candidates(logits, stop_ids)
        token, logprob = choose(logits, temperature, generator, candidates)
        if token in stop_ids:
            return Decoded(checker.finish(), "stop", logprobs)
        logprobs.append(logprob)
        piece = constraint.push(token)
        if checker.push(piece):
            return Decoded(checker.text, "stop", logprobs)
        yield GenerateUpdate(piece) if piece else None
        if len(logprobs) < max_new_tokens:
            ids: TokenIds = np.array([token], dtype=np.int32)
            logits = reader.logits(reader.read(state, ids, "decode", tally))
    return Decoded(checker.text, "length", logprobs)
