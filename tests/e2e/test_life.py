"""Processes: how they begin, die, come back, are shared, and leave nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import Any

import psutil

MARK = "a_very_private_marker_8c1f"


async def test_a_killed_worker_is_replaced_and_the_session_goes_on(start: Any, workspace: Path) -> None:
    cart = workspace / "shop/cart.py"
    async with start(workspace, completion={"reuse": False}) as server:
        ready = await server.ready()
        server.editor.open(cart)
        first, before = await server.ask(cart, "total = ")
        os.kill(before.worker.pid, signal.SIGKILL)
        await server.until(lambda report: report.engine["state"] != "ready" or report.worker is not None)
        during, _ = await server.ask(cart, "total = ")
        assert isinstance(during.text, str)
        await server.until(lambda report: report.engine["generation"] > 1 and report.context.state == "ready")
        again, after = await server.ask(cart, "total = ")
        assert again.text == first.text
        assert after.worker.pid != before.worker.pid
        # Not the logits' digest: a new worker measures the machine anew, and may read in other chunks.
        assert after.last_completion.context_tokens == before.last_completion.context_tokens
        assert after.last_completion.repository_context
        assert ready.pid == after.pid


async def test_two_servers_share_one_worker_and_not_their_unsaved_text(start: Any, workspace: Path) -> None:
    cart = workspace / "shop/cart.py"
    money = workspace / "shop/money.py"
    async with start(workspace, completion={"reuse": False}) as one:
        await one.ready()
        one.editor.open(cart)
        _, alone = await one.ask(cart, "total = ")
        async with start(workspace, completion={"reuse": False}) as two:
            report = await two.ready()
            assert report.worker.pid == alone.worker.pid
            two.editor.open(money)
            two.editor.insert(money, 0, 0, "SECRET_PLAN = 1\n")
            await two.editor.ghost_text(money, 0, 0)
            two.editor.open(cart)
            _, theirs = await two.ask(cart, "total = ")
            _, ours = await one.ask(cart, "total = ")
            assert ours.last_completion.logits_digest == alone.last_completion.logits_digest
            assert theirs.last_completion.logits_digest != ours.last_completion.logits_digest


async def test_the_process_leaves_with_the_status_the_protocol_says(raw: Any) -> None:
    await raw.initialize()
    assert (await raw.request("shutdown", None, 2))["result"] is None
    await raw.send({"jsonrpc": "2.0", "method": "exit"})
    assert await asyncio.wait_for(raw.process.wait(), 10) == 0


async def test_the_process_leaves_when_stdin_ends(raw: Any) -> None:
    await raw.initialize()
    raw.process.stdin.close()
    assert await asyncio.wait_for(raw.process.wait(), 10) == 1


async def test_the_process_leaves_with_its_editor(raw: Any) -> None:
    editor = await asyncio.create_subprocess_exec("sleep", "60")
    await raw.initialize(processId=editor.pid)
    editor.kill()
    await editor.wait()
    assert await asyncio.wait_for(raw.process.wait(), 20) == 1


async def test_an_idle_worker_leaves_with_its_socket(
    start: Any, workspace: Path, environment: dict[str, str]
) -> None:
    async with start(workspace) as server:
        worker = psutil.Process((await server.ready()).worker.pid)
    with contextlib.suppress(psutil.NoSuchProcess):
        await asyncio.to_thread(worker.wait, 30)
    left = [path.name for path in Path(environment["XDG_RUNTIME_DIR"]).rglob("*.sock")]
    assert left == []


async def test_nothing_private_is_logged_and_nobody_is_called(
    start: Any, workspace: Path, environment: dict[str, str]
) -> None:
    path = workspace / "private.py"
    path.write_text(f"{MARK} = 1\n\n\ndef use():\n    return \n", encoding="utf-8")
    async with start(workspace, log={"level": "debug"}) as server:
        report = await server.ready()
        server.editor.open(path)
        await server.ask(path, "return ")
        server.editor.insert(path, 1, 0, f"{MARK}_typed = 2\n")
        await server.ask(path, "return ")
        for pid in (server.pid, report.worker.pid):
            families = {connection.family.name for connection in psutil.Process(pid).net_connections()}
            assert not families & {"AF_INET", "AF_INET6"}
        shown = str(await server.client.request("deltaloom/status", None))
        assert MARK not in shown
    logs = [path for path in Path(environment["XDG_STATE_HOME"]).rglob("*") if path.is_file()]
    assert any(path.name == "server.log" for path in logs)
    for path in logs:
        assert MARK not in path.read_text(encoding="utf-8", errors="replace")
        assert path.stat().st_mode & 0o077 == 0
    runtime = Path(environment["XDG_RUNTIME_DIR"]) / "deltaloom"
    assert runtime.stat().st_mode & 0o777 == 0o700
