"""Shards: every file in exactly one, and none moved by another."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from deltaloom_server.lint.shards import in_shard, shard_of

paths = st.text(min_size=1)


@given(paths, st.integers(1, 64))
def test_a_file_is_in_exactly_one_shard(path: str, parts: int) -> None:
    assert sum(in_shard(path, (part, parts)) for part in range(1, parts + 1)) == 1


@given(paths)
def test_without_shards_every_file_is_looked_at(path: str) -> None:
    assert in_shard(path, None)
    assert in_shard(path, (1, 1))


def test_where_a_file_belongs_is_the_same_on_every_machine() -> None:
    places = [shard_of(path, 4) for path in ("a.py", "src/é.py", "x/\udcff.py", "b.py", "c.py")]
    assert places == [2, 4, 3, 1, 2]


def test_shards_are_of_like_size() -> None:
    sizes = Counter(shard_of(f"src/module_{number}.py", 4) for number in range(4000))
    assert min(sizes.values()) > 900
