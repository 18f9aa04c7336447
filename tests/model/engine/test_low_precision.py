"""Exact where rounding is coarse: a warm state is no further from a cold one than two cold ones are apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from deltaloom_model.api import ModelSpec
from deltaloom_model.engine import HybridEngine
from deltaloom_model.hybrid_cache import HybridState, SavedState
from deltaloom_model.hybrid_model import HybridModel
from deltaloom_model.loading.build import load_model
from deltaloom_model.loading.config import HybridConfig
from deltaloom_model.loading.export import export_model
from deltaloom_model.loading.weights import expected_shapes
from deltaloom_model.token_sequence import TokenIds

CONTINUED = 512
"""Positions compared. Their routing flips one by one, so a mean needs some hundreds of them."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, config: HybridConfig, tokenizer_json: bytes) -> Path:
    return tmp_path_factory.mktemp("low")


@pytest.fixture(params=[False, True], ids=["bf16", "nf4"])
def engine(
    request: pytest.FixtureRequest, folder: Path, config: HybridConfig, tokenizer_json: bytes, tools: Any
) -> HybridEngine:
    """The long-memory model from a folder of bf16 or of dequantized 4-bit weights, run in bf16."""
    place = folder / ("nf4" if request.param else "bf16")
    if not place.exists():
        weights = dict(tools.long_memory(HybridModel(config)).hub_slots())
        assert weights.keys() == expected_shapes(config).keys()
        export_model(place, config, weights, tokenizer_json, quantize=request.param)
    spec = ModelSpec(path=str(place), device="cpu", dtype="bfloat16", threads=1)
    model, tokenizer, info = load_model(spec)
    assert (info.dtype, info.quantization) == ("bfloat16", "nf4" if request.param else "none")
    made = HybridEngine(model, tokenizer, info, spec)
    made.reader.grid = 64
    return made


def lines(name: str, count: int) -> str:
    return "".join(f"{name}_{i} = {name}_{i * i % 17}({i}, total)\n" for i in range(count))


def warm_end(desk: Any) -> SavedState:
    """The state after an edit in the middle, a deletion and an undo, each read on from a checkpoint."""
    desk.base = {f"{name}.py": lines(name, 8) for name in ("item", "order", "price", "user")}
    desk.sync()
    original = dict(desk.base)
    desk.base["order.py"] = lines("order", 3)
    desk.sync()
    desk.complete("price.py", lines("price", 9), 120)
    del desk.base["item.py"]
    desk.sync()
    desk.base = original
    desk.sync()
    desk.base["price.py"] += "other = 1\n"
    desk.log = [("order.py", lines("order", 5))]
    result = desk.sync()
    assert 0 < result.restored_at < result.tokens
    state: SavedState = desk.end.state
    return state


@torch.inference_mode()
def continued(model: HybridModel, state: HybridState, sizes: int) -> Tensor:
    """Log-probabilities [CONTINUED, vocabulary] of going on with some random tokens, `sizes` at a time."""
    ids = torch.randint(0, 1200, (1, CONTINUED), generator=torch.Generator().manual_seed(8))
    hidden = [model(part, state) for part in ids.split(sizes, 1)]
    return torch.log_softmax(model.logits(torch.cat(hidden, 1))[0].double(), -1)


@torch.inference_mode()
def cold(model: HybridModel, ids: TokenIds, sizes: int) -> Tensor:
    state = model.new_state()
    for part in torch.from_numpy(ids.astype("int64"))[None].split(sizes, 1):
        model(part, state)
    return continued(model, state, sizes)


def warm(model: HybridModel, saved: SavedState) -> Tensor:
    state = model.new_state()
    state.restore(saved)
    return continued(model, state, 64)


def divergence(p: Tensor, q: Tensor) -> float:
    """Mean KL(p || q) over the positions."""
    return float((p.exp() * (p - q)).sum(-1).mean())


def test_warm_is_as_close_to_cold_as_cold_runs_are_to_one_another(
    engine: HybridEngine, new_desk: Callable[..., Any]
) -> None:
    desk, model = new_desk(engine), engine.reader.model
    found = warm(model, warm_end(desk))
    expected, other = cold(model, desk.ids, 64), cold(model, desk.ids, 48)

    noise = divergence(expected, other)
    assert noise > 0.0
    assert divergence(expected, found) <= 2.0 * noise

    # A greedy token may differ only where the two best lie so close that noise moves them past each other
    # (8 standard deviations: where an expert flips, a position moves by several).
    swap = 8.0 * float((expected - other).square().mean().sqrt())
    best = expected.topk(2).values
    gap = best[:, 0] - best[:, 1]
    differ, differ_cold = (x.argmax(-1) != expected.argmax(-1) for x in (found, other))
    assert (gap[differ] <= swap).all()
    assert (gap > swap).double().mean() > 0.25, "or that would say nothing"
    assert int(differ.sum()) <= 2 * int(differ_cold.sum()) + 4


def test_a_lost_state_is_far_outside_that_noise(engine: HybridEngine, new_desk: Callable[..., Any]) -> None:
    """The bound above would not hold for any of these."""
    desk, model = new_desk(engine), engine.reader.model
    saved = warm_end(desk)
    expected, other = cold(model, desk.ids, 64), cold(model, desk.ids, 48)
    noise = divergence(expected, other)

    state = model.new_state()
    for lost in (state.recurrent, state.conv):
        state.restore(saved)
        lost.zero_()
        assert divergence(expected, continued(model, state, 64)) > 6.0 * noise
    one_token_short = cold(model, desk.ids[:-1], 64)
    assert divergence(expected, one_token_short) > 6.0 * noise
