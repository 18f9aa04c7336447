"""Checkpoints: saved states under the chained hash of the tokens they have read, within two budgets.

Invariant (clamped): a checkpoint is found only by the salted hash of exactly the tokens it has read, so a
restore can land on nothing but its own position and content. Undo, a branch switched back and a file gone
back to are look-ups; no list of versions is kept.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b

from torch import Tensor

from deltaloom_model.hybrid_cache import KVSpan, SavedState
from deltaloom_model.token_sequence import SegmentSpan, TokenIds

_SLACK = 32
"""Eviction frees up to 1/32 of a budget beyond what it must, so that it isn't due again at once."""


class PrefixHash:
    """The chained hash of a growing prefix of token ids. `salt` names workspace, weights, dtype and so on."""

    __slots__ = ("_hash",)

    def __init__(self, salt: bytes) -> None:
        self._hash = blake2b(salt, digest_size=16)

    def update(self, ids: TokenIds) -> None:
        self._hash.update(ids.astype("<i4", copy=False).tobytes())

    def digest(self) -> bytes:
        return self._hash.copy().digest()

    def copy(self) -> PrefixHash:
        twin = PrefixHash.__new__(PrefixHash)
        twin._hash = self._hash.copy()
        return twin

    def digests(self, ids: TokenIds, at: int, positions: Collection[int]) -> Iterator[tuple[int, bytes]]:
        """(position, digest) for these ascending positions, where this hash has read `at` tokens and `ids`
        come next. This hash stays as it is."""
        prefix, start = self.copy(), at
        for position in positions:
            prefix.update(ids[start - at : position - at])
            start = position
            yield position, prefix.digest()


@dataclass(frozen=True, slots=True, eq=False)
class Contents:
    """Which segments a line of tokens consists of: all of `before`, then `spans`. Needed to purge files."""

    workspace: str
    spans: tuple[SegmentSpan, ...]
    before: Contents | None = None

    def first_of(self, paths: Collection[str]) -> int | None:
        """The position of the first token that belongs to one of these files; None where there is none."""
        found = self.before.first_of(paths) if self.before is not None else None
        if found is not None:
            return found
        return next((span.start for span in self.spans if span.path in paths), None)


@dataclass(slots=True, eq=False)
class Checkpoint:
    """A state that can be restored. `hidden` [hidden] is the last token's final hidden state.

    `parent` is the kept checkpoint before it in the same sequence: without this one, the tokens from there
    on would be read again.
    """

    key: bytes
    state: SavedState
    hidden: Tensor
    contents: Contents
    parent: Checkpoint | None
    children: set[Checkpoint] = field(default_factory=set)
    used: int = 0
    pins: int = 0

    @property
    def position(self) -> int:
        return self.state.position

    @property
    def gap(self) -> int:
        """Tokens from the parent to here."""
        return self.position - (self.parent.position if self.parent else 0)

    @property
    def nbytes(self) -> int:
        return self.state.nbytes + self.hidden.numel() * self.hidden.element_size()

    def chain(self) -> list[Checkpoint]:
        """All kept checkpoints of this sequence up to this one, in order."""
        found: list[Checkpoint] = []
        at: Checkpoint | None = self
        while at is not None:
            found.append(at)
            at = at.parent
        return found[::-1]


@dataclass(slots=True)
class _HeldSpan:
    span: KVSpan
    holders: int = 0


