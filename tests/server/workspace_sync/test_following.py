"""What the worker holds becomes what the context says, one turn at a time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from deltaloom_server import worker_feed

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
    context.file_changed_on_disk("a.py", text)
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
    rig.session.context.file_changed_on_disk("a.py", text)
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
