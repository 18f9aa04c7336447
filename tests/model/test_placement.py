"""Places for checkpoints: none better, by trying all of them."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deltaloom_model.kernels.gated_delta_rule import CHUNK
from deltaloom_model.placement import anchor_places, context_places, expected_cost, place
from deltaloom_model.token_sequence import TokenPart, TokenSequence

CANDIDATES = st.dictionaries(st.integers(1, 120), st.sampled_from([0.0, 0.1, 0.5, 1.0, 7.0]), max_size=8)


@given(CANDIDATES, st.integers(0, 9))
def test_no_other_choice_of_as_many_places_costs_less(weights: dict[int, float], most: int) -> None:
    candidates = sorted(weights)
    chances = [weights[at] for at in candidates]
    found = place(candidates, chances, most)
    assert len(found) <= most or most >= len(candidates)
    assert found == sorted(set(found))
    assert set(found) <= set(candidates)
    best = min(
        expected_cost(candidates, chances, choice)
        for count in range(min(most, len(candidates)) + 1)
        for choice in combinations(candidates, count)
    )
    assert abs(expected_cost(candidates, chances, found) - best) < 1e-9


def test_places_by_example() -> None:
    assert place([10, 20, 30], [1.0, 1.0, 1.0], 1) == [20]
    assert place([10, 20, 30], [9.0, 1.0, 1.0], 1) == [10]
    assert place([110, 200], [1.0, 1.0], 1, start=100) == [200], "near what is held anyway, little is gained"


def sequence(*parts: tuple[str, str, int, float]) -> TokenSequence:
    return TokenSequence.of(
        TokenPart(path, "d", kind, np.zeros(length, np.int32), weight)  # type: ignore[arg-type]
        for path, kind, length, weight in parts
    )


def test_a_context_gets_its_places_where_files_are_likely_to_change() -> None:
    held = sequence(
        ("", "repository", 64, 1.0), ("cold.py", "base", 640, 0.01), ("hot.py", "base", 640, 1.0),
        ("cool.py", "base", 640, 0.01), ("live.py", "log", 100, 1.0), ("other.py", "log", 50, 1.0),
    )  # fmt: skip
    log_start = 64 + 3 * 640
    assert context_places(held, 100, {log_start}) == {64, 704, 1344, log_start + 100}
    assert context_places(held, 2, {log_start}) == {704, log_start + 100}
    assert context_places(held, 0, set()) == set()


def test_base_places_are_whole_chunks_before_the_segment() -> None:
    held = sequence(("", "repository", 10, 1.0), ("a.py", "base", 100, 1.0), ("b.py", "base", 100, 1.0))
    places = context_places(held, 10, {210})
    assert places == {64}
    assert all(at % CHUNK == 0 for at in places)


def test_thousands_of_files_are_thinned_out_not_looked_at_for_seconds() -> None:
    held = sequence(*((f"{i}.py", "base", 70, 1.0) for i in range(5000)))
    assert 0 < len(context_places(held, 20, set())) <= 20


def test_an_anchors_places_are_dense_near_the_cursor() -> None:
    places = sorted(anchor_places(1000, 4000, cursor=3500, most=8))
    assert all((at - 1000) % CHUNK == 0 for at in places)
    assert len(places) == 8
    gaps = [b - a for a, b in pairwise(places)]
    assert gaps[0] > 2 * gaps[-2], "far from the cursor they lie further apart"
    assert anchor_places(1000, 1300, 1200, 100) == {1064, 1128, 1192, 1256}
