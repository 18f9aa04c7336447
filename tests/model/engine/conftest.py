"""A small model with long memory, engines around it, and an editor session's desk to work at."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from deltaloom_model.api import (
    GenerateRequest,
    GenerateResult,
    ModelInfo,
    ModelSpec,
    Segment,
    StopRules,
    SyncRequest,
    SyncResult,
    text_digest,
)
from deltaloom_model.checkpoint import Checkpoint, PrefixHash
from deltaloom_model.contexts import Context
from deltaloom_model.engine import HybridEngine
from deltaloom_model.hybrid_model import HybridModel
from deltaloom_model.keeper import Line
from deltaloom_model.loading.config import HybridConfig
from deltaloom_model.token_sequence import TokenIds
from deltaloom_model.tokenizer import SegmentTokenizer

INFO = ModelInfo("small", "f" * 32, dtype="float64", device="cpu", quantization="none", context_limit=4096)
MANY_LINES = StopRules(max_lines=50)


@pytest.fixture(scope="session")
def config() -> HybridConfig:
    """Every kind of layer: 2 attention and 3 DeltaNet layers, layer 1 with a dense MLP, experts elsewhere."""
    linear, full = "linear_attention", "full_attention"
    return HybridConfig(
        vocab_size=1280, hidden_size=32, intermediate_size=48, num_hidden_layers=5, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, linear_key_head_dim=12, linear_value_head_dim=8,
        linear_num_key_heads=2, linear_num_value_heads=4, moe_intermediate_size=16,
        shared_expert_intermediate_size=16, num_experts=4, num_experts_per_tok=2, mlp_only_layers=(1,),
        layer_types=(linear, full, linear, linear, full), eos_token_ids=(1200,),
    )  # fmt: skip


def long_memory(model: HybridModel, seed: int = 5) -> HybridModel:
    """Random weights five times the usual size, decays of 0.1% to 5% a token: what was read long ago shows.

    With a default initialization, zeroing the whole recurrent state hardly moves the logits, and no test of
    it could fail.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("A_log"):
                p.uniform_(0.001, 0.05, generator=generator).log_()
            elif name.endswith("dt_bias"):
                p.fill_(1.0)
            elif p.ndim == 1:
                p.add_(torch.randn(p.shape, generator=generator) * 0.2)
            else:
                p.normal_(0.0, 0.3 if "conv1d" in name else 0.1, generator=generator)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def model(config: HybridConfig) -> HybridModel:
    return long_memory(HybridModel(config)).double()


@pytest.fixture
def new_engine(model: HybridModel, tokenizer_json: bytes) -> Callable[..., HybridEngine]:
    """An engine of its own tokenizer and store; `info` and `spec` may be given."""

    def make(info: ModelInfo = INFO, spec: ModelSpec | None = None) -> HybridEngine:
        engine = HybridEngine(model, SegmentTokenizer(tokenizer_json), info, spec or ModelSpec())
        engine.reader.grid = 64
        return engine

    return make


def run(steps: Generator[Any, None, Any], most: int | None = None) -> Any:
    """The steps' result; or, after `most` steps, closes them as the scheduler does and returns None."""
    taken = 0
    while most is None or taken < most:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value
        taken += 1
    steps.close()
    return None


class Desk:
    """One editor session on one engine: files in base and log, synced and completed as an editor would.

    `log` holds (path, live text), or (path, None) for a tombstone. `lookups` are all (salt, ids) that a
    checkpoint was looked for with: everything that has ever been meant to be held.
    """

    def __init__(self, engine: HybridEngine, session: str = "one", workspace: str = "w") -> None:
        self.engine, self.session, self.workspace = engine, session, workspace
        self.base: dict[str, str] = {}
        self.log: list[tuple[str, str | None]] = []
        self.revision = 0
        self.lookups: list[tuple[bytes, TokenIds]] = []
        look = engine.keeper.find
        whole: dict[bytes, TokenIds] = engine.__dict__.setdefault("known_lines", {})

        def find(line: Line) -> Any:
            before = whole[line.start.digest()] if line.at else line.ids[:0]
            ids = np.concatenate((before, line.ids))
            whole[line.hash_at(line.end).digest()] = ids
            self.lookups.append((line.salt.text, ids))
            return look(line)

        engine.keeper.find = find  # type: ignore[method-assign]

    def request(self, compaction: bool = False) -> SyncRequest:
        entries = [(path, text, "base") for path, text in self.base.items()]
        entries += [(path, text, "log") for path, text in self.log]
        segments = [
            Segment(path, text_digest(text or ""), kind, tombstone=text is None)
            for path, text, kind in entries
        ]
        texts = {text_digest(text): text for _, text, _ in entries if text is not None}
        self.revision += 1
        return SyncRequest(
            self.session, self.workspace, "shop", self.revision, segments, texts, compaction=compaction
        )

    def sync(self, most: int | None = None, compaction: bool = False) -> SyncResult | None:
        result: SyncResult | None = run(self.engine.sync(self.request(compaction)), most)
        return result

    def complete(
        self,
        path: str,
        text: str,
        at: int,
        *,
        most: int | None = None,
        stop: StopRules = MANY_LINES,
        **options: Any,
    ) -> GenerateResult | None:
        """Ask for what comes at offset `at` of the open file's `text`."""
        line = text.rfind("\n", 0, at) + 1
        request = GenerateRequest(
            self.session, self.workspace, "shop", self.revision, path, text[:line], text[line:at], text[at:],
            stop=stop, **{"max_new_tokens": 12} | options,
        )  # fmt: skip
        result: GenerateResult | None = run(self.engine.generate(request), most)
        return result

    @property
    def context(self) -> Context:
        context = self.engine._contexts.get(self.session, self.workspace)
        assert context is not None
        return context

    @property
    def ids(self) -> TokenIds:
        return self.context.sequence.ids

    @property
    def end(self) -> Checkpoint:
        end = self.context.end
        assert end is not None
        return end


