"""However a session ends, the server goes, and what it started goes after it; nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest


async def test_exit_after_shutdown_is_status_zero(scripted) -> None:
    assert await scripted.leave() == 0


async def test_exit_without_shutdown_is_status_one(scripted) -> None:
    scripted.notify("exit", None)
    assert await scripted.exit_status() == 1


async def test_exit_before_initialize_is_status_one(home, start_server) -> None:
    server = await start_server(home)
    server.notify("exit", None)
    assert await server.exit_status() == 1


@pytest.mark.parametrize(("shuts_down", "status"), [(True, 0), (False, 1)])
async def test_the_end_of_stdin_is_the_end_of_the_session(scripted, shuts_down: bool, status: int) -> None:
    if shuts_down:
        await scripted.request("shutdown")
    scripted.process.stdin.close()
    assert await scripted.exit_status() == status


async def test_the_server_goes_with_the_process_that_it_was_told_of(home, start_server, workspace) -> None:
    """stdin stays open here: a child of the editor may hold it."""
    editor = await asyncio.create_subprocess_exec("sleep", "600")
    server = await start_server(home, engine="build")
    await server.initialize([workspace], processId=editor.pid)
    await server.until_context()
    editor.kill()
    await editor.wait()
    assert await server.exit_status() == 1


@pytest.mark.parametrize("process_id", [None, 2**22 + 5, 2**40, -1])
async def test_a_process_that_cannot_be_seen_ends_nothing(
    home, start_server, workspace: Path, process_id: int | None
) -> None:
    server = await start_server(home, engine="build")
    await server.initialize([workspace], processId=process_id)
    uri = server.open(workspace / "new.py", "alpha")
    assert await server.ghost(uri, 0, 5) == ["ALPHA"]


@pytest.mark.parametrize("hold", ["hold new.py", "hold sync"])
async def test_work_under_way_does_not_keep_the_server(
    home, start_server, workspace: Path, hold: str
) -> None:
    home.script(hold)
    server = await start_server(home, engine="build")
    await server.initialize([workspace])
    uri = server.open(workspace / "new.py", "alpha")
    _, answer = server.begin_ghost(uri, 0, 5)
    await server.until_journal("begin new.py alpha")
    assert await server.leave() == 0
    assert answer.done() or answer.cancel()
    await server.until_journal("forget")


async def test_a_model_that_is_being_loaded_does_not_keep_the_server(
    home, start_server, workspace: Path
) -> None:
    home.script("hold load")
    server = await start_server(home, engine="build_held")
    await server.initialize([workspace])
    await server.until_status(lambda report: report["engine"]["state"] == "loading")
    assert await server.leave() == 0


async def test_an_editor_that_no_longer_reads_does_not_keep_the_server(
    home, start_server, workspace: Path
) -> None:
    server = await start_server(home, engine="build")
    await server.initialize([workspace])
    server.process._transport.get_pipe_transport(1).close()
    for _ in range(3):
        server.begin("deltaloom/status")
    assert await server.exit_status() == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_server_that_is_killed_leaves_no_worker(
    home, start_server, workspace: Path, number: signal.Signals
) -> None:
    server = await start_server(home, engine="build")
    await server.initialize([workspace], {"worker": {"idle_seconds": 1}})
    await server.until_context()
    server.process.send_signal(number)
    assert await server.exit_status() == -number
    await server.until_journal("forget")
    await assert_nothing_is_left(server)


async def test_nothing_is_left_of_a_session(home, start_server, workspace: Path) -> None:
    before = snapshot(workspace)
    server = await start_server(home, engine="build")
    await server.initialize([workspace], {"worker": {"idle_seconds": 1}})
    uri = server.open(workspace / "new.py", "alpha")
    await server.until_context()
    assert await server.ghost(uri, 0, 5) == ["ALPHA"]
    await server.until(lambda: list(home.runtime.glob("server-*.json")))
    assert await server.leave() == 0
    assert list(home.runtime.glob("server-*.json")) == []
    await assert_nothing_is_left(server)
    assert snapshot(workspace) == before


async def assert_nothing_is_left(server: Any) -> None:
    await server.until(lambda: server.home.processes() == [])
    left = {path.suffix for path in server.home.runtime.iterdir() if not path.name.startswith("server-")}
    assert left == {".lock"}  # never removed: who waits for it would hold another file than who comes next


def snapshot(folder: Path) -> dict[str, bytes]:
    """What a folder holds; the server writes nothing into a workspace."""
    return {
        name: (Path(parent) / name).read_bytes() for parent, _, names in os.walk(folder) for name in names
    }
