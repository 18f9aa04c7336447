"""Passes on an absolute grid, every token counted, states captured inside them."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from deltaloom_model.api import CAUSES
from deltaloom_model.hybrid_model import HybridModel
from deltaloom_model.kernels.gated_delta_rule import CHUNK
from deltaloom_model.loading.config import HybridConfig
from deltaloom_model.prefill import Pass, Reader, passes

CONFIG = HybridConfig(
    vocab_size=64, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
    num_key_value_heads=1, head_dim=8, linear_key_head_dim=4, linear_value_head_dim=4,
    linear_num_key_heads=1, linear_num_value_heads=2,
    layer_types=("linear_attention", "full_attention"),
)  # fmt: skip
GRIDS = st.sampled_from([64, 128, 256])
PLACES = st.sets(st.integers(0, 1500), max_size=8)


def ends(start: int, end: int, grid: int = 64, edges: tuple[int, ...] = ()) -> list[int]:
    return [step.end for step in passes(start, end, lambda _: grid, edges)]


def test_passes_by_example() -> None:
    assert ends(0, 200) == [64, 128, 192, 200]
    assert ends(64, 128) == [128]
    assert ends(63, 65) == [64, 65]
    assert ends(10, 10) == []
    assert ends(0, 128, 64, (0, 100, 128, 300)) == [64, 100, 128]


def test_captures_lie_whole_chunks_after_a_pass_begins() -> None:
    found = list(passes(0, 600, lambda _: 256, (300,), (64, 192, 256, 320)))
    tail = [Pass(300, 320, ()), Pass(320, 512, ()), Pass(512, 600, ())]
    assert found == [Pass(0, 256, (64, 192)), Pass(256, 300, ()), *tail]
    assert list(passes(50, 300, lambda _: 256, (), (128, 192))) == [
        Pass(50, 128, ()),
        Pass(128, 256, (192,)),
        Pass(256, 300, ()),
    ], "where reading begins between two chunks, a short pass comes first"


def test_passes_shorten_where_attention_grows() -> None:
    assert [s.end - s.start for s in passes(0, 768, lambda at: 256 if at < 256 else 128)] == [256, *[128] * 4]


@given(st.integers(0, 1500), st.integers(0, 1500), GRIDS, PLACES, PLACES)
def test_passes_cover_the_range_in_steps_no_larger_than_the_grid(
    start: int, end: int, grid: int, edges: set[int], captures: set[int]
) -> None:
    found = list(passes(start, end, lambda _: grid, edges, captures))
    assert all(0 < step.end - step.start <= grid for step in found)
    assert [step.start for step in found] == [start, *[step.end for step in found]][:-1] or not found
    assert sum(step.end - step.start for step in found) == max(end - start, 0)
    assert {place for place in edges if start < place < end} <= {step.end for step in found}
    for step in found:
        assert all((place - step.start) % CHUNK == 0 for place in step.captures)
        assert all(step.start < place < step.end and place in captures for place in step.captures)


@given(st.integers(0, 1500), st.integers(0, 1500), st.integers(0, 1500), GRIDS, PLACES)
def test_passes_depend_only_on_positions_not_on_where_reading_began(
    a: int, b: int, c: int, grid: int, edges: set[int]
) -> None:
    start, middle, end = sorted((a, b, c))
    cold = [edge for edge in ends(start, end, grid, tuple(edges)) if edge > middle]
    assert ends(middle, end, grid, tuple(edges)) == cold


@given(st.integers(0, 1500), st.integers(0, 1500), st.integers(0, 1500), GRIDS, PLACES)
def test_passes_do_not_depend_on_what_comes_later(a: int, b: int, c: int, grid: int, edges: set[int]) -> None:
    """So that a text that grows at its end is cut as before."""
    start, middle, end = sorted((a, b, c))
    longer = [edge for edge in ends(start, end, grid, tuple(edges)) if edge < middle]
    assert [edge for edge in ends(start, middle, grid, tuple(edges)) if edge < middle] == longer


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


def test_a_busy_moment_does_not_shorten_passes_for_good() -> None:
    reader = random_reader()
    reader.calibrate()
    reader._best_rate = 1.0  # as if calibrated beside something very busy
    reader.grid = CHUNK
    ids = np.zeros(CHUNK, dtype=np.int32)
    reader.read(reader.model.new_state(), ids, "base")
    grid = reader.grid
    assert grid > CHUNK
    reader._learn(1.0, 60.0)
    assert reader.grid == grid


def test_calibration_finds_a_multiple_of_the_kernels_chunk_and_counts_nothing() -> None:
    reader = random_reader()
    reader.calibrate()
    assert reader.grid % CHUNK == 0
    assert CHUNK <= reader.grid <= 4096
    assert sum(reader.counters.values()) == 0


def test_a_state_captured_inside_a_pass_is_the_state_there() -> None:
    reader = random_reader()
    ids = np.arange(300, dtype=np.int32) % 64
    state = reader.model.new_state()
    reader.read(state, ids[:37], "base")  # so that chunks stand across multiples of 64
    _, inner = reader.read_with_captures(state, ids[37:], "base", (64, 192))
    assert [saved.position for saved, _ in inner] == [101, 229]
    for saved, hidden in inner:
        alone = reader.model.new_state()
        last = reader.read(alone, ids[: saved.position], "base")
        expected = alone.save()
        assert (saved.recurrent - expected.recurrent).abs().max() < 1e-5
        assert (saved.conv - expected.conv).abs().max() < 1e-5
        assert (hidden - last).abs().max() < 1e-5
        restored = reader.model.new_state()
        restored.restore(saved)
        end = reader.read(restored, ids[saved.position :], "base")
        whole = reader.read(alone, ids[saved.position :], "base")
        assert (end - whole).abs().max() < 1e-5


def test_the_cost_of_reading_grows_with_what_is_attended_to() -> None:
    reader = random_reader()
    assert reader.cost(0, 200) == reader.cost(0, 50) + reader.cost(50, 200)
    assert reader.cost(1000, 1100) > reader.cost(0, 100) > 0
    reader.grid = 1024
    grids = [reader.grid_at(position) for position in (0, 1000, 10_000, 1_000_000)]
    assert grids[0] == 1024
    assert grids == sorted(grids, reverse=True)
    assert grids[-1] == CHUNK
