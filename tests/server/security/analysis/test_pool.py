"""The pool of analysis processes, with real processes that hang, crash, eat and are killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import psutil
import pytest

from deltaloom_server.security.analysis import ending
from deltaloom_server.security.analysis.messages import Failed, Reply, ScanResult, ScanText
from deltaloom_server.security.analysis.pool import AnalysisPool

MakePool = Callable[..., AnalysisPool]


class Pipe(Protocol):
    """A named pipe through which a hanging process says that it hangs."""

    path: Path

    async def pids(self) -> tuple[int, int]: ...

    async def ended(self) -> None: ...


def told(text: str) -> ScanText:
    """A request that tells the obedient process what to do."""
    return ScanText("a.py", text, ())


def words(reply: Reply) -> str:
    """What a failure says."""
    assert isinstance(reply, Failed)
    return reply.reason


async def pid_of(pool: AnalysisPool) -> int:
    return int(words(await pool.ask(told("pid"))))


async def test_a_process_stays_warm_between_requests(make_pool: MakePool) -> None:
    pool = make_pool()
    assert await pid_of(pool) == await pid_of(pool)


async def test_parallel_requests_get_processes_of_their_own_and_their_own_replies(
    make_pool: MakePool, pipe: Pipe
) -> None:
    pool = make_pool(2)
    hanging = asyncio.create_task(pool.ask(told(f"hang {pipe.path}")))
    busy, _ = await pipe.pids()
    replies = await asyncio.gather(*(pool.ask(told(f"echo {number}")) for number in range(50)))
    assert [words(reply) for reply in replies] == [str(number) for number in range(50)]
    assert await pid_of(pool) != busy
    hanging.cancel()


async def test_a_request_that_takes_too_long_is_told_and_its_process_replaced(
    make_pool: MakePool, pipe: Pipe
) -> None:
    pool = make_pool()
    hanging = asyncio.create_task(pool.ask(told(f"hang {pipe.path}"), seconds=3.0))
    queued = asyncio.create_task(pool.ask(told("pid")))
    hung, _ = await pipe.pids()
    assert words(await hanging) == "The analysis took longer than 3 s."
    await pipe.ended()  # its child has gone with it
    assert int(words(await queued)) != hung
    with pytest.raises(ProcessLookupError):
        os.kill(hung, 0)


@pytest.mark.parametrize(
    ("order", "how"),
    [("exit", "ended with status 7"), ("abort", f"was ended by signal {int(signal.SIGABRT)}")],
)
async def test_a_crash_costs_only_the_request_that_caused_it(
    make_pool: MakePool, order: str, how: str
) -> None:
    pool = make_pool()
    before = asyncio.create_task(pool.ask(told("echo before")))
    crashing = asyncio.create_task(pool.ask(told(order)))
    after = asyncio.create_task(pool.ask(told("echo after")))
    assert words(await before) == "before"
    assert words(await crashing).startswith(f"The analysis process {how}")
    assert words(await after) == "after"


async def test_a_process_killed_in_the_middle_of_a_request_is_told_and_replaced(
    make_pool: MakePool, pipe: Pipe
) -> None:
    pool = make_pool()
    hanging = asyncio.create_task(pool.ask(told(f"hang {pipe.path}")))
    pid, _ = await pipe.pids()
    os.kill(pid, signal.SIGKILL)
    assert words(await hanging) == "The analysis process was ended by signal 9."
    assert await pid_of(pool) != pid


async def test_a_process_that_died_at_rest_is_replaced_without_a_word(make_pool: MakePool) -> None:
    pool = make_pool()
    pid = await pid_of(pool)
    (resting,) = pool._idle
    os.kill(pid, signal.SIGKILL)
    await resting._process.wait()
    assert await pid_of(pool) != pid


async def test_memory_and_depth_are_limits_of_the_request_not_of_the_process(make_pool: MakePool) -> None:
    pool = make_pool()
    pid = await pid_of(pool)
    assert words(await pool.ask(told("eat"))) == "The analysis needs more memory than it may take."
    assert words(await pool.ask(told("recurse"))) == "The text is nested too deeply for the analysis."
    assert await pid_of(pool) == pid


async def test_what_a_service_prints_or_reads_does_not_disturb_the_messages(make_pool: MakePool) -> None:
    pool = make_pool()
    assert words(await pool.ask(told("shout"))) == "''"
    assert words(await pool.ask(told("echo still here"))) == "still here"


async def test_long_replies_arrive_and_longer_ones_are_refused(make_pool: MakePool) -> None:
    pool = make_pool()
    assert len(words(await pool.ask(told("long")))) == 10 << 20
    assert words(await pool.ask(told("flood"))).endswith("too much for one file.")
    assert len(words(await pool.ask(told("echo " + "é" * (3 << 20))))) == 3 << 20


async def test_nonsense_from_a_process_is_told_and_the_process_replaced(make_pool: MakePool) -> None:
    pool = make_pool()
    pid = await pid_of(pool)
    assert (
        words(await pool.ask(told("nonsense"))) == "The analysis process said something that is no message."
    )
    assert await pid_of(pool) != pid


async def test_a_process_that_never_stops_talking_is_ended_all_the_same(make_pool: MakePool) -> None:
    pool = make_pool()
    assert isinstance(await pool.ask(told("pour"), seconds=0.2), Failed)
    assert words(await pool.ask(told("echo next"))) == "next"


async def test_a_program_that_has_left_the_group_holds_nobody_up(
    make_pool: MakePool, pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "_PIPES_SECONDS", 0.2)
    pool = make_pool()
    asking = asyncio.create_task(pool.ask(told(f"detach {pipe.path}")))
    _, child = await pipe.pids()
    try:
        assert words(await asking) == "The analysis process ended with status 7."
        assert words(await pool.ask(told("echo next"))) == "next"
    finally:
        os.kill(child, signal.SIGKILL)


async def test_a_cancelled_request_that_ends_soon_costs_no_process(make_pool: MakePool) -> None:
    pool = make_pool(grace=60.0)
    pid = await pid_of(pool)
    asking = asyncio.create_task(pool.ask(told("long")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await pid_of(pool) == pid


async def test_a_cancelled_request_that_goes_on_is_ended_after_the_grace(
    make_pool: MakePool, pipe: Pipe
) -> None:
    pool = make_pool(grace=0.0)
    hanging = asyncio.create_task(pool.ask(told(f"hang {pipe.path}")))
    pid, _ = await pipe.pids()
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging
    await pipe.ended()
    assert await pid_of(pool) != pid


async def test_a_cancelled_request_in_the_queue_is_never_served(
    make_pool: MakePool, pipe: Pipe, make_pipe: Callable[[], Pipe]
) -> None:
    pool = make_pool()
    other = make_pipe()
    hanging = asyncio.create_task(pool.ask(told(f"hang {pipe.path}")))
    pid, _ = await pipe.pids()
    queued = asyncio.create_task(pool.ask(told(f"hang {other.path}")))
    await asyncio.sleep(0)
    queued.cancel()
    with pytest.raises(asyncio.CancelledError):
        await queued
    os.kill(pid, signal.SIGKILL)
    await hanging
    assert await pid_of(pool) != pid  # it would hang, were the queued one served


async def test_closing_while_busy_answers_every_request_and_leaves_no_process(
    make_pool: MakePool, pipe: Pipe
) -> None:
    before = set(psutil.Process().children())
    pool = make_pool(2)
    await asyncio.gather(pid_of(pool), pid_of(pool))
    busy = [asyncio.create_task(pool.ask(told(f"hang {pipe.path}")))]
    await pipe.pids()
    busy += [asyncio.create_task(pool.ask(told("hang"))) for _ in range(3)]
    await asyncio.sleep(0)
    await pool.close()
    assert {words(reply) for reply in await asyncio.gather(*busy)} == {
        "The analysis processes have been closed."
    }
    assert words(await pool.ask(told("pid"))) == "The analysis processes have been closed."
    await pipe.ended()
    assert set(psutil.Process().children()) <= before  # zombies would be among them


async def test_idle_processes_end(make_pool: MakePool) -> None:
    pool = make_pool(idle=0.0)
    pid = await pid_of(pool)
    while pool._idle or pool._tasks:
        await asyncio.sleep(0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert await pid_of(pool) != pid


async def test_a_scanner_that_brings_the_process_down_costs_the_others_nothing(make_pool: MakePool) -> None:
    result = await make_pool().scan(ScanText("a.py", "scan", ("bandit", "secrets", "deltaloom")))
    assert [one.scanner for one in result.unscanned] == ["secrets"]
    assert result.unscanned[0].failed
    assert "status 7" in result.unscanned[0].reason


async def test_a_scan_that_hangs_is_told_for_its_scanner(make_pool: MakePool) -> None:
    result = await make_pool().scan(ScanText("a.py", "hang", ("bandit",)), seconds=0.5)
    (unscanned,) = result.unscanned
    assert (unscanned.scanner, unscanned.failed) == ("bandit", True)
    assert unscanned.reason == "The analysis took longer than 0.5 s."


async def test_a_command_that_is_not_there_is_told() -> None:
    pool = AnalysisPool(1, command=("/nowhere/python",))
    assert "can't be started" in words(await pool.ask(told("pid")))
    await pool.close()


async def test_half_characters_are_scanned_around_and_refused_where_text_would_be_written() -> None:
    pool = AnalysisPool(1)
    text = "x = '\ud800'; eval(x)\n"
    result = await pool.scan(ScanText("a\udcff.py", text, ("bandit",)))
    (finding,) = result.findings
    assert (finding.path, finding.span.start_column) == ("a\udcff.py", 9)
    reply = await pool.ask(ScanText("a.py", text, ("bandit",)))
    assert isinstance(reply, Failed)
    await pool.close()


async def test_the_real_process_scans_after_being_warmed() -> None:
    pool = AnalysisPool(1)
    pool.warm()
    result = await pool.scan(ScanText("a.py", "eval(x)\n", ("ruff", "bandit")))
    assert isinstance(result, ScanResult)
    assert [(one.rule, one.scanners) for one in result.findings] == [
        ("S307", ("ruff",)), ("S307", ("bandit",)),
    ]  # fmt: skip
    await pool.close()


def test_processes_and_their_children_end_with_their_parent(command: tuple[str, ...], tmp_path: Path) -> None:
    parent = (
        "import asyncio, os, sys\n"
        "from deltaloom_server.security.analysis.messages import ScanText\n"
        "from deltaloom_server.security.analysis.pool import AnalysisPool\n"
        "async def main():\n"
        "    pool = AnalysisPool(1, command=sys.argv[2:])\n"
        "    asking = asyncio.create_task(pool.ask(ScanText('a.py', 'hang ' + sys.argv[1], ())))\n"
        "    await asyncio.to_thread(sys.stdin.read)\n"
        "    os._exit(0)\n"
        "asyncio.run(main())\n"
    )
    os.mkfifo(tmp_path / "fifo")
    with (
        subprocess.Popen(
            [sys.executable, "-c", parent, str(tmp_path / "fifo"), *command], stdin=subprocess.PIPE
        ) as process,
        open(tmp_path / "fifo", "rb") as pipe,
    ):
        assert len(pipe.readline().split()) == 2
        assert process.stdin is not None
        process.stdin.close()
        process.wait(60)
        assert pipe.read() == b""  # the end comes once the last of them is gone


def test_the_pool_can_be_imported_without_any_scanner() -> None:
    code = (
        "import sys; import deltaloom_server.security.analysis.pool as _;"
        "print([m for m in ('bandit', 'detect_secrets', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
