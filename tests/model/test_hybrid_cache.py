"""States saved and restored, spans shared: whoever appends, a view taken earlier sees what it saw."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from deltaloom_model.hybrid_cache import HybridState, SavedState, span_bytes
from deltaloom_model.loading.config import HybridConfig

CONFIG = HybridConfig(
    vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=4, num_attention_heads=2,
    num_key_value_heads=2, head_dim=8, linear_key_head_dim=4, linear_value_head_dim=6,
    linear_num_key_heads=2, linear_num_value_heads=4, linear_conv_kernel_dim=3,
    layer_types=("linear_attention", "full_attention", "linear_attention", "full_attention"),
)  # fmt: skip


def new_state(dtype: torch.dtype = torch.float32) -> HybridState:
    return HybridState(CONFIG, dtype, torch.device("cpu"))


def read(state: HybridState, tokens: int, value: float) -> None:
    """What a forward pass does to a state, with keys `value` and values `-value`."""
    state.begin(tokens)
    for layer in range(len(CONFIG.attention_layers)):
        keys = torch.full((CONFIG.num_key_value_heads, tokens, CONFIG.head_dim), value + layer / 8)
        state.write(layer, keys, -keys)
    state.recurrent.add_(value)
    state.conv.sub_(value)
    state.finish(tokens)


def held(state: HybridState, layer: int = 0) -> tuple[Tensor, Tensor]:
    """All keys and values of one layer, span by span, as two tensors."""
    spans = state.earlier(layer)
    return torch.cat([keys for keys, _ in spans], 1), torch.cat([values for _, values in spans], 1)


def token_values(state: HybridState) -> list[float]:
    """One number a token: the value it was read with."""
    keys, values = held(state, layer=1)
    assert torch.equal(keys, -values)
    assert torch.equal(keys[:1, :, :1].expand_as(keys), keys)
    return (keys[0, :, 0] - 1 / 8).tolist()


def test_shapes_and_dtypes_follow_the_config() -> None:
    state = new_state(torch.bfloat16)
    assert state.recurrent.shape == (2, 2, 2, 4, 6)
    assert state.recurrent.dtype == torch.float32, "the recurrent state is never less than fp32"
    assert state.conv.shape == (2, 2 * 8 + 24, 2)
    assert state.conv.dtype == torch.bfloat16
    assert new_state(torch.float64).recurrent.dtype == torch.float64
    assert state.position == 0
    assert state.earlier(0) == []


def test_tokens_read_in_parts_stand_in_order() -> None:
    state = new_state()
    for tokens, value in ((3, 1.0), (70, 2.0), (1, 3.0)):
        read(state, tokens, value)
    assert state.position == 74
    assert token_values(state) == [1.0] * 3 + [2.0] * 70 + [3.0]
    assert held(state)[0].shape == (2, 74, 8)


def test_room_reserved_at_once_keeps_everything_in_one_span() -> None:
    state = new_state()
    state.reserve(500)
    for value in range(5):
        read(state, 100, float(value))
    assert len(state.views) == 1
    read(state, 100, 9.0)
    assert len(state.views) == 2
    assert token_values(state)[499:501] == [4.0, 9.0]


def test_a_saved_state_does_not_move_with_the_state_it_was_saved_from() -> None:
    state = new_state()
    state.reserve(64)
    read(state, 10, 1.0)
    saved = state.save()
    recurrent, conv = saved.recurrent.clone(), saved.conv.clone()
    read(state, 5, 2.0)
    assert torch.equal(saved.recurrent, recurrent)
    assert torch.equal(saved.conv, conv)
    assert (saved.position, [view.length for view in saved.views]) == (10, [10])

    other = new_state()
    other.restore(saved)
    assert other.position == 10
    assert token_values(other) == [1.0] * 10
    assert torch.equal(other.recurrent, recurrent)
    assert torch.equal(other.conv, conv)
    read(other, 1, 7.0)
    assert torch.equal(saved.recurrent, recurrent), "restoring copies; it must not alias"
    assert torch.equal(saved.conv, conv)


def test_two_states_from_one_checkpoint_share_its_span_and_never_each_others_tokens() -> None:
    first = new_state()
    first.reserve(64)
    read(first, 10, 1.0)
    saved = first.save()
    second = new_state()
    second.restore(saved)
    read(first, 3, 2.0)  # appends to the shared span
    read(second, 4, 3.0)  # finds the span's end taken, and goes elsewhere
    read(first, 3, 4.0)
    assert token_values(first) == [1.0] * 10 + [2.0] * 3 + [4.0] * 3
    assert token_values(second) == [1.0] * 10 + [3.0] * 4
    assert second.views[0].span is first.views[0].span, "what is common is stored once"
    assert span_bytes([*first.views, *second.views]) == sum(
        view.span.nbytes for view in (first.views[0], second.views[1])
    )


def test_a_state_restored_in_the_middle_of_a_span_leaves_the_rest_of_it_alone() -> None:
    state = new_state()
    state.reserve(64)
    read(state, 4, 1.0)
    middle = state.save()
    read(state, 4, 2.0)
    end = state.save()
    state.restore(middle)
    read(state, 4, 3.0)
    assert token_values(state) == [1.0] * 4 + [3.0] * 4
    state.restore(end)
    assert token_values(state) == [1.0] * 4 + [2.0] * 4


def test_a_forked_tail_takes_what_comes_next_though_there_is_room_before_it() -> None:
    state = new_state()
    state.reserve(64)
    read(state, 4, 1.0)
    kept = state.views[0].span
    kept.keys[:, :, 4:] = kept.values[:, :, 4:] = 0.0
    state.fork_tail(8)
    read(state, 3, 9.0)
    assert kept.length == 4
    assert not kept.keys[:, :, 4:].any()
    assert not kept.values[:, :, 4:].any()
    assert [view.length for view in state.views] == [4, 3]
    assert token_values(state) == [1.0] * 4 + [9.0] * 3


def diverge(state: HybridState, times: int, tokens: int) -> list[SavedState]:
    """Read on, each time after another state has taken the place behind the last token."""
    saves = []
    for turn in range(times):
        read(state, tokens, float(turn))
        saves.append(state.save())
        other = new_state()
        other.restore(saves[-1])
        read(other, 1, -1.0)
    return saves


def test_many_divergences_do_not_make_many_spans() -> None:
    state = new_state()
    saves = diverge(state, 60, 3)
    assert token_values(state) == [float(turn) for turn in range(60) for _ in range(3)]
    assert len(state.views) <= 8
    for turn, saved in enumerate(saves):
        state.restore(saved)
        assert state.position == 3 * (turn + 1)
        assert token_values(state) == [float(t) for t in range(turn + 1) for _ in range(3)]


def test_long_spans_are_shared_not_gathered() -> None:
    state = new_state()
    state.reserve(2000)
    read(state, 2000, 1.0)
    long = state.views[0].span
    diverge(state, 30, 3)
    assert state.views[0].span is long
    assert 2 < len(state.views) <= 8


def test_writing_outside_a_pass_is_refused() -> None:
    state = new_state()
    state.reserve(4)
    with pytest.raises(AssertionError, match="begin"):
        state.write(0, torch.zeros(2, 1, 8), torch.zeros(2, 1, 8))
    with pytest.raises(AssertionError, match="begin"):
        state.finish(1)


def test_saved_bytes_count_the_copies_and_span_bytes_the_shared_buffers() -> None:
    state = new_state()
    read(state, 5, 1.0)
    saved = state.save()
    assert saved.nbytes == 4 * (state.recurrent.numel() + state.conv.numel())
    assert span_bytes([*saved.views, *state.views]) == 2 * 4 * 2 * 2 * 64 * 8
