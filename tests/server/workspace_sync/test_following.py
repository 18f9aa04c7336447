"""What the worker holds becomes what the context says, one turn at a time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from deltaloom_model.errors import RequestFailed
from deltaloom_server import worker_feed
from deltaloom_server.session import Session
from deltaloom_server.workspace_sync import WorkspaceSync

# -- reading a workspace -------------------------------------------------------------------------------------


async def test_the_first_reading_brings_every_file_to_the_worker(rig: Any) -> None:
    assert not rig.sync.is_current
    await rig.begin()
    assert rig.shown == rig.files
    assert rig.sync.is_current
    assert rig.sync.held_number == 1
    request = rig.client.syncs[-1]
    assert (request.session, request.workspace) == ("session", rig.session.workspace)
    assert (request.repository, request.texts) == ("shop", {})


async def test_the_budget_is_the_models_length_or_the_setting(rig: Any) -> None:
    rig.client.context_limit = 12_000
    await rig.begin()
    assert (rig.sync.budget, rig.server.told) == (12_000, [])
    rig.session.reconfigure({"context": {"max_tokens": 9_000}})
    rig.sync.request_layout()
    await rig.events.until(lambda: rig.sync.budget == 9_000)
    assert rig.server.told == []


async def test_a_budget_past_the_models_length_is_taken_with_a_warning(rig: Any) -> None:
    rig.client.context_limit = 12_000
    rig.session.reconfigure({"context": {"max_tokens": 20_000}})
    await rig.begin()
    assert rig.sync.budget == 20_000
    (told,) = rig.server.told
    assert "20,000" in told
    assert "12,000" in told


async def test_without_a_workspace_nothing_is_sent(rig: Any) -> None:
    rig.session.change_roots([])
    rig.sync.start()
    await rig.until("idle")
    assert (rig.client.syncs, rig.client.counts) == ([], [])


async def test_texts_go_in_requests_of_a_bounded_size(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_feed, "MAX_TEXT_BYTES", 13)
    await rig.begin()
    assert rig.shown == rig.files
    sizes = [sum(map(len, request.texts.values())) for request in rig.client.counts]
    assert max(sizes) <= 13
    assert len([size for size in sizes if size]) > 1


# -- following changes ---------------------------------------------------------------------------------------


async def test_an_edited_file_stands_in_the_log_once_it_is_left(rig: Any) -> None:
    await rig.begin()
    rig.open("a.py", "a = 10\n")
    rig.open("b.py", rig.files["b.py"])
    rig.select("b.py")
    rig.sync.note_change()
    await rig.events.until(lambda: rig.sync.is_current)
    assert rig.client.shown[-1] == ("a.py", "a = 10\n")
    assert len(rig.client.syncs[-1].segments) == 4


async def test_flushing_brings_a_change_across_before_it_returns(rig: Any) -> None:
    await rig.begin()
    rig.open("d.py", "d = 4\n")
    await rig.sync.flush()
    assert rig.shown == {**rig.files, "d.py": "d = 4\n"}
    assert rig.sync.is_current


async def test_flushing_what_is_in_place_asks_nothing(rig: Any) -> None:
    await rig.begin()
    before = len(rig.client.syncs)
    await rig.sync.flush()
    assert len(rig.client.syncs) == before


async def test_flushing_does_not_wait_for_a_first_reading(rig: Any) -> None:
    rig.client.open_gate.clear()
    rig.sync.start()
    await rig.events.until(lambda: rig.client.busy == 1)
    await rig.sync.flush()
    assert not rig.sync.is_current


async def test_whoever_flushes_may_be_cancelled_and_the_sync_goes_on(rig: Any) -> None:
    await rig.begin()
    rig.client.open_gate.clear()
    rig.open("d.py", "d = 4\n")
    flush = asyncio.create_task(rig.sync.flush())
    await rig.events.until(lambda: rig.client.busy == 1)
    flush.cancel()
    await asyncio.wait([flush])
    assert flush.cancelled()
    rig.client.open_gate.set()
    await rig.events.until(lambda: rig.sync.is_current)
    assert rig.sync.state == "ready"


async def test_one_sync_is_under_way_at_a_time_and_the_last_has_everything(rig: Any) -> None:
    await rig.begin()
    rig.client.open_gate.clear()
    for number in range(5):
        (rig.root / f"d{number}.py").write_text(f"d = {number}\n")
        rig.open("a.py", f"a = 1{number}\n")
        rig.sync.note_change()
        rig.sync.request_layout()
        await rig.events.until(lambda: rig.client.busy == 1)
    rig.client.open_gate.set()
    await rig.events.until(lambda: "d4.py" in rig.shown and rig.sync.is_current)
    assert rig.client.most_busy == 1
    assert set(rig.shown) == {*rig.files, *(f"d{number}.py" for number in range(5))}
    assert rig.shown["a.py"] == "a = 14\n"


async def test_what_changes_during_a_sync_is_sent_after_it(rig: Any) -> None:
    await rig.begin()
    rig.client.open_gate.clear()
    rig.open("d.py", "d = 4\n")
    flush = asyncio.create_task(rig.sync.flush())
    await rig.events.until(lambda: rig.client.busy == 1)
    rig.open("e.py", "e = 5\n")
    rig.client.open_gate.set()
    await flush
    assert rig.shown == {**rig.files, "d.py": "d = 4\n", "e.py": "e = 5\n"}


async def test_revisions_only_ever_rise(rig: Any) -> None:
    await rig.begin()
    for number in range(3):
        rig.open(f"d{number}.py", f"d = {number}\n")
        await rig.sync.flush()
    rig.sync.request_layout()
    await rig.events.until(lambda: rig.sync.is_current)
    revisions = [request.revision for request in rig.client.syncs]
    assert revisions == sorted(set(revisions))


async def test_a_new_layout_takes_in_what_changed_on_disk(rig: Any) -> None:
    await rig.begin()
    (rig.root / "b.py").unlink()
    (rig.root / "d.py").write_text("d = 4\n")
    rig.sync.request_layout()
    await rig.events.until(lambda: "d.py" in rig.shown and rig.sync.is_current)
    assert rig.shown == {"a.py": rig.files["a.py"], "sub/c.py": rig.files["sub/c.py"], "d.py": "d = 4\n"}
    assert {segment.kind for segment in rig.client.syncs[-1].segments} == {"base"}
    prepared = next(request for request in rig.client.syncs if request.compaction)
    assert prepared.segments == rig.client.syncs[-1].segments, "read beside the old one, then switched to"


# -- compaction ----------------------------------------------------------------------------------------------


async def test_when_it_is_quiet_a_grown_log_is_compacted(rig: Any) -> None:
    rig.client.context_limit = 400
    await rig.begin()
    text = "word " * 60 + "\n"
    (rig.root / "a.py").write_text(text)
    context = rig.session.context
    assert context is not None
    context.files_changed_on_disk({"a.py": text})
    await rig.sync.flush()
    assert [segment.kind for segment in rig.client.syncs[-1].segments].count("log") == 1
    rig.sync.note_edit()
    await rig.events.until(lambda: any(request.compaction for request in rig.client.syncs))
    await rig.events.until(lambda: not rig.client.syncs[-1].compaction and rig.sync.is_current)
    assert rig.shown == {**rig.files, "a.py": text}
    assert {segment.kind for segment in rig.client.syncs[-1].segments} == {"base"}


async def _compacting(rig: Any) -> None:
    """The log has grown, and a compaction is under way that doesn't get on."""
    rig.client.context_limit = 400
    await rig.begin()
    text = "word " * 60 + "\n"
    (rig.root / "a.py").write_text(text)
    rig.session.context.files_changed_on_disk({"a.py": text})
    await rig.sync.flush()
    rig.client.open_gate.clear()
    rig.sync._when_idle()
    await rig.events.until(lambda: rig.client.busy == 1 and rig.client.syncs[-1].compaction)


