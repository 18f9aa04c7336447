"""Pure: completing, also cancelled or for another editor's buffer, leaves all that is kept as it was."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import pytest
from torch import Tensor

BASE = {
    "shop/order.py": "class Order:\n    def total(self) -> int:\n        return sum(self.prices)\n",
    "shop/user.py": "".join(f"user_{i} = Order({i}, name='n{i}')\n" for i in range(10)),
}
OPEN = (
    "from shop.order import Order\n\n\n"
    "def checkout(order: Order) -> int:\n    value = order.\n    return value\n"
)
AT = OPEN.index("order.\n") + len("order.")


def digest(tensor: Tensor) -> bytes:
    return blake2b(tensor.contiguous().numpy().tobytes(), digest_size=16).digest()


@pytest.fixture
def desk(new_desk: Callable[..., Any]) -> Any:
    made = new_desk()
    made.base = dict(BASE)
    made.log = [("shop/order.py", BASE["shop/order.py"].replace("sum", "max"))]
    made.sync()
    return made


@pytest.fixture
def kept(tools: Any) -> Callable[[Any], dict[bytes, list[bytes]]]:
    """Digests of every tensor of every checkpoint, by its key."""

    def look(desk: Any) -> dict[bytes, list[bytes]]:
        engine = desk.engine
        return {c.key: [digest(x) for x in tools.content(engine, c).values()] for c in engine.store}

    return look


Kept = Callable[[Any], dict[bytes, list[bytes]]]


def assert_still_there(before: dict[bytes, list[bytes]], after: dict[bytes, list[bytes]]) -> None:
    assert before.keys() <= after.keys()
    assert all(after[key] == tensors for key, tensors in before.items())


def test_completing_leaves_all_that_is_kept_bit_identical(desk: Any, kept: Kept, tools: Any) -> None:
    first = desk.complete("shop/checkout.py", OPEN, AT, max_new_tokens=40)
    assert first.new_tokens > 5
    before, length = kept(desk), len(desk.ids)
    for at in (AT, AT - 1, AT - 6, 40, 0, len(OPEN)):
        desk.complete("shop/checkout.py", OPEN, at, max_new_tokens=40)
        assert_still_there(before, kept(desk))
        before = kept(desk)
    assert len(desk.ids) == length
    assert set(before) == set(tools.explained(desk)), "nothing is kept but what was asked to be held"
    again = desk.complete("shop/checkout.py", OPEN, AT, max_new_tokens=40)
    assert (again.logits_digest, again.text) == (first.logits_digest, first.text)
    assert kept(desk) == before
    assert desk.sync().read == 0


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 4, 6, 9])
def test_a_completion_cancelled_half_way_leaves_nothing_behind(
    desk: Any, new_desk: Callable[..., Any], kept: Kept, tools: Any, steps: int
) -> None:
    before = kept(desk)
    assert desk.complete("shop/checkout.py", OPEN, AT, most=steps, max_new_tokens=40) is None
    assert_still_there(before, kept(desk))
    assert set(kept(desk)) == set(tools.explained(desk))
    assert desk.sync().read == 0

    undisturbed = new_desk()
    undisturbed.base, undisturbed.log = desk.base, desk.log
    undisturbed.sync()
    expected = undisturbed.complete("shop/checkout.py", OPEN, AT)
    result = desk.complete("shop/checkout.py", OPEN, AT)
    assert (result.logits_digest, result.text) == (expected.logits_digest, expected.text)


@pytest.mark.parametrize("steps", range(6))
def test_a_sync_closed_half_way_leaves_the_held_context_in_use(desk: Any, kept: Kept, steps: int) -> None:
    """Until the next one is whole, completions are answered from the last one that was."""
    answer = desk.complete("shop/checkout.py", OPEN, AT)
    before, ids = kept(desk), desk.ids
    desk.base["shop/order.py"] += "".join(f"ORDER_{i} = Order()\n" for i in range(30))
    assert desk.sync(most=steps) is None
    assert_still_there(before, kept(desk))
    assert desk.ids is ids
    again = desk.complete("shop/checkout.py", OPEN, AT)
    assert (again.logits_digest, again.text, again.read.get("anchor")) == (
        answer.logits_digest, answer.text, None,
    )  # fmt: skip


def test_another_sessions_unsaved_buffer_changes_nothing(
    desk: Any, new_desk: Callable[..., Any], kept: Kept
) -> None:
    answer = desk.complete("shop/checkout.py", OPEN, AT)
    before = kept(desk)
    other = new_desk(desk.engine, session="two")
    other.base, other.log = dict(BASE), []
    other.sync()
    for buffer in ("SECRET = 'only in my buffer'\n" + OPEN, OPEN.replace("value", "secret")):
        other.complete("shop/checkout.py", buffer, AT + 3)
        other.complete("shop/checkout.py", buffer, AT + 3, most=4)
    assert_still_there(before, kept(desk))
    again = desk.complete("shop/checkout.py", OPEN, AT)
    assert (again.logits_digest, again.text) == (answer.logits_digest, answer.text)
    assert again.restored_at == again.context_tokens - again.read["typed"]


def test_sessions_of_one_workspace_do_not_see_each_others_log(
    desk: Any, new_desk: Callable[..., Any], entered: list[int]
) -> None:
    other, alone = new_desk(desk.engine, session="two"), new_desk()
    for fresh in (other, alone):
        fresh.base = dict(BASE)
        fresh.sync()
    assert len(other.ids) < len(desk.ids)
    assert other.ids.tolist() == alone.ids.tolist()
    entered.clear()
    result = other.complete("shop/checkout.py", OPEN, AT)
    expected = alone.complete("shop/checkout.py", OPEN, AT)
    assert (result.logits_digest, result.text) == (expected.logits_digest, expected.text)
    mine = desk.complete("shop/checkout.py", OPEN, AT)
    assert mine.logits_digest != result.logits_digest, "the log does reach its own session's answers"


def test_what_a_session_leaves_behind_is_no_other_sessions_loss(
    desk: Any, new_desk: Callable[..., Any]
) -> None:
    other = new_desk(desk.engine, session="two")
    other.base, other.log = desk.base, desk.log
    other.sync()
    assert other.end is desk.end
    assert desk.end.pins == 2
    desk.engine.forget("two")
    assert desk.end.pins == 1
    assert [context.session for context in desk.engine.status().contexts] == ["one"]
    assert desk.sync().read == 0
    desk.engine.store.check_integrity()


def test_each_context_pins_its_own_end_and_nothing_else(desk: Any, new_desk: Callable[..., Any]) -> None:
    other = new_desk(desk.engine, session="two")
    other.base = dict(BASE)
    for turn in range(3):
        desk.log.append(("shop/user.py", f"user = {turn}\n" * 40))  # some passes long
        assert desk.sync(most=1) is None
        desk.sync()
        desk.sync()
        pinned = {c.key: c.pins for c in desk.engine.store if c.pins}
        assert pinned == {desk.end.key: 1}
    other.sync()
    assert {c.key: c.pins for c in desk.engine.store if c.pins} == {desk.end.key: 1, other.end.key: 1}


def test_a_session_without_a_context_is_answered_from_its_open_file_alone(
    desk: Any, new_desk: Callable[..., Any]
) -> None:
    other = new_desk(desk.engine, session="two")
    result = other.complete("shop/checkout.py", OPEN, AT)
    assert not result.repository_context
    assert result.context_tokens < len(desk.ids)
    assert desk.complete("shop/checkout.py", OPEN, AT).repository_context
