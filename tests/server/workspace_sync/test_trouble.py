"""Another worker, failures and stops: what is believed to be in place was confirmed by the present worker."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from deltaloom_model.errors import RequestFailed

# -- the worker is another, or in trouble --------------------------------------------------------------------


async def test_a_new_worker_is_given_everything_again(rig: Any) -> None:
    await rig.begin()
    rig.open("d.py", "d = 4\n")
    await rig.sync.flush()
    rig.client.lose_everything()
    assert not rig.sync.is_current
    rig.sync.worker_changed()
    await rig.events.until(lambda: rig.sync.is_current)
    assert rig.shown == {**rig.files, "d.py": "d = 4\n"}


async def test_a_worker_that_is_not_ready_is_not_given_anything(rig: Any) -> None:
    await rig.begin()
    before = len(rig.client.syncs)
    rig.client.lose_everything()
    rig.client.state = "starting"
    rig.sync.worker_changed()
    await rig.sync.flush()
    assert len(rig.client.syncs) == before


async def test_a_file_that_is_another_by_now_is_read_anew_for_a_new_worker(rig: Any) -> None:
    await rig.begin()
    rig.client.lose_everything()
    (rig.root / "b.py").write_text("b = 20\n")
    rig.sync.worker_changed()
    await rig.events.until(lambda: rig.sync.is_current)
    assert rig.shown == {**rig.files, "b.py": "b = 20\n"}


async def test_a_worker_that_was_replaced_during_a_sync_confirms_nothing(rig: Any) -> None:
    await rig.begin()
    rig.client.open_gate.clear()
    rig.open("d.py", "d = 4\n")
    flush = asyncio.create_task(rig.sync.flush())
    await rig.events.until(lambda: rig.client.busy == 1)
    rig.client.generation += 1
    rig.client.open_gate.set()
    await flush
    await rig.events.until(lambda: rig.sync.is_current)
    assert rig.shown == {**rig.files, "d.py": "d = 4\n"}
    assert rig.sync.held_number == 2


async def test_a_superseded_sync_confirms_nothing(rig: Any) -> None:
    rig.client.supersede = 2
    await rig.begin()
    assert rig.sync.is_current
    assert rig.sync.held_number == 1
    assert len(rig.client.syncs) == 3


async def test_a_failure_is_told_once_and_tried_again(rig: Any) -> None:
    rig.client.errors = [RequestFailed("Out of memory."), RequestFailed("Out of memory.")]
    seen: list[tuple[str, str]] = []
    rig.sync._on_change = lambda: (seen.append((rig.sync.state, rig.sync.detail)), rig.events.note())  # type: ignore[assignment]
    await rig.begin()
    assert seen.count(("unavailable", "Out of memory.")) == 2
    assert rig.server.told == ["Out of memory."]
    assert rig.sync.is_current
    assert rig.sync.detail == ""
    assert rig.server.notices.told == ()


async def test_a_failure_of_our_own_is_told_without_its_words(rig: Any) -> None:
    rig.client.errors = [ValueError("a = 1")]
    await rig.begin()
    assert rig.server.told == ["Reading the repository failed; see `deltaloom logs`."]
    assert rig.sync.is_current


async def test_a_failure_while_files_are_counted_leaves_none_of_them_out(rig: Any) -> None:
    rig.client.count_errors = [RequestFailed("Out of memory.")]
    await rig.begin()
    assert rig.sync.is_current
    assert rig.shown == rig.files


@pytest.mark.parametrize(("state", "attempts"), [("failed", 1), ("ready", 4)])
async def test_trying_again_ends(
    rig: Any, state: str, attempts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    delays: list[float] = []
    later = rig.sync._later
    monkeypatch.setattr(rig.sync, "_later", lambda *a: (delays.append(a[1]), later(*a)))
    rig.client.state = state
    rig.client.errors = [RequestFailed("No room.")] * 10
    rig.sync.start()
    await rig.events.until(lambda: len(rig.client.errors) == 10 - attempts)
    await rig.until("unavailable")
    assert len(delays) == attempts - 1
    rig.client.errors = []
    rig.client.state = "ready"
    rig.sync.worker_changed()
    await rig.events.until(lambda: rig.sync.is_current)
    assert len(rig.client.syncs) == attempts + 1


# -- stopping ------------------------------------------------------------------------------------------------


async def _begun(rig: Any) -> None:
    rig.client.open_gate.clear()
    rig.sync.start()
    await rig.events.until(lambda: rig.client.busy == 1)


async def test_the_user_can_cancel_the_reading_and_it_stays_cancelled(rig: Any) -> None:
    await _begun(rig)
    (token,) = rig.board._cancels
    assert rig.board.cancel(token)
    await rig.until("cancelled")
    rig.client.open_gate.set()
    rig.open("d.py", "d = 4\n")
    await rig.sync.flush()
    rig.sync._begin()
    assert rig.sync._working is None
    assert len(rig.client.syncs) == 1


async def test_after_cancelling_a_new_layout_is_read_when_one_is_due(rig: Any) -> None:
    await _begun(rig)
    (token,) = rig.board._cancels
    rig.board.cancel(token)
    await rig.until("cancelled")
    rig.client.open_gate.set()
    rig.sync.request_layout()
    await rig.until("ready")
    assert rig.shown == rig.files


async def test_closing_ends_the_work_and_begins_none(rig: Any) -> None:
    await _begun(rig)
    await rig.sync.close()
    assert rig.client.busy == 0
    for begin in (rig.sync.start, rig.sync.note_change, rig.sync.request_layout, rig.sync.worker_changed):
        begin()
        assert rig.sync._working is None
    assert len(rig.client.syncs) == 1


async def test_other_roots_during_a_reading_leave_nothing_of_the_old_ones_held(
    rig: Any, tmp_path: Path
) -> None:
    await _begun(rig)
    rig.client.supersede = 1
    other = tmp_path / "other"
    other.mkdir()
    (other / "z.py").write_text("z = 26\n")
    rig.session.change_roots([str(other)])
    rig.sync.request_layout()
    rig.client.open_gate.set()
    await rig.events.until(lambda: rig.sync.is_current)
    assert rig.client.shown == [("z.py", "z = 26\n")]
    for request in rig.client.syncs[1:]:
        assert request.workspace == rig.session.workspace
        assert [segment.path for segment in request.segments] == ["z.py"]


async def test_cancelling_a_later_reading_keeps_what_is_held_until_the_next_change(rig: Any) -> None:
    await rig.begin()
    rig.client.open_gate.clear()
    (rig.root / "d.py").write_text("d = 4\n")
    rig.sync.request_layout()
    await rig.events.until(lambda: rig.client.busy == 1)
    (token,) = rig.board._cancels
    rig.board.cancel(token)
    await rig.events.until(lambda: rig.client.busy == 0)
    assert rig.sync.state == "ready"
    rig.client.open_gate.set()
    rig.sync.note_change()
    await rig.events.until(lambda: "d.py" in rig.shown and rig.sync.is_current)


async def test_a_completion_does_not_wait_for_a_later_reading_of_everything(rig: Any) -> None:
    await rig.begin()
    rig.client.open_gate.clear()
    (rig.root / "d.py").write_text("d = 4\n")
    rig.sync.request_layout()
    await rig.events.until(lambda: rig.client.busy == 1)
    await rig.sync.flush()
    assert rig.client.busy == 1


async def test_closing_does_not_cancel_whoever_flushes(rig: Any) -> None:
    await rig.begin()
    rig.client.open_gate.clear()
    rig.open("d.py", "d = 4\n")
    flush = asyncio.create_task(rig.sync.flush())
    await rig.events.until(lambda: rig.client.busy == 1)
    await rig.sync.close()
    await flush


@pytest.mark.parametrize(("state", "detail"), [("starting", ""), ("failed", "No such model.")])
async def test_while_the_worker_is_away_the_context_is_said_to_be_unavailable(
    rig: Any, state: str, detail: str
) -> None:
    await rig.begin()
    rig.client.state, rig.client.detail = state, detail
    rig.sync.worker_changed()
    assert rig.sync.state == "unavailable"
    assert rig.sync.detail == detail or (rig.sync.detail and not detail)
    rig.client.lose_everything()
    rig.client.state = "ready"
    rig.sync.worker_changed()
    await rig.events.until(lambda: rig.sync.is_current)
    assert rig.sync.state == "ready"