async def test_a_completion_does_not_wait_for_a_compaction(rig: Any) -> None:
    await _compacting(rig)
    await rig.sync.flush()
    assert rig.client.busy == 1


async def test_a_layout_that_falls_due_during_a_compaction_is_made_after_it(rig: Any) -> None:
    await _compacting(rig)
    (rig.root / "d.py").write_text("d = 4\n")
    rig.sync.request_layout(3600)
    rig.sync.start()
    rig.client.open_gate.set()
    await rig.events.until(lambda: "d.py" in rig.shown and rig.sync.is_current)


# -- rescans and purges --------------------------------------------------------------------------------------


async def test_a_rescan_brings_in_what_is_new_changed_and_gone_without_a_new_layout(rig: Any) -> None:
    await rig.begin()
    (rig.root / "d.py").write_text("d = 4\n")
    (rig.root / "a.py").write_text("a = 10\n")
    (rig.root / "b.py").unlink()
    rig.sync.request_rescan()
    await rig.events.until(lambda: "d.py" in rig.shown and rig.sync.is_current)
    assert rig.shown == {"a.py": "a = 10\n", "sub/c.py": rig.files["sub/c.py"], "d.py": "d = 4\n"}
    assert not any(request.compaction for request in rig.client.syncs)
    kinds = [segment.kind for segment in rig.client.syncs[-1].segments]
    assert kinds == ["base"] * 3 + ["log"] * 3


