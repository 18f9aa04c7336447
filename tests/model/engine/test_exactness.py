"""Exact: after any edits, all that is kept equals a cold read of the same tokens, and planted bugs show."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from deltaloom_model import engine as engine_module
from deltaloom_model.api import ModelSpec
from deltaloom_model.checkpoint import Checkpoint, CheckpointStore, PrefixHash
from deltaloom_model.hybrid_cache import HybridState, SavedState
from deltaloom_model.hybrid_model import HybridModel
from deltaloom_model.token_sequence import TokenIds

EXACT = 1e-9
SHOWS = 1e-4
NAMES = ("order", "item", "price", "total", "user", "basket", "count")


def some_lines(rng: random.Random, count: int) -> str:
    made = []
    for _ in range(count):
        name, other, indent = rng.choice(NAMES), rng.choice(NAMES), "    " * rng.randrange(3)
        made.append(f"{indent}{name}_{rng.randrange(40)} = {other}(self.{rng.choice(NAMES)})\n")
    return "".join(made)


class Script:
    """A reproducible hour of somebody's work: edits, deletions, reverts, completions, syncs cut short."""

    def __init__(self, desk: Any, seed: int, *, check: bool = True) -> None:
        self.desk, self.rng, self.check = desk, random.Random(seed), check
        self.earlier: list[tuple[dict[str, str], list[tuple[str, str | None]]]] = []
        for name in NAMES[:4]:
            desk.base[f"src/{name}.py"] = some_lines(self.rng, self.rng.randrange(3, 9))

    def play(self, turns: int) -> None:
        self.desk.sync()
        deeds = (
            self.change, self.change, self.append, self.append, self.delete, self.reorder, self.add,
            self.revert, self.compact, self.complete, self.complete, self.complete, self.cancel,
        )  # fmt: skip
        for _ in range(turns):
            self.earlier.append((dict(self.desk.base), list(self.desk.log)))
            self.rng.choice(deeds)()
            if self.rng.random() < 0.3:
                self.desk.sync(most=self.rng.randrange(4))
            elif self.rng.random() < 0.7:
                self.desk.sync()
            if self.check:
                self.desk.engine.store.check_integrity()
        self.complete()
        self.desk.sync()

    def change(self) -> None:
        path, text = self.rng.choice(list(self.desk.base.items()))
        self.desk.base[path] = self.edited(text)

    def append(self) -> None:
        path, text = self.rng.choice(list(self.desk.base.items()))
        self.desk.log.append((path, self.edited(text)))

    def delete(self) -> None:
        if self.desk.log and self.rng.random() < 0.5:
            self.desk.log.pop(self.rng.randrange(len(self.desk.log)))
        else:
            self.desk.log.append((self.rng.choice(list(self.desk.base)), None))

    def reorder(self) -> None:
        files = list(self.desk.base.items())
        self.rng.shuffle(files)
        self.desk.base = dict(files)

    def add(self) -> None:
        self.desk.base[f"src/new{self.rng.randrange(9)}.py"] = some_lines(self.rng, 3)

    def revert(self) -> None:
        base, log = self.rng.choice(self.earlier)
        self.desk.base, self.desk.log = dict(base), list(log)

    def compact(self) -> None:
        for path, text in self.desk.log:
            self.desk.base.pop(path, None)
            if text is not None:
                self.desk.base[path] = text
        self.desk.log = []
        self.desk.sync(compaction=True)

    def complete(self, most: int | None = None) -> None:
        path, text = self.rng.choice(list(self.desk.base.items()))
        text = self.edited(text)  # an unsaved buffer
        start = self.rng.randrange(len(text))
        for at in range(start, min(start + 3, len(text) + 1)):  # some keystrokes
            self.desk.complete(path, text, at, most=most, max_new_tokens=6)

    def cancel(self) -> None:
        self.complete(most=self.rng.randrange(5))

    def edited(self, text: str) -> str:
        lines = text.splitlines(keepends=True)
        at = self.rng.randrange(len(lines) + 1)
        lines[at : at + self.rng.randrange(2)] = [some_lines(self.rng, self.rng.randrange(1, 3))]
        return "".join(lines)


def end_differences(desk: Any, tools: Any) -> dict[str, float]:
    """The held context against one cold pass over the same ids."""
    ids = desk.ids
    cold = tools.cold_content(desk.engine.reader.model, ids, {len(ids)})
    found: dict[str, float] = tools.differences(tools.content(desk.engine, desk.end), cold[len(ids)])
    return found


