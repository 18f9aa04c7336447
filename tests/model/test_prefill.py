"""Chunks on an absolute grid, every token counted."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from deltaloom_model.api import CAUSES
from deltaloom_model.hybrid_model import HybridModel
from deltaloom_model.kernels.gated_delta_rule import CHUNK
from deltaloom_model.loading.config import HybridConfig
from deltaloom_model.prefill import Reader, chunk_edges

CONFIG = HybridConfig(
    vocab_size=64, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
    num_key_value_heads=1, head_dim=8, linear_key_head_dim=4, linear_value_head_dim=4,
    linear_num_key_heads=1, linear_num_value_heads=2,
    layer_types=("linear_attention", "full_attention"),
)  # fmt: skip
GRIDS = st.sampled_from([64, 128, 256])
PLACES = st.sets(st.integers(0, 1500), max_size=8)


def edges(start: int, end: int, grid: int = 64, places: tuple[int, ...] = ()) -> list[int]:
    return list(chunk_edges(start, end, grid, places))


def test_edges_by_example() -> None:
    assert edges(0, 200) == [64, 128, 192, 200]
    assert edges(64, 128) == [128]
    assert edges(63, 65) == [64, 65]
    assert edges(10, 10) == []
    assert edges(0, 128, 64, (0, 100, 128, 300)) == [64, 100, 128]


@given(st.integers(0, 1500), st.integers(0, 1500), GRIDS, PLACES)
def test_edges_cover_the_range_in_steps_no_larger_than_the_grid(
    start: int, end: int, grid: int, places: set[int]
) -> None:
    found = list(chunk_edges(start, end, grid, places))
    steps = [b - a for a, b in zip([start, *found], found, strict=False)]
    assert all(0 < step <= grid for step in steps)
    assert sum(steps) == max(end - start, 0)
    assert {place for place in places if start < place < end} <= set(found)


@given(st.integers(0, 1500), st.integers(0, 1500), st.integers(0, 1500), GRIDS, PLACES)
def test_edges_depend_only_on_positions_not_on_where_reading_began(
    a: int, b: int, c: int, grid: int, places: set[int]
) -> None:
    start, middle, end = sorted((a, b, c))
    cold = [edge for edge in chunk_edges(start, end, grid, places) if edge > middle]
    assert list(chunk_edges(middle, end, grid, places)) == cold


@given(st.integers(0, 1500), st.integers(0, 1500), st.integers(0, 1500), GRIDS, PLACES)
def test_edges_do_not_depend_on_what_comes_later(a: int, b: int, c: int, grid: int, places: set[int]) -> None:
    """So that a text that grows at its end is cut as before."""
    start, middle, end = sorted((a, b, c))
    longer = [edge for edge in chunk_edges(start, end, grid, places) if edge < middle]
    assert [edge for edge in chunk_edges(start, middle, grid, places) if edge < middle] == longer


def random_reader() -> Reader:
    torch.manual_seed(3)
    model = HybridModel(CONFIG).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(0.0, 0.3)
    return Reader(model)


def test_read_counts_by_cause_and_returns_the_last_tokens_hidden_state() -> None:
    reader = random_reader()
    ids = np.arange(20, dtype=np.int32)
    state = reader.model.new_state()
    reader.read(state, ids[:7], "base")
    hidden = reader.read(state, ids[7:], "typed")
    assert reader.counters == dict.fromkeys(CAUSES, 0) | {"base": 7, "typed": 13}
    assert state.position == 20
    with torch.inference_mode():
        expected = reader.model(torch.arange(20).unsqueeze(0))[0, -1]
    assert (hidden - expected).abs().max() < 1e-5
    assert torch.equal(reader.logits(hidden), reader.model.logits(hidden))
    assert reader.logits(hidden).shape == (64,)


def test_calibration_finds_a_multiple_of_the_kernels_chunk_and_counts_nothing() -> None:
    reader = random_reader()
    reader.calibrate()
    assert reader.grid % CHUNK == 0
    assert CHUNK <= reader.grid <= 4096
    assert sum(reader.counters.values()) == 0
