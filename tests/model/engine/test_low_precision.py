"""Exact where rounding is coarse: a warm state is no further from a cold one than two cold ones are apart."""

from __future__ import annotations

import json
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


COLD_SIZES = (32, 48, 80, 96)
"""How the cold runs are chunked that show how far rounding alone goes; the grid is 64."""


@pytest.fixture(scope="module")
def tokenizer_json(tokenizer_json: bytes) -> bytes:
    """One token a byte: what is compared here must not change with the text a tokenizer was trained on."""
    data = json.loads(tokenizer_json)
    data["model"]["merges"] = []
    return json.dumps(data).encode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
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


def given_up(p: Tensor, q: Tensor) -> float:
    """Log-probability under p that q's greedy tokens give up, summed: p's top-2 gap where they differ."""
    best = p.max(-1).values
    return float((best - p.gather(1, q.argmax(-1, keepdim=True))[:, 0]).sum())


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def test_warm_is_as_close_to_cold_as_cold_runs_are_to_one_another(
    engine: HybridEngine, new_desk: Callable[..., Any]
) -> None:
    desk, model = new_desk(engine), engine.reader.model
    found = warm(model, warm_end(desk))
    expected = cold(model, desk.ids, 64)
    others = [cold(model, desk.ids, sizes) for sizes in COLD_SIZES]

    noise = mean([divergence(expected, other) for other in others])
    assert 0.0 < divergence(expected, found) <= 2.0 * noise

    # Greedy tokens may differ only where the two best lie so close that noise moves them past each other.
    # Over a dozen models, warm gave up 0.5 to 2.4 times what cold runs do, a lost state 15 to 54 times.
    swapped = mean([given_up(expected, other) for other in others])
    assert given_up(expected, found) <= 5.0 * swapped
    moved = max(float((other - expected).abs().max()) for other in others)
    worst = (expected.max(-1).values - expected.gather(1, found.argmax(-1, keepdim=True))[:, 0]).max()
    assert worst <= 2.0 * moved


def test_a_lost_state_is_far_outside_that_noise(engine: HybridEngine, new_desk: Callable[..., Any]) -> None:
    """The bounds above can fail: each of these is beyond them."""
    desk, model = new_desk(engine), engine.reader.model
    saved = warm_end(desk)
    expected = cold(model, desk.ids, 64)
    others = [cold(model, desk.ids, sizes) for sizes in COLD_SIZES]
    broken = [cold(model, desk.ids[:-1], 64)]
    state = model.new_state()
    for lost in (state.recurrent, state.conv):
        state.restore(saved)
        lost.zero_()
        broken.append(continued(model, state, 64))
    for found in broken:
        noise = mean([divergence(expected, other) for other in others])
        assert divergence(expected, found) > 8.0 * noise
        swapped = mean([given_up(expected, other) for other in others])
        assert given_up(expected, found) > 8.0 * swapped
