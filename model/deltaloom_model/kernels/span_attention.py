"""Attention over keys and values that lie in several spans, merged by log-sum-exp.

Invariant: attention over spans A, B, ... equals one attention over their concatenation, up to rounding;
nothing is gathered or copied. Per query, softmax over all keys = sum of the spans' own results weighted by
exp(lse_i - lse_all) (the merge of FlashAttention, arXiv 2205.14135, section 3.1).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_SHORTEST_CUT = 4096
_MOST_QUERIES = 512


def span_attention(q: Tensor, spans: list[tuple[Tensor, Tensor]], k: Tensor, v: Tensor) -> Tensor:
    """Attend from T new tokens to everything held before them, and causally to one another.

    q: [H, T, d]. spans: keys and values [Hk, N_i, d] of earlier tokens (visible to every query).
    k, v: [Hk, T, d] of the T new tokens themselves. H is a multiple of Hk. Returns [H, T, d].
    """
    heads, tokens, width = q.shape
    groups = heads // k.shape[0]
    # Query heads that share a key head stand as further queries: earlier spans need no mask, so grouped
    # attention costs no copy of keys and values.
    folded = q.reshape(k.shape[0], groups * tokens, width)
    parts = [part for key, value in spans if key.shape[1] for part in _over_span(folded, key, value)]
    parts = [(out.reshape(heads, tokens, width), lse.reshape(heads, tokens)) for out, lse in parts]
    if groups > 1:
        k, v = k.repeat_interleave(groups, dim=0), v.repeat_interleave(groups, dim=0)
    parts.append(_attention_with_lse(q, k, v, causal=True))
    return _merge(parts)


def _over_span(q: Tensor, k: Tensor, v: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Every query to every key: [H, T, d] x [H, N, d] -> parts to merge, each ([H, T, d], [H, T]).

    Few queries leave a CPU's other cores idle, as its kernel shares out queries: a long span is cut into as
    many pieces as there are threads, for them to read side by side (as flash-decoding does on a GPU).
    """
    heads, queries, _ = q.shape
    threads, tokens = torch.get_num_threads(), k.shape[1]
    if q.device.type != "cpu" or threads < 2 or tokens < _SHORTEST_CUT or heads * queries >= _MOST_QUERIES:
        return [_attention_with_lse(q, k, v, causal=False)]
    each = tokens // threads
    cut = threads * each
    # [pieces, H, each, d], without a copy
    keys, values = (x[:, :cut].unflatten(1, (threads, each)).transpose(0, 1) for x in (k, v))
    out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        q.unsqueeze(0).expand(threads, -1, -1, -1), keys, values
    )
    parts = list(zip(out.unbind(0), lse.unbind(0), strict=True))
    if cut < tokens:
        parts.append(_attention_with_lse(q, k[:, cut:], v[:, cut:], causal=False))
    return parts


def _merge(parts: list[tuple[Tensor, Tensor]]) -> Tensor:
    if len(parts) == 1:
        return parts[0][0]
    lse = torch.stack([part[1] for part in parts])  # [S, H, T]
    weights = torch.softmax(lse, dim=0).unsqueeze(-1)
    outputs = torch.stack([part[0] for part in parts])
    return (outputs * weights.to(outputs.dtype)).sum(0)


def _attention_with_lse(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> tuple[Tensor, Tensor]:
    """One attention: [H, T, d] x [H, N, d] -> ([H, T, d], log-sum-exp [H, T]); causal needs T == N."""
    if q.device.type == "cpu":
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            q.unsqueeze(0), k.unsqueeze(0), v.unsqueeze(0), 0.0, causal
        )
        return out.squeeze(0), lse.squeeze(0)
    return reference_attention(q, k, v, causal)


def reference_attention(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> tuple[Tensor, Tensor]:
    """The same in plain torch, scores in at least fp32: the reference for every faster kernel."""
    exact = torch.promote_types(q.dtype, torch.float32)
    scores = (q.to(exact) @ k.to(exact).transpose(-1, -2)) * q.shape[-1] ** -0.5
    if causal:
        above = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
        scores = scores.masked_fill(above, -torch.inf)
    lse = scores.logsumexp(-1)
    return (torch.softmax(scores, -1) @ v.to(exact)).to(q.dtype), lse


def causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Batched causal attention without any held state, differentiable: [B, H, T, d] x [B, Hk, T, d]."""
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=q.shape[1] != k.shape[1])