@pytest.fixture
def new_desk(new_engine: Callable[..., HybridEngine]) -> Callable[..., Desk]:
    def make(engine: HybridEngine | None = None, **options: Any) -> Desk:
        return Desk(engine or new_engine(), **options)

    return make


def content(engine: HybridEngine, checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Every tensor that a checkpoint stands for, its spans concatenated, and its next-token logits."""
    views = checkpoint.state.views
    return {
        "recurrent": checkpoint.state.recurrent,
        "conv": checkpoint.state.conv,
        "keys": torch.cat([view.span.keys[:, :, : view.length] for view in views], 2),
        "values": torch.cat([view.span.values[:, :, : view.length] for view in views], 2),
        "hidden": checkpoint.hidden,
        "logits": engine.reader.logits(checkpoint.hidden),
    }


@torch.inference_mode()
def cold_content(model: HybridModel, ids: TokenIds, stops: set[int]) -> dict[int, dict[str, Tensor]]:
    """The same after each of these positions, from reading `ids` into an empty state, in as many passes."""
    state, tokens = model.new_state(), torch.from_numpy(ids.astype(np.int64)).unsqueeze(0)
    state.reserve(len(ids))
    found: dict[int, dict[str, Tensor]] = {}
    for stop in sorted(stops):
        hidden = model(tokens[:, state.position : stop], state)[0, -1]
        spans = [state.earlier(layer) for layer in range(len(model.config.attention_layers))]
        found[stop] = {
            "recurrent": state.recurrent.clone(),
            "conv": state.conv.clone(),
            "keys": torch.stack([torch.cat([keys for keys, _ in layer], 1) for layer in spans]),
            "values": torch.stack([torch.cat([values for _, values in layer], 1) for layer in spans]),
            "hidden": hidden,
            "logits": model.logits(hidden),
        }
    return found


def differences(found: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, float]:
    """The largest absolute difference by kind of tensor; infinite where they differ in shape."""
    return {
        name: float((found[name] - x).abs().max()) if found[name].shape == x.shape else float("inf")
        for name, x in expected.items()
    }


def explained(desk: Desk) -> dict[bytes, tuple[TokenIds, int]]:
    """Where each kept checkpoint's tokens come from: (ids, how many of them), by its key.

    A checkpoint that isn't in here was kept for tokens that nobody asked to be held.
    """
    known: dict[bytes, tuple[TokenIds, int]] = {}
    positions = sorted({c.position for c in desk.engine.store})
    for salt, ids in desk.lookups:
        prefix, start = PrefixHash(salt), 0
        for position in positions:
            if position > len(ids):
                break
            prefix.update(ids[start:position])
            start = position
            known.setdefault(prefix.digest(), (ids, position))
    return {c.key: known[c.key] for c in desk.engine.store if c.key in known}


def audit(desk: Desk) -> dict[str, float]:
    """The worst difference between anything kept and a cold read of the same tokens, by kind of tensor."""
    engine, known = desk.engine, explained(desk)
    by_ids: dict[int, tuple[TokenIds, dict[int, bytes]]] = {}
    for key, (ids, position) in known.items():
        by_ids.setdefault(id(ids), (ids, {}))[1][position] = key
    worst: dict[str, float] = {}
    for ids, keys in by_ids.values():
        cold = cold_content(engine.reader.model, ids, set(keys))
        for position, key in keys.items():
            checkpoint = engine.store.get(key)
            assert checkpoint is not None
            for name, by in differences(content(engine, checkpoint), cold[position]).items():
                worst[name] = max(worst.get(name, 0.0), by)
    return worst


class Tools:
    """This module's functions, for tests (which cannot import a conftest)."""

    run = staticmethod(run)
    content = staticmethod(content)
    cold_content = staticmethod(cold_content)
    differences = staticmethod(differences)
    explained = staticmethod(explained)
    audit = staticmethod(audit)
    long_memory = staticmethod(long_memory)


@pytest.fixture
def tools() -> type[Tools]:
    return Tools


@pytest.fixture
def entered(model: HybridModel) -> Iterator[list[int]]:
    """All ids that enter layer 0, counted at the embedding and nowhere else."""
    seen: list[int] = []

    def note(_module: object, inputs: tuple[Tensor], _out: Tensor) -> None:
        seen.extend(inputs[0].flatten().tolist())

    hook = model.model.embed_tokens.register_forward_hook(note)
    yield seen
    hook.remove()
