"""Attention span by span equals one softmax over everything."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from deltaloom_model.kernels import span_attention as module
from deltaloom_model.kernels.span_attention import causal_attention, reference_attention, span_attention

WIDTH = 16


def one_softmax(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The last T of N tokens attend to all before them and to themselves, query head by query head."""
    tokens, total = q.shape[1], k.shape[1]
    out = torch.empty_like(q)
    for head in range(q.shape[0]):
        keys, values = (x[head // (q.shape[0] // k.shape[0])] for x in (k, v))
        for t in range(tokens):
            visible = total - tokens + t + 1
            scores = keys[:visible] @ q[head, t] / WIDTH**0.5
            out[head, t] = scores.softmax(0) @ values[:visible]
    return out


def random(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    # Scaled up: with flat scores a wrong mask or merge would show less.
    generator = torch.Generator().manual_seed(seed)
    return (2.0 * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)


@pytest.mark.parametrize("heads", [(4, 4), (6, 2), (5, 1)])
@pytest.mark.parametrize("tokens", [1, 2, 9])
@pytest.mark.parametrize("earlier", [[], [11], [3, 0, 1, 40]])
def test_equals_one_softmax_over_the_concatenation(
    heads: tuple[int, int], tokens: int, earlier: list[int]
) -> None:
    query_heads, key_heads = heads
    total = sum(earlier) + tokens
    q = random(1, query_heads, tokens, WIDTH)
    k, v = random(2, key_heads, total, WIDTH), random(3, key_heads, total, WIDTH)
    *spans, (new_k, new_v) = zip(k.split([*earlier, tokens], 1), v.split([*earlier, tokens], 1), strict=True)
    out = span_attention(q, spans, new_k, new_v)
    assert (out - one_softmax(q, k, v)).abs().max() < 1e-12


def test_scores_far_apart_between_spans_merge_without_overflow() -> None:
    q, k, v = (random(seed, 2, 12, WIDTH, dtype=torch.float32) for seed in range(3))
    k[:, :5] *= 300.0
    spans = [(k[:, :5], v[:, :5]), (k[:, 5:9], v[:, 5:9])]
    out = span_attention(q[:, 9:], spans, k[:, 9:], v[:, 9:])
    assert (out - one_softmax(q[:, 9:], k, v)).abs().max() < 1e-5


def test_spans_may_be_views_of_larger_buffers() -> None:
    """As they are in a KV span: whatever stands behind the view's end is never read."""
    keys, values = torch.full((2, 2, 64, WIDTH), torch.nan, dtype=torch.float64)
    k, v, q = random(4, 2, 30, WIDTH), random(5, 2, 30, WIDTH), random(6, 4, 3, WIDTH)
    keys[:, :27], values[:, :27] = k[:, :27], v[:, :27]
    out = span_attention(q, [(keys[:, :27], values[:, :27])], k[:, 27:], v[:, 27:])
    assert (out - one_softmax(q, k, v)).abs().max() < 1e-12


def test_the_plain_reference_equals_one_softmax_and_gives_its_log_sum_exp() -> None:
    q, k, v = (random(seed, 3, 7, WIDTH) for seed in range(3))
    out, lse = reference_attention(q, k, v, causal=True)
    assert (out - one_softmax(q, k, v)).abs().max() < 1e-12
    assert lse[1, 0] == pytest.approx(float(q[1, 0] @ k[1, 0]) / WIDTH**0.5)
    _, everything = reference_attention(q, k, v, causal=False)
    expected = torch.log((q @ k.transpose(1, 2) / WIDTH**0.5).exp().sum(-1))
    assert (everything - expected).abs().max() < 1e-12


def test_training_attention_equals_one_softmax() -> None:
    q, k, v = random(7, 4, 13, WIDTH), random(8, 2, 13, WIDTH), random(9, 2, 13, WIDTH)
    out = causal_attention(q.unsqueeze(0), k.unsqueeze(0), v.unsqueeze(0))[0]
    assert (out - one_softmax(q, k, v)).abs().max() < 1e-12


@pytest.mark.parametrize("tokens", [1, 5])
def test_a_long_span_cut_for_several_threads_gives_the_same(
    monkeypatch: pytest.MonkeyPatch, tokens: int
) -> None:
    generator = torch.Generator().manual_seed(2)

    def random(heads: int, length: int) -> torch.Tensor:
        return torch.randn(heads, length, 8, generator=generator, dtype=torch.float64)

    q, k, v = random(4, tokens), random(2, tokens), random(2, tokens)
    spans = [(random(2, 103), random(2, 103)), (random(2, 9), random(2, 9))]
    whole = span_attention(q, spans, k, v)
    monkeypatch.setattr(module, "_SHORTEST_CUT", 64)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)  # 103 keys: four pieces of 25, and three left
    assert (span_attention(q, spans, k, v) - whole).abs().max() < 1e-12
