"""From logits to a token.

Invariant: temperature 0 is the largest logit, ties to the lowest id, so equal logits give equal tokens.
"""

from __future__ import annotations

from hashlib import blake2b

import torch
from torch import Tensor


def choose(
    logits: Tensor,
    temperature: float,
    generator: torch.Generator | None,
    candidates: Tensor | None = None,
) -> tuple[int, float]:
    """A token of logits [vocabulary] and its natural log-probability (at temperature 1).

    `candidates` (int64 ids, ascending): only one of these, with its probability among them.
    """
    if candidates is not None:
        candidates = candidates.to(logits.device)
        chosen, logprob = choose(logits[candidates], temperature, generator)
        return int(candidates[chosen]), logprob
    if temperature <= 0.0 or generator is None:
        token = int(logits.argmax())
    else:
        # On the CPU, so that one seed gives one answer whatever the device.
        probabilities = torch.softmax(logits.float().cpu() / temperature, -1)
        token = int(torch.multinomial(probabilities, 1, generator=generator))
    return token, float(logits[token] - logits.logsumexp(-1))


def top_tokens(logits: Tensor, count: int) -> list[tuple[int, float]]:
    """The `count` most probable tokens of [vocabulary], with natural log-probabilities, best first."""
    values, tokens = torch.log_softmax(logits.float(), -1).topk(count)
    return list(zip(tokens.tolist(), values.tolist(), strict=True))


def logits_digest(logits: Tensor) -> str:
    """BLAKE2b-128 of the fp32 bytes: equal exactly when the logits are."""
    return blake2b(logits.float().cpu().contiguous().numpy().tobytes(), digest_size=16).hexdigest()
