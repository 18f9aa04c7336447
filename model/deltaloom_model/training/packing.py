"""Packs documents into rows of equal length.

Invariant: every token of every document stands in exactly one row, documents of at most one row's length
uncut, and the rows depend only on the documents' order.

Best fit: a document goes into the fullest open row that still has room for it. Longer documents are cut
into whole rows first, so only their last piece is placed that way.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Tokens = npt.NDArray[np.uint16]


def pack(documents: Sequence[Tokens], width: int, pad: int) -> Tokens:
    """Rows uint16 [n, width]. The rest of a row that no document fits is filled with `pad`.

    Documents are placed longest first (best-fit decreasing), which leaves under 1% of padding as long as
    short documents are among them.
    """
    pieces = [piece for document in documents for piece in cut(document, width)]
    order = sorted(range(len(pieces)), key=lambda index: (-len(pieces[index]), index))
    rows: list[list[int]] = []
    room: list[int] = []
    # (room left, row) of every open row, sorted, so that the tightest fit is one bisection away.
    open_rows: list[tuple[int, int]] = []
    for index in order:
        size = len(pieces[index])
        at = bisect_left(open_rows, (size, -1))
        if at < len(open_rows):
            left, row = open_rows.pop(at)
        else:
            left, row = width, len(rows)
            rows.append([])
            room.append(width)
        rows[row].append(index)
        room[row] = left - size
        if room[row]:
            insort(open_rows, (room[row], row))
    packed = np.full((len(rows), width), pad, np.uint16)
    for row, members in enumerate(rows):
        position = 0
        for index in sorted(members):
            packed[row, position : position + len(pieces[index])] = pieces[index]
            position += len(pieces[index])
    return packed


def cut(document: Tokens, width: int) -> list[Tokens]:
    """A document in pieces of at most `width` tokens, in order."""
    return [document[start : start + width] for start in range(0, len(document), width)]


def padding_share(rows: Tokens, pad: int) -> float:
    """Which share of the rows' tokens is padding (`pad` must not occur in documents)."""
    return float(np.mean(rows == pad)) if rows.size else 0.0