class CheckpointStore:
    """All checkpoints where the model runs, within two budgets in bytes: their states, and their KV spans.

    `cost(a, b)` says what reading tokens a to b costs (FLOPs). What is evicted has the least worth: cost
    saved per byte freed, fading with the time since it was last used (FLOP-aware eviction, Marconi, arXiv
    2411.19379). `on_evict` sees each checkpoint that leaves for want of room.
    """

    def __init__(
        self,
        state_budget: int,
        kv_budget: int,
        cost: Callable[[int, int], float] = lambda start, end: float(end - start),
        on_evict: Callable[[Checkpoint], None] = lambda checkpoint: None,
    ) -> None:
        self.state_budget, self.kv_budget = state_budget, kv_budget
        self.state_bytes = 0
        self.kv_bytes = 0
        self._cost, self._on_evict = cost, on_evict
        self._held: dict[bytes, Checkpoint] = {}
        self._positions: Counter[int] = Counter()
        self._spans: dict[int, _HeldSpan] = {}
        self._tick = 0

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[Checkpoint]:
        return iter(self._held.values())

    def add(
        self, key: bytes, state: SavedState, hidden: Tensor, parent: Checkpoint | None, contents: Contents
    ) -> Checkpoint:
        """Keep a state under its prefix hash (or find the one already there), then evict down to budget."""
        found = self._held.get(key)
        if found is None:
            if parent is not None:  # it may have been evicted meanwhile, or even made again
                parent = self._held.get(parent.key)
            found = self._insert(Checkpoint(key, state, hidden, contents, parent))
        self._touch(found)
        self._evict(keep=found)
        return found

    def get(self, key: bytes) -> Checkpoint | None:
        return self._held.get(key)

    def nearest(self, prefix: PrefixHash, ids: TokenIds, at: int = 0) -> Checkpoint | None:
        """The deepest checkpoint behind position `at` whose tokens are those of `prefix`, then a prefix of
        `ids`: one pass of hashing over `ids`. `prefix` has read `at` tokens.

        Never one beyond `at + len(ids)`, never one whose tokens differ anywhere.
        """
        best = None
        positions = sorted(p for p in self._positions if at < p <= at + len(ids))
        for _, digest in prefix.digests(ids, at, positions):
            best = self._held.get(digest) or best
        if best is not None:
            self._touch(best)
        return best

    def trim(self) -> None:
        """Evict down to budget: something was pinned until now."""
        newest = max(self, key=lambda c: c.used, default=None)
        if newest is not None:
            self._evict(keep=newest)

    def drop_span(self, span: KVSpan) -> None:
        """Evict a span: every checkpoint that refers to it goes with it."""
        for checkpoint in [c for c in self if any(view.span is span for view in c.state.views)]:
            self._remove(checkpoint)

    def purge(self, workspace: str, paths: Collection[str]) -> int:
        """Drop every checkpoint of `workspace` that has read one of these files; returns how many.

        Pinned ones as well: whoever holds them must let go of them.
        """
        firsts: dict[int, int | None] = {}
        doomed: list[Checkpoint] = []
        for checkpoint in self:
            contents = checkpoint.contents
            if contents.workspace != workspace:
                continue
            if id(contents) not in firsts:
                firsts[id(contents)] = contents.first_of(paths)
            first = firsts[id(contents)]
            if first is not None and checkpoint.position > first:
                doomed.append(checkpoint)
        for checkpoint in doomed:
            self._remove(checkpoint)
        return len(doomed)

    def clear(self) -> None:
        for checkpoint in list(self):
            self._remove(checkpoint)

    def check_integrity(self) -> None:
        """Hold the store's own invariants; AssertionError says which one broke."""
        spans: Counter[int] = Counter()
        for key, c in self._held.items():
            assert key == c.key, "a checkpoint stands under its own hash"
            assert c.position == sum(view.length for view in c.state.views), "its views cover its position"
            assert all(view.length <= view.span.length for view in c.state.views), "views end inside spans"
            assert c.gap > 0 or c.position == 0, "its parent stands before it"
            assert c.pins >= 0, "no pin is taken back twice"
            if c.parent is not None:
                assert self._held.get(c.parent.key) is c.parent, "its parent is kept"
                assert c in c.parent.children, "its parent knows it"
            assert all(child.parent is c for child in c.children), "its children know it"
            spans.update({id(view.span) for view in c.state.views})
        assert dict(spans) == {k: held.holders for k, held in self._spans.items()}, "spans are counted"
        assert self.kv_bytes == sum(held.span.nbytes for held in self._spans.values()), "KV bytes are counted"
        assert self.state_bytes == sum(c.nbytes for c in self), "state bytes are counted"
        assert self._positions == Counter(c.position for c in self), "positions are counted"

    # --- in and out -------------------------------------------------------------------------------------

    def _insert(self, checkpoint: Checkpoint) -> Checkpoint:
        self._held[checkpoint.key] = checkpoint
        self._positions[checkpoint.position] += 1
        self.state_bytes += checkpoint.nbytes
        if checkpoint.parent is not None:
            checkpoint.parent.children.add(checkpoint)
        for key, span in {id(view.span): view.span for view in checkpoint.state.views}.items():
            held = self._spans.setdefault(key, _HeldSpan(span))
            held.holders += 1
            self.kv_bytes += span.nbytes if held.holders == 1 else 0
        return checkpoint

    def _remove(self, victim: Checkpoint) -> None:
        del self._held[victim.key]
        self._positions -= Counter((victim.position,))
        self.state_bytes -= victim.nbytes
        for child in victim.children:  # from now on these are reached from one step further back
            child.parent = victim.parent
        if victim.parent is not None:
            victim.parent.children.discard(victim)
            victim.parent.children |= victim.children
        victim.children = set()
        victim.parent = None
        for key in {id(view.span) for view in victim.state.views}:
            held = self._spans[key]
            held.holders -= 1
            if not held.holders:
                self.kv_bytes -= held.span.nbytes
                del self._spans[key]

    def _touch(self, checkpoint: Checkpoint) -> None:
        self._tick += 1
        checkpoint.used = self._tick

    # --- eviction ---------------------------------------------------------------------------------------

    def _evict(self, keep: Checkpoint) -> None:
        if self.state_bytes > self.state_budget:
            self._evict_states(keep, _with_slack(self.state_budget, keep.nbytes))
        if self.kv_bytes > self.kv_budget:
            newest = keep.state.views[-1].span.nbytes if keep.state.views else self.kv_budget
            self._evict_spans(keep, _with_slack(self.kv_budget, newest))

    def _worth(self, c: Checkpoint) -> float:
        saved = self._cost(c.position - c.gap, c.position)
        return saved / c.nbytes / (self._tick - c.used + 1)

    def _evict_states(self, keep: Checkpoint, down_to: int) -> None:
        heap = [(self._worth(c), c.used, c) for c in self if not c.pins and c is not keep]
        heapq.heapify(heap)
        while heap and self.state_bytes > down_to:
            worth, used, victim = heapq.heappop(heap)
            now = self._worth(victim)
            if now > worth:  # its parent has gone: more would have to be read again without it
                heapq.heappush(heap, (now, used, victim))
                continue
            self._on_evict(victim)
            self._remove(victim)

    def _evict_spans(self, keep: Checkpoint, down_to: int) -> None:
        # A span whose holders all stay for another's sake frees nothing: a context larger than the budget
        # must not lose the checkpoints inside it.
        fixed = {id(v.span) for c in self if c.pins or c is keep for v in c.state.views}
        holders: dict[int, list[Checkpoint]] = {}
        for c in self:
            for key in {id(view.span) for view in c.state.views} - fixed:
                holders.setdefault(key, []).append(c)

        def worth(key: int) -> float:
            span, mine = self._spans[key].span, holders[key]
            end = max(c.position for c in mine)
            saved = self._cost(max(end - span.length, 0), end)
            return saved / span.nbytes / (self._tick - max(c.used for c in mine) + 1)

        for key in sorted(holders, key=worth):
            if self.kv_bytes <= down_to:
                break
            if key in self._spans:
                for victim in [c for c in holders[key] if c.key in self._held]:
                    self._on_evict(victim)
                    self._remove(victim)


def _with_slack(budget: int, size: int) -> int:
    """How far to evict: some whole entries of this size below the budget, none where few fit into it."""
    return budget - budget // _SLACK // size * size
