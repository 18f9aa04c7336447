"""The scheduler's choices, turn by turn, on the calling thread."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deltaloom_model import scheduler as scheduler_module
from deltaloom_model.api import (
    CountRequest,
    EngineStatus,
    GenerateRequest,
    PurgeRequest,
    PurgeResult,
    Segment,
    SyncRequest,
    SyncResult,
)
from deltaloom_model.framing import FinalReply
from deltaloom_model.inbox import Cancel, Drop, Inbox, Stop, Submit, Ticket
from deltaloom_model.scheduler import STARVATION_STEPS, Scheduler


class Bench:
    """A scheduler on a scripted engine; `steps` lists which ticket took each step that yielded something."""

    def __init__(self) -> None:
        location = Path(__file__).with_name("scripted_engine.py")
        found = importlib.util.spec_from_file_location("scripted_engine", location)
        assert found is not None
        assert found.loader is not None
        module = importlib.util.module_from_spec(found)
        found.loader.exec_module(module)
        self.engine = module.ScriptedEngine()
        self.inbox = Inbox()
        self.steps: list[int] = []
        self.replies: dict[int, Any] = {}
        self.snapshots: list[EngineStatus] = []
        self.scheduler = Scheduler(self.engine, self.inbox, self._emit, self.snapshots.append)

    def submit(self, number: int, request: Any, connection: str = "c") -> None:
        self.inbox.put(Submit(Ticket(connection, number), request))

    def cancel(self, number: int) -> None:
        self.inbox.put(Cancel(Ticket("c", number)))

    def turns(self, count: int) -> None:
        for _ in range(count):
            assert self.scheduler.turn()

    def _emit(self, ticket: Ticket, reply: Any) -> None:
        if isinstance(reply, FinalReply):
            assert ticket.request_id not in self.replies, "answered twice"
            self.replies[ticket.request_id] = reply
        else:
            self.steps.append(ticket.request_id)


@pytest.fixture
def bench() -> Bench:
    return Bench()


Make = Callable[..., Any]


def test_decode_goes_before_log_before_base_before_compaction(
    bench: Bench, generate: Make, sync: Make
) -> None:
    bench.submit(1, sync("a", workspace="logged"))
    bench.turns(2)
    bench.steps.clear()
    bench.submit(2, sync("a", "b", workspace="compacted", compaction=True))
    bench.submit(3, sync("a", "b", workspace="based"))
    bench.submit(4, sync("a", log=("b",), workspace="logged", revision=2))
    bench.submit(5, generate(typed="xy"))
    bench.turns(12)
    assert bench.steps == [5, 5, 4, 4, 3, 3, 2, 2]


def test_decoding_goes_before_reading_an_open_file(bench: Bench, generate: Make) -> None:
    bench.submit(1, generate("anchor", typed="abc"))
    bench.turns(4)  # two of reading, the turn to decoding, one token
    bench.submit(2, generate("anchor", typed="de"))
    bench.turns(6)
    assert bench.steps == [1, 1, 1], "the newer request has still to read its open file"
    bench.turns(4)
    assert bench.steps == [1, 1, 1, 2, 2]


def test_a_compaction_stands_beside_the_syncs_of_its_context(bench: Bench, sync: Make) -> None:
    bench.submit(1, sync("a", "b", "c", revision=2, compaction=True))
    bench.turns(1)
    bench.submit(2, sync("a", revision=3))
    bench.submit(3, sync("b", revision=1))
    bench.turns(9)
    assert bench.replies[3] == SyncResult(1, superseded=True), "an older ordinary one gives way to the newer"
    assert bench.replies[2] == SyncResult(3, tokens=1)
    assert bench.replies[1] == SyncResult(2, tokens=3), "it was only prepared: nothing superseded it"
    bench.submit(4, sync("endless", revision=4, compaction=True))
    bench.turns(2)
    bench.submit(5, sync("a", revision=5, compaction=True))
    bench.turns(3)
    assert bench.replies[4] == SyncResult(4, superseded=True)


def test_a_purge_breaks_off_what_may_be_reading_the_files(bench: Bench, generate: Make, sync: Make) -> None:
    bench.submit(1, sync("endless"))
    bench.submit(2, generate("endless", typed=""))
    bench.submit(3, sync("endless", workspace="other"))
    bench.turns(3)
    bench.submit(4, PurgeRequest("w", ["a.py", "b.py"]))
    bench.turns(1)
    assert bench.replies[1].superseded
    assert bench.replies[2].finish == "cancelled"
    assert bench.replies[4] == PurgeResult(checkpoints=2)
    assert 3 not in bench.replies
    assert bench.engine.journal[-1] == "purge w", "after what was running had ended"


def test_an_idle_engine_tidies_up_some_times(
    bench: Bench, sync: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler_module, "IDLE_SECONDS", 0.01)
    bench.submit(1, sync("a"))
    for _ in range(4):  # the step, its end, and two moments of quiet
        assert bench.scheduler.turn(wait=True)
    assert bench.engine.journal == ["sync one 1", "idle", "idle"]
    shown = len(bench.snapshots)
    bench.inbox.put(Stop())
    bench.scheduler.run()
    assert bench.engine.journal == ["sync one 1", "idle", "idle", "close"]
    assert shown > 2, "the status shows what tidying up did"


def test_the_newest_of_a_class_goes_first_between_steps(bench: Bench, generate: Make) -> None:
    bench.submit(1, generate(typed="abc"))
    bench.turns(1)
    bench.submit(2, generate(typed="de"))
    bench.turns(6)
    assert bench.steps == [1, 2, 2, 1, 1]
    assert bench.replies[1].text == "abc"
    assert bench.replies[2].text == "de"


def test_a_base_sync_gets_a_step_in_every_so_many_decode_steps(
    bench: Bench, generate: Make, sync: Make
) -> None:
    bench.submit(1, sync("endless"))
    bench.submit(2, generate("endless", typed=""))
    bench.turns(10 * (STARVATION_STEPS + 1))
    assert bench.steps.count(1) == 10
    gaps = "".join(map(str, bench.steps)).split("1")
    assert max(map(len, gaps)) <= STARVATION_STEPS


def test_many_starving_tasks_leave_every_other_step_to_decoding(
    bench: Bench, generate: Make, sync: Make
) -> None:
    for number in range(1, 41):
        bench.submit(number, sync("endless", workspace=str(number)))
    bench.submit(99, generate("endless", typed=""))
    bench.turns(200)
    assert bench.steps.count(99) >= 100
    assert set(range(1, 41)) <= set(bench.steps)


def test_a_newer_sync_supersedes_the_running_one(bench: Bench, sync: Make) -> None:
    bench.submit(1, sync("endless", revision=1))
    bench.turns(3)
    bench.submit(2, sync("a", revision=2))
    bench.turns(3)
    assert bench.replies[1] == SyncResult(1, superseded=True)
    assert bench.replies[2] == SyncResult(2, tokens=1)
    assert bench.engine.journal == ["closed sync one 1", "sync one 2"]


def test_an_older_sync_gives_way_to_the_running_newer_one(bench: Bench, sync: Make) -> None:
    bench.submit(1, sync("a", "b", revision=5))
    bench.turns(1)
    bench.submit(2, sync("a", revision=4))
    bench.turns(4)
    assert bench.replies[2] == SyncResult(4, superseded=True)
    assert bench.replies[1] == SyncResult(5, tokens=2)


def test_syncs_of_other_sessions_and_workspaces_do_not_supersede(bench: Bench, sync: Make) -> None:
    bench.submit(1, sync("a", revision=1))
    bench.submit(2, sync("a", revision=2, workspace="v"))
    bench.submit(3, sync("a", revision=3, session="two"))
    bench.turns(8)
    assert [bench.replies[number].superseded for number in (1, 2, 3)] == [False, False, False]


def test_a_cancelled_request_stops_at_the_next_step(bench: Bench, generate: Make, sync: Make) -> None:
    bench.submit(2, sync("endless", revision=8))
    bench.turns(2)
    bench.submit(1, generate("endless", typed="", revision=7))
    bench.turns(2)
    bench.cancel(1)
    bench.cancel(2)
    taken = len(bench.steps)
    bench.turns(2)
    assert len(bench.steps) == taken
    assert (bench.replies[1].finish, bench.replies[1].revision) == ("cancelled", 7)
    assert bench.replies[2] == SyncResult(8, superseded=True)
    assert bench.engine.journal == ["closed generate 7", "closed sync one 8"]


def test_cancelling_what_has_been_answered_changes_nothing(bench: Bench, generate: Make) -> None:
    bench.submit(1, generate(typed="a"))
    bench.turns(2)
    bench.cancel(1)
    bench.turns(1)
    assert bench.replies[1].finish == "stop"


def test_an_exception_answers_its_own_request_only(bench: Bench, generate: Make, sync: Make) -> None:
    bench.submit(1, generate("raise"))
    bench.submit(2, sync("raise"))
    bench.submit(3, CountRequest([Segment("raise", "0")]))
    bench.submit(4, generate("no memory"))
    bench.submit(5, generate(typed="z"))
    bench.turns(8)
    for number in (1, 2, 3):
        assert "RuntimeError" in bench.replies[number].message
        assert "api_key" not in bench.replies[number].message
    assert "not enough memory" in bench.replies[4].message
    assert bench.replies[5].text == "z"


def test_a_dropped_connection_takes_its_requests_and_sessions_along(
    bench: Bench, generate: Make, sync: Make
) -> None:
    bench.submit(1, sync("a"))
    bench.turns(2)
    assert bench.snapshots[-1].contexts
    bench.submit(2, generate("endless", typed=""))
    bench.turns(1)
    bench.submit(3, generate(typed="q"), connection="other")
    bench.turns(1)
    bench.inbox.put(Drop("c", ("one",)))
    bench.turns(3)
    assert 2 not in bench.replies
    assert bench.replies[3].text == "q"
    assert bench.engine.journal[-2:] == ["closed generate 1", "forget one"]
    assert not bench.snapshots[-1].contexts


def test_a_session_that_came_back_reads_its_base_as_base(bench: Bench, sync: Make, generate: Make) -> None:
    bench.submit(1, sync("a"))
    bench.turns(2)
    bench.inbox.put(Drop("c", ("one",)))
    bench.submit(2, sync("a", "b", session="two", revision=1))
    bench.turns(3)
    bench.steps.clear()
    bench.submit(3, sync("a", "b", session="two", revision=2, log=("x",)))
    bench.submit(4, sync("a", revision=2))
    bench.turns(6)
    assert bench.steps[:3] == [3, 3, 3]


def test_stop_closes_what_runs(bench: Bench, generate: Make) -> None:
    bench.submit(1, generate("endless", typed=""))
    bench.turns(1)
    bench.inbox.put(Stop())
    bench.scheduler.run()
    assert bench.engine.journal == ["closed generate 1", "close"]
    assert not bench.replies


def test_requests_wait_in_the_order_in_which_they_came_until_there_is_an_engine(sync: Make) -> None:
    inbox = Inbox()
    requests: list[SyncRequest | GenerateRequest] = [sync("a", revision=n) for n in range(3)]
    for number, request in enumerate(requests):
        inbox.put(Submit(Ticket("c", number), request))
    assert [message.request for message in inbox.take(wait=True) if isinstance(message, Submit)] == requests
    assert inbox.take(wait=False) == []
