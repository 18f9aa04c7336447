"""Producing new tokens from a state that is thrown away afterwards.

Invariant (pure): decoding writes to a span of its own and to a working state; nothing it produces can be
reached from a checkpoint or a context.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deltaloom_model.api import FinishReason, GenerateUpdate, StopRules
from deltaloom_model.hybrid_cache import HybridState
from deltaloom_model.prefill import Reader
from deltaloom_model.sampling import choose
from deltaloom_model.stopping import StopChecker
from deltaloom_model.token_sequence import TokenIds
from deltaloom_model.tokenizer import Detokenizer


@dataclass(frozen=True, slots=True)
class Decoded:
    """What was produced. `logprobs` are natural, one per new token."""

    text: str
    finish: FinishReason
    logprobs: list[float]


def decode(
    reader: Reader,
    state: HybridState,
    logits: Tensor,
    *,
    detokenizer: Detokenizer,
    stop_ids: frozenset[int],
    rules: StopRules,
    max_new_tokens: int,
    temperature: float = 0.0,
    seed: int = 0,
) -> Generator[GenerateUpdate | None, None, Decoded]:
    """Yield after every new token, with the text it completed. `logits` [vocabulary] are for the first one.

    Ends at a stop token, a stop rule, or `max_new_tokens`. An answer that ends within a character loses it.
    """
    generator = torch.Generator().manual_seed(seed) if temperature > 0.0 else None
    checker = StopChecker(rules)
    logprobs: list[float] = []
    while len(logprobs) < max_new_tokens:
        token, logprob = choose(logits, temperature, generator)
        if token in stop_ids:
            return Decoded(checker.finish(), "stop", logprobs)
        logprobs.append(logprob)
        piece = detokenizer.push(token)
        if checker.push(piece):
            return Decoded(checker.text, "stop", logprobs)
        yield GenerateUpdate(piece) if piece else None
        if len(logprobs) < max_new_tokens:
            ids: TokenIds = np.array([token], dtype=np.int32)
            logits = reader.logits(reader.read(state, ids, "decode"))
    return Decoded(checker.text, "length", logprobs)