@pytest.mark.parametrize("seed", range(4))
def test_after_any_edits_all_that_is_kept_equals_a_cold_read(
    new_engine: Callable[..., Any], new_desk: Callable[..., Any], tools: Any, seed: int
) -> None:
    # In every other run the budgets are so tight that checkpoints are evicted all the time.
    tight = ModelSpec(checkpoint_bytes=250_000, kv_bytes=3_000_000)
    desk = new_desk(new_engine(spec=tight if seed % 2 else None))
    Script(desk, seed).play(36)

    assert max(end_differences(desk, tools).values()) < EXACT
    assert set(tools.explained(desk)) == {c.key for c in desk.engine.store}, "kept for tokens never held"
    assert max(tools.audit(desk).values()) < EXACT
    restored = [restore.checkpoint for restore in desk.engine.status().restores]
    assert sum(at > 0 for at in restored) > 10, "the run must have used what it kept"
    if seed % 2:
        assert desk.engine.store.state_bytes <= tight.checkpoint_bytes
        assert desk.engine.store.kv_bytes <= tight.kv_bytes
        assert len(desk.engine.store) < 25
    else:
        assert len(desk.engine.store) > 50, "or the tight runs are no different"


def test_what_is_held_is_what_was_asked_for(
    new_desk: Callable[..., Any], new_engine: Callable[..., Any]
) -> None:
    """The ids compared above are those of a fresh engine's layout: none lost, none from another version."""
    desk = new_desk()
    Script(desk, 11).play(25)
    fresh = new_desk()
    fresh.base, fresh.log = desk.base, desk.log
    fresh.sync()
    assert fresh.ids.tolist() == desk.ids.tolist()


# --- planted bugs -------------------------------------------------------------------------------------------


def one_token_deeper(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint claims to have read the token after its own."""
    restore = HybridState.restore

    def planted(self: HybridState, saved: SavedState) -> None:
        restore(self, saved)
        self.position += 1

    monkeypatch.setattr(HybridState, "restore", planted)


def stale_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    """The convolution's window is that of the save before."""
    save, before = HybridState.save, list[Tensor]()

    def planted(self: HybridState) -> SavedState:
        saved = save(self)
        before.append(saved.conv)
        return replace(saved, conv=before[-2] if len(before) > 1 else saved.conv)

    monkeypatch.setattr(HybridState, "save", planted)


def unclamped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint nearest to the end is taken, beyond the divergence."""

    def planted(self: CheckpointStore, prefix: PrefixHash, ids: TokenIds, at: int = 0) -> Checkpoint | None:
        fits = [c for c in self if at < c.position < at + len(ids)]
        return max(fits, key=lambda c: (c.position, c.used), default=None)

    monkeypatch.setattr(CheckpointStore, "nearest", planted)


def dropped_recurrent_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """A restore brings spans and convolution back, and forgets the recurrent state."""
    restore = HybridState.restore

    def planted(self: HybridState, saved: SavedState) -> None:
        restore(self, saved)
        self.recurrent.zero_()

    monkeypatch.setattr(HybridState, "restore", planted)


def leaking_recurrent_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """What decoding did to the working state stays in the checkpoint that it began from."""
    decode, taken_up = engine_module.decode, list[Checkpoint]()
    add = CheckpointStore.add

    def planted_add(self: CheckpointStore, *arguments: Any) -> Checkpoint:
        taken_up.append(add(self, *arguments))
        return taken_up[-1]

    def planted(reader: Any, state: HybridState, logits: Tensor, **options: Any) -> Generator[Any, None, Any]:
        result = yield from decode(reader, state, logits, **options)
        taken_up[-1].state.recurrent.copy_(state.recurrent)
        return result

    monkeypatch.setattr(CheckpointStore, "add", planted_add)
    monkeypatch.setattr(engine_module, "decode", planted)


def positions_written_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that left a span goes on writing behind its own end there, over what another one wrote."""

    def may_append(self: HybridState, tokens: int) -> bool:
        last = self.views[-1]
        return last.length + tokens <= last.span.capacity

    monkeypatch.setattr(HybridState, "_may_append", may_append)


@pytest.mark.parametrize(
    "plant",
    [
        one_token_deeper,
        stale_convolution,
        unclamped,
        dropped_recurrent_state,
        leaking_recurrent_state,
        positions_written_twice,
    ],
)
def test_planted_bugs_make_the_comparison_fail(
    new_desk: Callable[..., Any],
    tools: Any,
    monkeypatch: pytest.MonkeyPatch,
    plant: Callable[[pytest.MonkeyPatch], None],
) -> None:
    plant(monkeypatch)
    desk = new_desk()
    Script(desk, 0, check=False).play(12)  # the store's own check would find some of them first
    worst = tools.audit(desk)
    assert max(worst.values()) > SHOWS


def test_the_recurrent_state_matters_in_this_model(model: HybridModel, new_desk: Callable[..., Any]) -> None:
    """Else nothing above could fail: without it, logits move as far as they vary at all."""
    desk = new_desk()
    Script(desk, 1).play(5)
    ids = torch.from_numpy(desk.ids.astype("int64"))[None]
    with torch.inference_mode():
        state = model.new_state()
        state.restore(desk.end.state)
        right = model.logits(model(ids[:, :40], state))
        state.restore(desk.end.state)
        state.recurrent.zero_()
        wrong = model.logits(model(ids[:, :40], state))
    assert (right - wrong).abs().max() > float(right.std())
