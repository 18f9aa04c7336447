"""TokenSequence: spans lie end to end, divergence is found exactly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltaloom_model.token_sequence import (
    SegmentSpan,
    TokenIds,
    TokenPart,
    TokenSequence,
    common_prefix_length,
)


def ids(*values: int) -> TokenIds:
    return np.array(values, dtype=np.int32)


def test_parts_lie_end_to_end() -> None:
    sequence = TokenSequence.of(
        [
            TokenPart("repo", "", "repository", ids(1, 2)),
            TokenPart("a.py", "d1", "base", ids(3, 4, 5)),
            TokenPart("empty.py", "d2", "base", ids()),
            TokenPart("b.py", "d3", "log", ids(6)),
        ]
    )
    assert list(sequence) == [1, 2, 3, 4, 5, 6]
    assert sequence.spans[1] == SegmentSpan("a.py", "d1", "base", 2, 5)
    assert [sequence.span_at(i).path for i in range(6)] == ["repo", "repo", "a.py", "a.py", "a.py", "b.py"]


def test_empty_sequence() -> None:
    empty = TokenSequence.of([])
    assert len(empty) == 0
    assert empty.ids.dtype == np.int32


def test_ids_cannot_be_written() -> None:
    sequence = TokenSequence.of([TokenPart("a", "d", "base", ids(1, 2))])
    with pytest.raises(ValueError, match="read-only"):
        sequence.ids[0] = 9


def test_spans_that_leave_a_gap_are_refused() -> None:
    with pytest.raises(AssertionError):
        TokenSequence(ids(1, 2, 3), (SegmentSpan("a", "d", "base", 0, 2),))


@given(st.lists(st.integers(0, 3), max_size=60), st.lists(st.integers(0, 3), max_size=60))
def test_common_prefix_equals_counting_one_by_one(a: list[int], b: list[int]) -> None:
    expected = 0
    while expected < min(len(a), len(b)) and a[expected] == b[expected]:
        expected += 1
    assert common_prefix_length(ids(*a), ids(*b)) == expected


@pytest.mark.parametrize("at", [0, 1, 16383, 16384, 16385, 40000, 99999])
def test_common_prefix_of_long_sequences(at: int) -> None:
    first = np.arange(100_000, dtype=np.int32)
    second = first.copy()
    second[at] = -1
    assert common_prefix_length(first, second) == at
    assert common_prefix_length(first, first[: at + 1]) == at + 1