async def test_a_branch_switched_back_stands_as_before(rig: Any) -> None:
    await rig.begin()
    before = rig.client.syncs[-1].segments
    (rig.root / "a.py").write_text("a = 10\n")
    (rig.root / "b.py").unlink()
    rig.sync.request_rescan()
    await rig.events.until(lambda: "b.py" not in rig.shown and rig.sync.is_current)
    (rig.root / "a.py").write_text(rig.files["a.py"])
    (rig.root / "b.py").write_text(rig.files["b.py"])
    rig.sync.request_rescan()
    await rig.events.until(lambda: "b.py" in rig.shown and rig.sync.is_current)
    assert rig.client.syncs[-1].segments == before


async def test_more_than_the_log_can_take_is_laid_out_anew(rig: Any) -> None:
    rig.client.context_limit = 400
    await rig.begin()
    (rig.root / "a.py").write_text("word " * 60 + "\n")
    rig.sync.request_rescan()
    await rig.events.until(lambda: "word" in rig.shown["a.py"] and rig.sync.is_current)
    assert any(request.compaction for request in rig.client.syncs)
    assert {segment.kind for segment in rig.client.syncs[-1].segments} == {"base"}


async def test_a_file_that_becomes_ignored_is_purged_before_anything_else_is_read(rig: Any) -> None:
    await rig.begin()
    (rig.root / ".deltaloomignore").write_text("b.py\n")
    rig.sync.request_rescan()
    await rig.events.until(lambda: rig.client.purges and rig.sync.is_current)
    [purge] = rig.client.purges
    assert (purge.workspace, purge.paths) == (rig.session.workspace, ["b.py"])
    assert "b.py" not in rig.shown
    assert rig.session.context.take_purged() == frozenset()


async def test_a_purge_that_fails_is_made_up_for(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    await rig.begin()
    purge, failures = rig.client.purge, [RequestFailed("Gone."), RequestFailed("Gone.")]

    async def failing(request: Any) -> Any:
        if failures:
            raise failures.pop()
        return await purge(request)

    monkeypatch.setattr(rig.client, "purge", failing)
    (rig.root / ".deltaloomignore").write_text("b.py\n")
    rig.sync.request_rescan()
    await rig.events.until(lambda: rig.client.purges and rig.sync.is_current)
    assert not failures
    assert rig.client.purges[-1].paths == ["b.py"]


async def test_a_context_that_another_session_took_away_is_given_again(rig: Any) -> None:
    await rig.begin()
    before = len(rig.client.syncs)
    rig.sync.note_lost()
    await rig.events.until(lambda: len(rig.client.syncs) > before and rig.sync.is_current)


async def next_session(rig: Any, name: str) -> WorkspaceSync:
    session = Session(name)
    session.configure(None, [str(rig.root)])
    session.begin_context()
    sync = WorkspaceSync(
        session, rig.client, rig.server.notices, rig.board, rig.server.executor, rig.events.note
    )
    sync.start()
    await rig.events.until(lambda: sync.is_current)
    return sync


async def leave_with_a_log(rig: Any) -> list[Any]:
    """A session ends with a saved change in its log; the segments as they stood."""
    await rig.begin()
    rig.open("a.py", "a = 10\n")
    rig.open("b.py", rig.files["b.py"])
    (rig.root / "a.py").write_text("a = 10\n")
    rig.select("b.py")
    await rig.sync.flush()
    stood: list[Any] = rig.client.syncs[-1].segments
    await rig.sync.close()
    return stood


async def test_what_is_laid_out_is_remembered_for_the_next_session(rig: Any) -> None:
    stood = await leave_with_a_log(rig)
    assert stood[-1].kind == "log"
    sync = await next_session(rig, "another")
    assert rig.client.syncs[-1].session == "another"
    assert rig.client.syncs[-1].segments == stood
    await sync.close()


async def test_a_remembered_text_that_nobody_has_any_more_is_done_without(rig: Any) -> None:
    await leave_with_a_log(rig)
    rig.client.lose_everything()
    sync = await next_session(rig, "another")
    assert rig.shown == {**rig.files, "a.py": "a = 10\n"}
    assert {segment.kind for segment in rig.client.syncs[-1].segments} == {"base"}
    await sync.close()
