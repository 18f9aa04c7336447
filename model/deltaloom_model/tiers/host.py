"""The host tier: checkpoints that had to leave the GPU's memory, in pinned memory beside it.

Invariant: what is taken up again is, bit for bit, what was evicted; spans that several checkpoints share are
copied and counted once, and never more than the budget is held.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor

from deltaloom_model.api import TierInfo
from deltaloom_model.checkpoint import Checkpoint, Contents, PrefixHash
from deltaloom_model.hybrid_cache import KVSpan, SavedState, SpanView
from deltaloom_model.token_sequence import TokenIds


@dataclass(eq=False)
class _HostSpan:
    """A span's first `length` tokens, in buffers of its whole capacity, each [attention layers, key heads,
    capacity, width]."""

    keys: Tensor
    values: Tensor
    length: int = 0
    holders: int = 0
    again: ref[KVSpan] | None = None  # the same on the device, while something there uses it

    @property
    def nbytes(self) -> int:
        return 2 * self.keys.numel() * self.keys.element_size()


@dataclass(eq=False)
class _HostCheckpoint:
    position: int
    recurrent: Tensor
    conv: Tensor
    hidden: Tensor
    contents: Contents
    views: tuple[tuple[_HostSpan, int], ...]

    @property
    def nbytes(self) -> int:
        return sum(x.numel() * x.element_size() for x in (self.recurrent, self.conv, self.hidden))


class HostTier:
    """`budget` in bytes; 0 keeps nothing."""

    def __init__(self, budget: int, device: torch.device) -> None:
        self._budget, self._device = budget, device
        self._held: OrderedDict[bytes, _HostCheckpoint] = OrderedDict()  # the least recently used first
        self._positions: Counter[int] = Counter()
        # Weak on both sides: only the checkpoints held here keep a copy, only those there keep a span.
        self._copies: WeakKeyDictionary[KVSpan, ref[_HostSpan]] = WeakKeyDictionary()
        self._used = 0
        self._hits = 0

    def take(self, checkpoint: Checkpoint) -> None:
        """Copy a checkpoint that is being evicted; nothing if it is larger than the budget."""
        if checkpoint.key in self._held or not self._budget:
            return
        views = tuple((self._copied(view.span), view.length) for view in checkpoint.state.views)
        held = _HostCheckpoint(
            checkpoint.position,
            self._to_host(checkpoint.state.recurrent),
            self._to_host(checkpoint.state.conv),
            self._to_host(checkpoint.hidden),
            checkpoint.contents,
            views,
        )
        self._held[checkpoint.key] = held
        self._positions[held.position] += 1
        self._used += held.nbytes
        for span in {id(span): span for span, _ in views}.values():
            span.holders += 1
            self._used += span.nbytes if span.holders == 1 else 0
        while self._used > self._budget:
            self._drop(next(iter(self._held)))

    def nearest(self, prefix: PrefixHash, ids: TokenIds, at: int) -> tuple[bytes, int] | None:
        """Key and position of the deepest one on this line (see `CheckpointStore.nearest`)."""
        positions = sorted(p for p in self._positions if at < p <= at + len(ids))
        best = None
        for position, digest in prefix.digests(ids, at, positions):
            best = (digest, position) if digest in self._held else best
        return best

    def bring_back(self, key: bytes) -> tuple[SavedState, Tensor, Contents]:
        """State, hidden state and contents, on the model's device again. The copy here stays."""
        held = self._held[key]
        self._held.move_to_end(key)
        self._hits += 1
        state = SavedState(
            held.position,
            held.recurrent.to(self._device, copy=True),
            held.conv.to(self._device, copy=True),
            tuple(SpanView(self._span_again(span, length), length) for span, length in held.views),
        )
        return state, held.hidden.to(self._device, copy=True), held.contents

    def purge(self, workspace: str, paths: Collection[str]) -> int:
        """Drop what has read one of these files; returns how many checkpoints."""
        doomed = []
        for key, held in self._held.items():
            first = held.contents.first_of(paths) if held.contents.workspace == workspace else None
            if first is not None and held.position > first:
                doomed.append(key)
        for key in doomed:
            self._drop(key)
        return len(doomed)

    def info(self) -> TierInfo:
        """What `status` shows."""
        return TierInfo("host", self._budget, self._used, len(self._held), self._hits)

    def _empty(self, like: Tensor) -> Tensor:
        return torch.empty(like.shape, dtype=like.dtype, pin_memory=self._device.type == "cuda")

    def _to_host(self, tensor: Tensor) -> Tensor:
        return self._empty(tensor).copy_(tensor)

    def _copied(self, span: KVSpan) -> _HostSpan:
        known = self._copies.get(span)
        copy = known() if known is not None else None
        if copy is None:
            copy = _HostSpan(self._empty(span.keys), self._empty(span.values))
            self._copies[span] = ref(copy)
        if copy.length < span.length:  # it has grown since
            new = slice(copy.length, span.length)
            copy.keys[:, :, new] = span.keys[:, :, new]
            copy.values[:, :, new] = span.values[:, :, new]
            copy.length = span.length
        return copy

    def _span_again(self, copy: _HostSpan, length: int) -> KVSpan:
        span = copy.again() if copy.again is not None else None
        if span is None or span.length < length:
            written = slice(0, copy.length)
            keys, values = (x[:, :, written].to(self._device, copy=True) for x in (copy.keys, copy.values))
            span = KVSpan.of(keys, values)
            copy.again = ref(span)
            self._copies[span] = ref(copy)
        assert span.length >= length
        return span

    def _drop(self, key: bytes) -> None:
        held = self._held.pop(key)
        self._positions -= Counter((held.position,))
        self._used -= held.nbytes
        for span in {id(span): span for span, _ in held.views}.values():
            span.holders -= 1
            self._used -= 0 if span.holders else span.nbytes
