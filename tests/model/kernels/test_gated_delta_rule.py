"""The chunkwise form equals the rule applied token by token."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from deltaloom_model.kernels.gated_delta_rule import CHUNK, gated_delta_rule, l2_normalize

B, K, G, D, E = 2, 3, 2, 8, 6


def token_by_token(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """Forget, read what stands under the key, write the difference, answer the query: one head at a time."""
    out, state = torch.empty_like(v), state.clone()
    for b in range(v.shape[0]):
        for head in range(K):
            for group in range(G):
                memory = state[b, head, group]  # [d, e], a view
                for t in range(v.shape[1]):
                    key = k[b, t, head]
                    memory *= g[b, t, head, group].exp()
                    wanted = v[b, t, head, group] - key @ memory
                    memory += torch.outer(key, beta[b, t, head, group] * wanted)
                    out[b, t, head, group] = q[b, t, head] @ memory
    return out, state


def inputs(tokens: int, slowest: float = 0.001, fastest: float = 0.5) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(tokens)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    rate = torch.rand((B, tokens, K, G), generator=generator, dtype=torch.float64)
    g = -(slowest + rate * (fastest - slowest))
    beta = normal(B, tokens, K, G).sigmoid()
    q, k = (l2_normalize(normal(B, tokens, K, D)) for _ in range(2))
    return q * D**-0.5, k, normal(B, tokens, K, G, E), g, beta, normal(B, K, G, D, E)


@pytest.mark.parametrize("tokens", [1, 2, 3, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 37])
def test_equals_the_rule_applied_token_by_token(tokens: int) -> None:
    *rest, state = inputs(tokens)
    kept = state.clone()
    out, after = gated_delta_rule(*rest, state)
    expected, expected_after = token_by_token(*rest, state)
    assert (out - expected).abs().max() < 1e-11
    assert (after - expected_after).abs().max() < 1e-11
    assert torch.equal(state, kept), "the state given must not be written"


@pytest.mark.parametrize("tokens", [1, 70])
def test_no_state_means_zeros(tokens: int) -> None:
    *rest, state = inputs(tokens)
    out, after = gated_delta_rule(*rest, None)
    expected, expected_after = gated_delta_rule(*rest, torch.zeros_like(state))
    assert torch.equal(out, expected)
    assert torch.equal(after, expected_after)
    assert not torch.allclose(out, gated_delta_rule(*rest, state)[0])


@pytest.mark.parametrize("cuts", [[64], [1, 2, 3], [63, 64, 65], [7, 77, 140]])
def test_any_split_gives_the_same(cuts: list[int]) -> None:
    *rest, state = inputs(150)
    whole, end = gated_delta_rule(*rest, state)
    pieces = []
    for start, stop in zip([0, *cuts], [*cuts, 150], strict=True):
        out, state = gated_delta_rule(*(x[:, start:stop] for x in rest), state)
        pieces.append(out)
    assert (torch.cat(pieces, 1) - whole).abs().max() < 1e-11
    assert (state - end).abs().max() < 1e-11


def test_strong_decay_neither_overflows_nor_divides_by_zero() -> None:
    """exp of the decay summed over a chunk underflows here: only differences of it may be exponentiated."""
    *rest, state = inputs(2 * CHUNK, slowest=5.0, fastest=80.0)
    rest, state = [x.float() for x in rest], state.float()
    out, after = gated_delta_rule(*rest, state)
    expected, expected_after = token_by_token(*rest, state)
    assert (out - expected).abs().max() < 1e-5
    assert (after - expected_after).abs().max() < 1e-5


def test_gradients_flow_through_the_chunkwise_form() -> None:
    arguments = [x.requires_grad_() for x in inputs(5)]
    assert torch.autograd.gradcheck(gated_delta_rule, arguments, fast_mode=True)


def test_the_states_passed_on_between_chunks_are_the_states_there() -> None:
    torch.manual_seed(4)
    tokens = 2 * CHUNK + 10
    q, k = (l2_normalize(torch.randn(1, tokens, 2, 6, dtype=torch.float64)) for _ in range(2))
    v = torch.randn(1, tokens, 2, 2, 5, dtype=torch.float64)
    g, beta = (
        -torch.rand(1, tokens, 2, 2, dtype=torch.float64),
        torch.rand(1, tokens, 2, 2, dtype=torch.float64),
    )
    passed: list[torch.Tensor] = []
    gated_delta_rule(q, k, v, g, beta, None, passed)
    assert len(passed) == 2
    for number, state in enumerate(passed, 1):
        at = slice(0, number * CHUNK)
        _, expected = gated_delta_rule(q[:, at], k[:, at], v[:, at], g[:, at], beta[:, at], None)
        assert (state - expected).abs().max() < 1e-12
