"""A context as tokens: ids, and which segment each belongs to.

Invariant: the spans of a `TokenSequence` lie end to end from 0 to its length, and its ids never change, so a
position means the same for as long as the sequence lives. Torch-free.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

TokenIds: TypeAlias = NDArray[np.int32]
"""Token ids: int32, one dimension."""

SpanKind = Literal["repository", "base", "log", "anchor"]
"""`repository` is the `<|repo_name|>` header, `anchor` the open file in FIM form."""

_BLOCK = 1 << 14


@dataclass(frozen=True, slots=True)
class SegmentSpan:
    """Positions [start, end) hold this segment, header included. `digest` is that of its text, `weight` says
    how likely it is to change first (`api.Segment.weight`)."""

    path: str
    digest: str
    kind: SpanKind
    start: int
    end: int
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class TokenPart:
    """One segment's tokens before they have a position: what a `TokenSequence` is put together from."""

    path: str
    digest: str
    kind: SpanKind
    ids: TokenIds
    weight: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class TokenSequence:
    """`ids` (int32 [n], read-only) and the spans that cover [0, n) in order.

      repository   base segment      base segment      log segment     anchor
    |------------|-----------------|-----------------|---------------|---------|
    0          spans[0].end      spans[1].end                                  n
    """

    ids: TokenIds
    spans: tuple[SegmentSpan, ...]

    def __post_init__(self) -> None:
        position = 0
        for span in self.spans:
            assert span.start == position <= span.end, "spans must lie end to end"
            position = span.end
        assert position == len(self.ids), "spans must cover all ids"
        assert self.ids.dtype == np.int32
        self.ids.flags.writeable = False

    @classmethod
    def of(cls, parts: Iterable[TokenPart]) -> TokenSequence:
        """Lay the parts out one after the other."""
        held = list(parts)
        spans: list[SegmentSpan] = []
        start = 0
        for part in held:
            end = start + len(part.ids)
            spans.append(SegmentSpan(part.path, part.digest, part.kind, start, end, part.weight))
            start = end
        ids = np.concatenate([part.ids for part in held]) if held else np.empty(0, np.int32)
        return cls(ids.astype(np.int32, copy=False), tuple(spans))

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[int]:
        return iter(self.ids.tolist())

    def ids_between(self, start: int, end: int) -> TokenIds:
        """The ids at positions [start, end), a view."""
        assert 0 <= start <= end <= len(self.ids)
        return self.ids[start:end]

    def span_index(self, position: int) -> int:
        """The index of the span that holds `position` (0 <= position < len)."""
        assert 0 <= position < len(self.ids)
        # Empty spans share their start with the next one: the last span that starts here holds the token.
        return bisect_right(self.spans, position, key=lambda span: span.start) - 1

    def span_at(self, position: int) -> SegmentSpan:
        """The span that holds `position` (0 <= position < len)."""
        return self.spans[self.span_index(position)]


def common_prefix_length(first: TokenIds, second: TokenIds) -> int:
    """How many leading ids are equal: the divergence, or the shorter length.

    Compares block by block, so sequences that differ early cost little.
    """
    length = min(len(first), len(second))
    for start in range(0, length, _BLOCK):
        end = min(start + _BLOCK, length)
        differ = first[start:end] != second[start:end]
        if differ.any():
            return start + int(differ.argmax())
    return length
