"""Clamped: a restore lands on a checkpoint's own position and hash, and salts keep what differs apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from deltaloom_model.api import ModelInfo
from deltaloom_model.checkpoint import PrefixHash
from deltaloom_model.hybrid_cache import HybridState, SavedState
from deltaloom_model.kernels.gated_delta_rule import CHUNK

FILES = {
    "a.py": "".join(f"def first_{i}(x):\n    return x + {i}\n" for i in range(9)),
    "b.py": "".join(f"value_{i} = first({i})\n" for i in range(12)),
    "c.py": "import b\n\nprint(b.value_3)\n",
}


@pytest.fixture
def restored(monkeypatch: pytest.MonkeyPatch) -> list[SavedState]:
    """All states taken up, in order."""
    seen: list[SavedState] = []
    restore = HybridState.restore

    def noting(self: HybridState, saved: SavedState) -> None:
        seen.append(saved)
        restore(self, saved)
        assert self.position == saved.position

    monkeypatch.setattr(HybridState, "restore", noting)
    return seen


def edited(text: str, line: int) -> str:
    lines = text.splitlines(keepends=True)
    lines[line] = "changed = True\n"
    return "".join(lines)


def test_restore_lands_on_the_checkpoint_not_the_divergence(
    new_desk: Callable[..., Any], entered: list[int], restored: list[SavedState]
) -> None:
    desk = new_desk()
    desk.base = dict(FILES)
    desk.sync()
    held = desk.ids
    start_of_b = next(s.start for s in desk.context.sequence.spans if s.path == "b.py")
    before_b = start_of_b - start_of_b % CHUNK
    assert before_b > 0
    desk.base["b.py"] = edited(FILES["b.py"], 6)
    entered.clear()
    result = desk.sync()

    assert result.restored_at == before_b
    assert start_of_b < result.divergence < len(held)
    assert held[: result.divergence].tolist() == desk.ids[: result.divergence].tolist()
    assert held[result.divergence] != desk.ids[result.divergence]
    assert [saved.position for saved in restored] == [before_b]
    assert entered == desk.ids[before_b:].tolist(), "all from the checkpoint on is read again"


def test_every_restore_is_of_exactly_the_tokens_read_so_far(
    new_desk: Callable[..., Any], restored: list[SavedState]
) -> None:
    desk = new_desk()
    desk.base = dict(FILES)
    desk.sync()
    for turn in range(8):
        desk.base["b.py"] = edited(FILES["b.py"], turn)
        unsaved = edited(FILES["b.py"], 11 - turn)
        for act in (
            desk.sync,
            lambda at=3 * turn: desk.complete("c.py", FILES["c.py"], at),
            lambda text=unsaved, at=17 * turn: desk.complete("b.py", text, at),
        ):
            restored.clear()
            act()
            [taken_up], (salt, ids) = restored, desk.lookups[-1]
            prefix = PrefixHash(salt)
            prefix.update(ids[: taken_up.position])
            assert [c.key for c in desk.engine.store if c.state is taken_up] == [prefix.digest()]


def test_undo_is_a_look_up(new_desk: Callable[..., Any], entered: list[int]) -> None:
    desk = new_desk()
    desk.base = dict(FILES)
    before = desk.sync()
    first = desk.end
    desk.base["a.py"] = edited(FILES["a.py"], 0)
    desk.sync()
    assert desk.end is not first
    desk.base = dict(FILES)
    entered.clear()
    after = desk.sync()
    assert (after.read, after.restored_at, after.tokens) == (0, before.tokens, before.tokens)
    assert after.divergence < after.restored_at, "an older version is found beyond where the last one differs"
    assert desk.end is first
    assert entered == []


def test_another_workspaces_state_is_never_taken_up(new_desk: Callable[..., Any]) -> None:
    one = new_desk()
    one.base = dict(FILES)
    one.sync()
    other = new_desk(one.engine, workspace="w2")
    other.base = dict(FILES)
    result = other.sync()
    assert other.ids.tolist() == one.ids.tolist(), "the very same tokens"
    assert (result.restored_at, result.read) == (0, result.tokens)
    same = new_desk(one.engine, session="two")
    same.base = dict(FILES)
    assert same.sync().read == 0, "a second session of the same workspace shares it"


@pytest.mark.parametrize(
    "change",
    [{"hash": "0" * 32}, {"dtype": "bfloat16"}, {"device": "cuda"}, {"quantization": "nf4"}],
    ids=lambda change: next(iter(change)),
)
def test_state_of_another_model_is_never_taken_up(
    new_desk: Callable[..., Any], new_engine: Callable[..., Any], change: dict[str, str]
) -> None:
    """As when checkpoints outlive the process that made them: the store alone must keep them apart."""
    one = new_desk()
    one.base = dict(FILES)
    one.sync()
    info: ModelInfo = msgspec.structs.replace(one.engine.model, **change)
    for given, read_again in ((info, True), (one.engine.model, False)):
        engine = new_engine(given)
        engine.keeper.store = engine.store = one.engine.store
        other = new_desk(engine)
        other.base = dict(FILES)
        result = other.sync()
        assert (result.read > 0) == read_again
