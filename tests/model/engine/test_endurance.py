"""Ten thousand edits: every tier stays within its budget, and the process doesn't grow."""

from __future__ import annotations

import gc
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from deltaloom_model.api import ModelInfo, ModelSpec, StopRules
from deltaloom_model.checkpoint import Checkpoint
from deltaloom_model.engine import HybridEngine
from deltaloom_model.hybrid_cache import KVSpan
from deltaloom_model.hybrid_model import HybridModel
from deltaloom_model.loading.config import HybridConfig
from deltaloom_model.tokenizer import SegmentTokenizer

EDITS = 10_000
WARM_UP = 3_000
STATE_BYTES, KV_BYTES, DISK_BYTES = 400_000, 1_500_000, 3_000_000
GROWTH_BYTES = 24 << 20
CONFIG = HybridConfig(
    vocab_size=1280, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=1,
    num_key_value_heads=1, head_dim=8, linear_key_head_dim=8, linear_value_head_dim=8,
    linear_num_key_heads=1, linear_num_value_heads=1,
    layer_types=("linear_attention", "full_attention"), eos_token_ids=(1200,),
)  # fmt: skip
INFO = ModelInfo("tiny", "f" * 32, dtype="float32", device="cpu", quantization="none", context_limit=2048)


class Typist:
    """Somebody who edits four files at random for a long time."""

    def __init__(self, desk: Any, seed: int) -> None:
        self.desk, self.rng = desk, random.Random(seed)
        self.texts = {f"src/part{i}.py": self.some_lines(12) for i in range(4)}
        self.desk.base = dict(self.texts)
        self.undo: list[tuple[str, str]] = []

    def some_lines(self, count: int) -> str:
        return "".join(
            f"value_{self.rng.randrange(99)} = part({self.rng.randrange(99)})\n" for _ in range(count)
        )

    def edit(self) -> None:
        path = self.rng.choice(list(self.texts))
        text = self.texts[path]
        self.undo = [*self.undo[-20:], (path, text)]
        chance = self.rng.random()
        if chance < 0.1:
            path, text = self.rng.choice(self.undo)
        elif chance < 0.2 and len(text) > 100:
            text = text[: self.rng.randrange(50, len(text))]
        else:
            at = self.rng.randrange(len(text) + 1)
            text = text[:at] + self.rng.choice(["x", " = ", "\n", self.some_lines(1)]) + text[at:]
        self.texts[path] = text[:600]
        if self.rng.random() < 0.05:  # left: a live copy goes to the log
            others = [entry for entry in self.desk.log if entry[0] != path]
            self.desk.log = [*others[-3:], (path, text[:600])]
            self.desk.sync(most=self.rng.choice([1, None]))
        if self.rng.random() < 0.005:  # compaction
            self.desk.base, self.desk.log = dict(self.texts), []
            self.desk.sync(compaction=True)
            self.desk.sync()
        self.desk.complete(
            path, self.texts[path], self.rng.randrange(len(self.texts[path]) + 1), max_new_tokens=1,
            stop=StopRules(), most=self.rng.choice([None, None, None, 1]),
        )  # fmt: skip
        if self.rng.random() < 0.002:
            self.desk.engine.idle()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ten_thousand_edits_stay_within_all_budgets_and_leave_nothing_behind(
    new_desk: Callable[..., Any], tools: Any, tokenizer_json: bytes, tmp_path: Path
) -> None:
    model = tools.long_memory(HybridModel(CONFIG))
    spec = ModelSpec(
        checkpoint_bytes=STATE_BYTES, kv_bytes=KV_BYTES, disk_bytes=DISK_BYTES, cache_folder=str(tmp_path)
    )
    engine = HybridEngine(model, SegmentTokenizer(tokenizer_json, cache_bytes=1 << 20), INFO, spec)
    desk = new_desk(engine)
    del engine.keeper.find  # what the desk notes for other tests' sake would grow
    typist = Typist(desk, seed=3)
    desk.sync()
    resident = 0
    for number in range(EDITS):
        typist.edit()
        assert engine.store.state_bytes <= STATE_BYTES * 1.05
        assert engine.store.kv_bytes <= KV_BYTES * 1.05
        if number == WARM_UP:
            resident = memory()
        if number % 1000 == 0:
            engine.store.check_integrity()
            engine.keeper.disk.flush(10)
            assert on_disk(tmp_path) <= DISK_BYTES * 1.05
    assert memory() - resident < GROWTH_BYTES
    assert alive(Checkpoint) <= len(engine.store) + 20
    spans = {id(view.span) for c in engine.store for view in c.state.views}
    assert alive(KVSpan) <= len(spans) + 20
    desk.sync()
    cold = tools.cold_content(model, desk.ids, {len(desk.ids)})
    assert max(tools.differences(tools.content(engine, desk.end), cold[len(desk.ids)]).values()) < 1e-4


def memory() -> int:
    gc.collect()
    return psutil.Process().memory_info().rss


def alive(kind: type) -> int:
    gc.collect()
    return sum(isinstance(thing, kind) for thing in gc.get_objects())


def on_disk(folder: Path) -> int:
    return sum(os.stat(path).st_size for path in folder.rglob("*.safetensors"))
