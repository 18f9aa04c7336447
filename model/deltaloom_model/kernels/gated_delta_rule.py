"""The gated delta rule: a recurrent state read and corrected once per token.

    S_t = exp(g_t) S_{t-1} + k_t (beta_t (v_t - (exp(g_t) S_{t-1})^T k_t))^T,      o_t = S_t^T q_t

Invariant: any split of a sequence into calls gives the same outputs and final state, up to rounding.

Source: Yang, Kautz, Hatamizadeh, "Gated Delta Networks" (arXiv 2412.06464), section 3.3 for the chunkwise
form: inside a chunk the corrections are the solution of one unit lower triangular system.

Shapes: B batch, T tokens, K key heads, G value heads per key head (value head = k * G + g), d key width,
e value width. The state is [B, K, G, d, e] and at least fp32.
"""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 64
"""Tokens solved together; also the grid that prefill cuts at, so that warm and cold runs chunk alike."""


def l2_normalize(x: Tensor, eps: float = 1e-6) -> Tensor:
    """`x / sqrt(sum(x^2) + eps)` over the last dimension (the form the models were trained with)."""
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + eps)


def gated_delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    state: Tensor | None,
    passed: list[Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Run the rule over T tokens.

    q, k: [B, T, K, d], already normalized, q scaled. v: [B, T, K, G, e]. g (log decay, <= 0) and beta:
    [B, T, K, G]. state: [B, K, G, d, e] or None for zeros. All in one dtype, fp32 or fp64.
    Returns outputs [B, T, K, G, e] and the state after the last token; `state` itself is not written.
    `passed`, where given, gets the states after 64, 128, ... tokens, one for each whole chunk: they are
    there anyway, so a checkpoint inside a pass costs a copy.
    """
    batch, tokens, key_heads, width = k.shape
    groups, value_width = v.shape[-2:]
    if state is None:
        state = v.new_zeros(batch, key_heads, groups, width, value_width)
    if tokens == 1:
        return _one_token(q, k, v, g, beta, state)
    # Heads before time, so that every product below is one batched matrix product.
    q, k = q.transpose(1, 2), k.transpose(1, 2)
    v = v.permute(0, 2, 3, 1, 4)
    g, beta = g.permute(0, 2, 3, 1), beta.permute(0, 2, 3, 1)
    whole = tokens - tokens % CHUNK
    pieces = []
    for start, stop, size in ((0, whole, CHUNK), (whole, tokens, tokens - whole)):
        if stop > start:
            at = slice(start, stop)
            out, state = _chunks(
                q[:, :, at], k[:, :, at], v[:, :, :, at], g[..., at], beta[..., at], state, size,
                passed if size == CHUNK else None,
            )  # fmt: skip
            pieces.append(out)
    out = pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=3)
    return out.permute(0, 3, 1, 2, 4), state


def _one_token(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """The rule as it is written, for T = 1 (decode)."""
    q, k, v, g, beta = q[:, 0, :, None, None], k[:, 0, :, None, None], v[:, 0], g[:, 0], beta[:, 0]
    state = state * g.exp()[..., None, None]
    correction = (v - (k @ state).squeeze(-2)) * beta.unsqueeze(-1)
    state = state + k.transpose(-1, -2) * correction.unsqueeze(-2)
    return (q @ state).squeeze(-2).unsqueeze(1), state


def _chunks(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    state: Tensor,
    size: int,
    passed: list[Tensor] | None,
) -> tuple[Tensor, Tensor]:
    """Chunkwise form over T = n * size tokens: q, k [B, K, T, d]; v [B, K, G, T, e]; g, beta [B, K, G, T]."""
    q, k = (x.unflatten(2, (-1, size)).unsqueeze(2) for x in (q, k))  # [B, K, 1, n, C, d]
    v = v.unflatten(3, (-1, size))  # [B, K, G, n, C, e]
    decay = g.unflatten(3, (-1, size)).cumsum(-1)  # log of the decay from the chunk's start to each token
    beta = beta.unflatten(3, (-1, size)).unsqueeze(-1)
    causal = torch.ones(size, size, dtype=torch.bool, device=k.device).tril()
    pairwise = (decay.unsqueeze(-1) - decay.unsqueeze(-2)).masked_fill(~causal, -torch.inf).exp()
    from_start = decay.exp().unsqueeze(-1)
    k_t = k.transpose(-1, -2)

    # (I + strictly lower part of beta K K^T * decay) X = [beta V | beta K decayed]: the corrections each
    # token would make from a zero state, and how much of the incoming state each of them takes back.
    system = (k @ k_t) * pairwise * beta
    sides = torch.cat((v * beta, (k * from_start) * beta), dim=-1)
    solved = torch.linalg.solve_triangular(system, sides, upper=False, unitriangular=True)
    values, taken_back = solved.split((v.shape[-1], k.shape[-1]), dim=-1)

    within = (q @ k_t) * pairwise
    q_decayed = q * from_start
    k_to_end = (k * (decay[..., -1:] - decay).exp().unsqueeze(-1)).transpose(-1, -2)
    whole_decay = decay[..., -1].exp()[..., None, None]
    # unbind, not indexing: its backward stacks once instead of adding one full-size tensor a chunk.
    parts = (values, taken_back, q_decayed, within, whole_decay, k_to_end)
    outputs = []
    for value, back, query, scores, decay_all, key_t in zip(*(x.unbind(3) for x in parts), strict=True):
        corrections = value - back @ state
        outputs.append(query @ state + scores @ corrections)
        state = state * decay_all + key_t @ corrections
        if passed is not None:
            passed.append(state)
    return torch.cat(outputs, dim=3), state
