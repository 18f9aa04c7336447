"""Packing keeps every token and leaves little room."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from deltaloom_model.training.packing import pack, padding_share

PAD = 65_535


def documents_of(lengths: list[int]) -> list[npt.NDArray[np.uint16]]:
    """Each token occurs once over all documents, so that none can be lost or doubled unseen."""
    starts = np.cumsum([0, *lengths])
    return [np.arange(a, b, dtype=np.uint16) for a, b in pairwise(starts)]


@given(st.lists(st.integers(1, 60), max_size=80), st.integers(2, 24))
def test_every_token_stands_once_and_documents_that_fit_stay_whole(lengths: list[int], width: int) -> None:
    documents = documents_of(lengths)
    rows = pack(documents, width, PAD)
    assert rows.shape == (len(rows), width)
    assert sorted(rows[rows != PAD].tolist()) == list(range(sum(lengths)))
    written = [row.tolist() for row in rows]
    for document in documents:
        for start in range(0, len(document), width):
            piece = document[start : start + width].tolist()
            row = next(row for row in written if piece[0] in row)
            at = row.index(piece[0])
            assert row[at : at + len(piece)] == piece


def test_padding_is_under_one_percent_when_short_documents_are_among_them() -> None:
    draw = np.random.default_rng(0)
    lengths = [int(n) for n in draw.integers(5, 700, 150)] + [int(n) for n in draw.integers(3, 40, 60)]
    rows = pack(documents_of(lengths), 512, PAD)
    assert padding_share(rows, PAD) < 0.01


def test_packing_is_deterministic() -> None:
    documents = documents_of([7, 3, 9, 30, 2, 2, 5, 11])
    np.testing.assert_array_equal(pack(documents, 12, PAD), pack(documents, 12, PAD))


def test_no_documents_give_no_rows() -> None:
    assert pack([], 8, PAD).shape == (0, 8)
