"""The store: found by exactly its tokens, within its budgets, pinned ones kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deltaloom_model.checkpoint import Checkpoint, CheckpointStore, Contents, PrefixHash
from deltaloom_model.hybrid_cache import HybridState, KVSpan, SavedState, SpanView
from deltaloom_model.loading.config import HybridConfig
from deltaloom_model.token_sequence import TokenIds

CONFIG = HybridConfig(
    vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=1,
    num_key_value_heads=1, head_dim=8, linear_key_head_dim=4, linear_value_head_dim=4,
    linear_num_key_heads=1, linear_num_value_heads=1,
    layer_types=("linear_attention", "full_attention"),
)  # fmt: skip
SALT = b"workspace"
CONTENTS = Contents("w", ())
PLENTY = 1 << 30
CPU = torch.device("cpu")


def ids(*values: int) -> TokenIds:
    return np.array(values, dtype=np.int32)


def key(tokens: TokenIds, salt: bytes = SALT) -> bytes:
    prefix = PrefixHash(salt)
    prefix.update(tokens)
    return prefix.digest()


def new_span(tokens: int, capacity: int = 64) -> KVSpan:
    span = KVSpan(CONFIG, capacity, torch.float32, CPU)
    span.length = tokens
    return span


def state_at(position: int, *views: SpanView) -> SavedState:
    saved = HybridState(CONFIG, torch.float32, CPU).save()
    if not views:
        views = (SpanView(new_span(position, max(position, 64)), position),)
    return replace(saved, position=position, views=views)


def keep(
    store: CheckpointStore,
    tokens: TokenIds,
    parent: Checkpoint | None = None,
    *,
    views: tuple[SpanView, ...] = (),
    salt: bytes = SALT,
) -> Checkpoint:
    return store.add(key(tokens, salt), state_at(len(tokens), *views), torch.zeros(16), parent, CONTENTS)


def a_checkpoint_takes() -> int:
    return keep(CheckpointStore(PLENTY, PLENTY), ids(1)).nbytes


def positions(store: CheckpointStore) -> list[int]:
    return sorted(c.position for c in store)


def test_nearest_is_the_deepest_whose_tokens_are_all_shared() -> None:
    store = CheckpointStore(PLENTY, PLENTY)
    text = np.arange(100, dtype=np.int32)
    for length in (10, 40, 70):
        keep(store, text[:length])
    changed = text.copy()
    changed[40] = 999
    for asked, expected in ((text, 70), (changed, 40), (text[:39], 10), (text[:10], 10)):
        found = store.nearest(PrefixHash(SALT), asked)
        assert found is not None
        assert found.position == expected
        assert found.key == key(asked[:expected])
    assert store.nearest(PrefixHash(SALT), text[:9]) is None
    changed[0] = 999
    assert store.nearest(PrefixHash(SALT), changed) is None


@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=12), max_size=12), st.data())
def test_nearest_equals_looking_at_every_prefix(kept: list[list[int]], data: st.DataObject) -> None:
    store = CheckpointStore(PLENTY, PLENTY)
    for tokens in kept:
        keep(store, ids(*tokens))
    asked = data.draw(st.lists(st.integers(0, 1), max_size=14))
    shared = [tokens for tokens in kept if asked[: len(tokens)] == tokens]
    found = store.nearest(PrefixHash(SALT), ids(*asked))
    assert (found.position if found else 0) == max(map(len, shared), default=0)
    store.check_integrity()


@pytest.mark.parametrize("salt", [b"other", b"", b"workspac", SALT + b"\0"])
def test_another_salt_finds_nothing(salt: bytes) -> None:
    store = CheckpointStore(PLENTY, PLENTY)
    keep(store, ids(1, 2, 3))
    assert store.nearest(PrefixHash(salt), ids(1, 2, 3)) is None
    keep(store, ids(1, 2), salt=salt)
    found = store.nearest(PrefixHash(salt), ids(1, 2, 3))
    assert found is not None
    assert found.position == 2


def test_the_hash_depends_on_the_ids_not_on_how_they_were_fed() -> None:
    prefix = PrefixHash(SALT)
    for part in (ids(1), ids(), ids(2, 3)):
        prefix.update(part)
    assert prefix.digest() == key(ids(1, 2, 3)) == key(np.array([1, 2, 3], dtype=np.int64))
    assert prefix.digest() == prefix.digest(), "asking does not change it"
    assert key(ids(1, 2, 3)) != key(ids(1, 2, 3, 0))


def test_the_same_tokens_are_kept_once() -> None:
    store = CheckpointStore(PLENTY, PLENTY)
    first = keep(store, ids(1, 2))
    assert keep(store, ids(1, 2)) is first
    assert len(store) == 1
    assert store.get(first.key) is first


def test_states_stay_within_their_budget_and_the_densest_go_first() -> None:
    store = CheckpointStore(4 * a_checkpoint_takes(), PLENTY)
    text = np.arange(1000, dtype=np.int32)
    parent = None
    for length in (300, 310, 600, 900):
        parent = keep(store, text[:length], parent)
    assert store.state_bytes == 4 * a_checkpoint_takes()
    keep(store, text, parent)
    assert store.state_bytes <= 4 * a_checkpoint_takes()
    assert positions(store) == [300, 600, 900, 1000], "310 would save 10 tokens, the others hundreds"
    store.check_integrity()


def test_what_was_used_long_ago_goes_before_what_is_used() -> None:
    store = CheckpointStore(3 * a_checkpoint_takes(), PLENTY)
    branches = [ids(*[branch] * 10) for branch in range(5)]
    for branch in branches[:3]:
        keep(store, branch)
    assert store.nearest(PrefixHash(SALT), branches[0]) is not None  # a use
    keep(store, branches[3])
    assert [store.get(key(branch)) is not None for branch in branches[:4]] == [True, False, True, True]


def test_pinned_checkpoints_and_the_new_one_outlive_any_pressure() -> None:
    store = CheckpointStore(1, 1)
    pinned = keep(store, ids(1))
    pinned.pins += 1
    for length in range(2, 8):
        newest = keep(store, ids(*range(length)))
        assert set(store) == {pinned, newest}
    pinned.pins -= 1
    keep(store, ids(9))
    assert len(store) == 1


def test_when_one_goes_its_successors_are_reached_from_the_one_before() -> None:
    store = CheckpointStore(3 * a_checkpoint_takes(), PLENTY)
    text = np.arange(400, dtype=np.int32)
    first = keep(store, text[:100])
    dense = keep(store, text[:101], first)
    last = keep(store, text[:200], dense)
    end = keep(store, text[:400], last)
    assert positions(store) == [100, 200, 400]
    assert last.parent is first
    assert end.parent is last
    store.check_integrity()


def test_spans_stay_within_their_budget_and_the_longest_unused_go() -> None:
    one = new_span(64).nbytes
    store = CheckpointStore(PLENTY, 2 * one)
    branches = [ids(*[branch] * 10) for branch in range(4)]
    for branch in branches:
        keep(store, branch)
        assert store.kv_bytes <= 2 * one
    assert [store.get(key(branch)) is not None for branch in branches] == [False, False, True, True]


def test_a_span_shared_by_many_checkpoints_is_counted_once() -> None:
    span = new_span(60)
    store = CheckpointStore(PLENTY, PLENTY)
    for length in (20, 40, 60):
        keep(store, ids(*range(length)), views=(SpanView(span, length),))
    assert store.kv_bytes == span.nbytes


def test_nothing_is_evicted_that_would_free_no_span() -> None:
    """A context larger than the budget keeps the checkpoints inside it: their spans stay anyway."""
    span, other = new_span(60), new_span(30)
    store = CheckpointStore(PLENTY, span.nbytes // 2)
    keep(store, ids(*[7] * 30), views=(SpanView(other, 30),))
    for length in (20, 40, 60):
        keep(store, ids(*range(length)), views=(SpanView(span, length),))
    assert positions(store) == [20, 40, 60]
    held = max(store, key=lambda c: c.position)
    held.pins += 1
    keep(store, ids(*[8] * 30), views=(SpanView(other, 30),))
    assert positions(store) == [20, 30, 40, 60]
    held.pins -= 1
    keep(store, ids(*[9] * 30), views=(SpanView(new_span(30), 30),))
    assert positions(store) == [30], "without the pin, the span that is over budget goes whole"


def test_evicting_a_span_drops_every_checkpoint_that_refers_to_it() -> None:
    first, second = new_span(10), new_span(5)
    store = CheckpointStore(PLENTY, PLENTY)
    alone = keep(store, ids(*range(4)), views=(SpanView(first, 4),))
    keep(store, ids(*range(12)), views=(SpanView(first, 10), SpanView(second, 2)))
    keep(store, ids(*range(15)), views=(SpanView(first, 10), SpanView(second, 5)))
    store.drop_span(second)
    assert list(store) == [alone]
    assert store.kv_bytes == first.nbytes
    store.drop_span(first)
    assert len(store) == 0


def test_clear_forgets_everything() -> None:
    store = CheckpointStore(PLENTY, PLENTY)
    keep(store, ids(1))
    store.clear()
    assert (len(store), store.state_bytes, store.kv_bytes) == (0, 0, 0)


def _under_another_key(c: Checkpoint) -> None:
    c.key = key(ids(4, 4))


def _one_token_deeper(c: Checkpoint) -> None:
    c.state = replace(c.state, position=c.position + 1)


def _view_beyond_its_span(c: Checkpoint) -> None:
    c.state.views[0].span.length -= 1


def _parent_behind(c: Checkpoint) -> None:
    c.parent = c


def _unpinned_twice(c: Checkpoint) -> None:
    c.pins = -1


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_under_another_key, "its own hash"),
        (_one_token_deeper, "cover its position"),
        (_view_beyond_its_span, "end inside spans"),
        (_parent_behind, "stands before it"),
        (_unpinned_twice, "taken back twice"),
    ],
)
def test_check_integrity_says_what_is_damaged(damage: Callable[[Checkpoint], None], said: str) -> None:
    store = CheckpointStore(PLENTY, PLENTY)
    checkpoint = keep(store, ids(1, 2, 3))
    store.check_integrity()
    damage(checkpoint)
    with pytest.raises(AssertionError, match=said):
        store.check_integrity()
