"""Checkpoints: saved states under the chained hash of the tokens they have read.

Invariant (clamped): a checkpoint is found only by the salted hash of exactly the tokens it has read, so a
restore can land on nothing but its own position and content. Undo, a branch switched back and a file gone
back to are look-ups; no list of versions is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b

from torch import Tensor

from deltaloom_model.hybrid_cache import KVSpan, SavedState, span_bytes
from deltaloom_model.token_sequence import TokenIds


class PrefixHash:
    """The chained hash of a growing prefix of token ids. `salt` names workspace, weights, dtype and so on."""

    __slots__ = ("_hash",)

    def __init__(self, salt: bytes) -> None:
        self._hash = blake2b(salt, digest_size=16)

    def update(self, ids: TokenIds) -> None:
        self._hash.update(ids.astype("<i4", copy=False).tobytes())

    def digest(self) -> bytes:
        return self._hash.copy().digest()


@dataclass(slots=True, eq=False)
class Checkpoint:
    """A state that can be restored. `hidden` [hidden] is the last token's final hidden state.

    `parent` is the position of the checkpoint before it in the same sequence: without this one, that many
    tokens (`position - parent`) would be read again.
    """

    key: bytes
    state: SavedState
    hidden: Tensor
    parent: int
    used: int = 0
    pins: int = 0

    @property
    def position(self) -> int:
        return self.state.position

    @property
    def nbytes(self) -> int:
        return self.state.nbytes + self.hidden.numel() * self.hidden.element_size()


class CheckpointStore:
    """All checkpoints of a worker, within two budgets in bytes: their states, and the spans they refer to."""

    def __init__(self, state_budget: int, kv_budget: int) -> None:
        self._state_budget, self._kv_budget = state_budget, kv_budget
        self._held: dict[bytes, Checkpoint] = {}
        self._tick = 0

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[Checkpoint]:
        return iter(self._held.values())

    @property
    def state_bytes(self) -> int:
        return sum(c.nbytes for c in self)

    @property
    def kv_bytes(self) -> int:
        return span_bytes(view for c in self for view in c.state.views)

    def add(self, key: bytes, state: SavedState, hidden: Tensor, parent: int) -> Checkpoint:
        """Keep a state under its prefix hash (or find the one already there), then evict down to budget."""
        found = self._held.get(key)
        if found is None:
            found = self._held[key] = Checkpoint(key, state, hidden, parent)
        self._touch(found)
        self._evict(keep=found)
        return found

    def get(self, key: bytes) -> Checkpoint | None:
        return self._held.get(key)

    def nearest(self, salt: bytes, ids: TokenIds) -> Checkpoint | None:
        """The deepest checkpoint whose tokens are a prefix of `ids`: one pass of hashing over `ids`.

        Never one beyond `len(ids)`, never one whose tokens differ anywhere.
        """
        positions = sorted({c.position for c in self if c.position <= len(ids)})
        prefix, start, best = PrefixHash(salt), 0, None
        for position in positions:
            prefix.update(ids[start:position])
            start = position
            best = self._held.get(prefix.digest()) or best
        if best is not None:
            self._touch(best)
        return best

    def drop_span(self, span: KVSpan) -> None:
        """Evict a span: every checkpoint that refers to it goes with it."""
        for checkpoint in [c for c in self if any(view.span is span for view in c.state.views)]:
            del self._held[checkpoint.key]

    def clear(self) -> None:
        self._held.clear()

    def check_integrity(self) -> None:
        """Hold the store's own invariants; AssertionError says which one broke."""
        for key, c in self._held.items():
            assert key == c.key, "a checkpoint stands under its own hash"
            assert c.position == sum(view.length for view in c.state.views), "its views cover its position"
            assert all(view.length <= view.span.length for view in c.state.views), "views end inside spans"
            assert 0 <= c.parent < c.position or c.position == 0, "its parent stands before it"
            assert c.pins >= 0, "no pin is taken back twice"

    def _touch(self, checkpoint: Checkpoint) -> None:
        self._tick += 1
        checkpoint.used = self._tick

    def _evict(self, keep: Checkpoint) -> None:
        while self.state_bytes > self._state_budget:
            victim = self._least_valuable(keep)
            if victim is None:
                break
            self._remove(victim)
        while self.kv_bytes > self._kv_budget:
            # A checkpoint whose spans all stay for another's sake frees nothing: a context larger than the
            # budget must not lose the checkpoints inside it.
            fixed = {id(v.span) for c in self if c.pins or c is keep for v in c.state.views}
            frees = (c for c in self._free(keep) if any(id(v.span) not in fixed for v in c.state.views))
            oldest = min(frees, key=lambda c: c.used, default=None)
            if oldest is None:
                break
            self._remove(oldest)

    def _free(self, keep: Checkpoint) -> list[Checkpoint]:
        return [c for c in self if not c.pins and c is not keep]

    def _least_valuable(self, keep: Checkpoint) -> Checkpoint | None:
        """All states have one size, so value is tokens saved over age: thin where checkpoints are dense."""

        def worth(c: Checkpoint) -> float:
            return (c.position - c.parent) / (self._tick - c.used + 1)

        return min(self._free(keep), key=worth, default=None)

    def _remove(self, victim: Checkpoint) -> None:
        del self._held[victim.key]
        for other in self:
            # Its successors would now be reached from one step further back.
            if other.parent == victim.position and other.position > victim.position:
                other.parent = victim.parent
