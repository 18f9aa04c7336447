"""The client against real worker processes: start, share, cancel, die, come back."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deltaloom_model.api import CountRequest, GenerateUpdate, ModelSpec, Segment, SyncProgress, text_digest
from deltaloom_model.client import CRASHES_TOLERATED, EngineClient, ping_status
from deltaloom_model.errors import RequestFailed, WorkerUnavailable
from deltaloom_model.runtime_folder import log_path, token_path

Make = Callable[..., Any]


class Seen:
    """Collects progress, and lets a test wait for the first of it."""

    def __init__(self) -> None:
        self.items: list[SyncProgress | GenerateUpdate] = []
        self.first = asyncio.Event()

    def __call__(self, item: SyncProgress | GenerateUpdate) -> None:
        self.items.append(item)
        self.first.set()


async def running(client: EngineClient, request: Any) -> asyncio.Task[Any]:
    """A generate that has begun to produce."""
    seen = Seen()
    task = asyncio.create_task(client.generate(request, seen))
    await seen.first.wait()
    return task


async def facts(client: EngineClient, generate: Make) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((await client.generate(generate("facts", typed=""))).text)
    return found


def test_importing_client_and_worker_leaves_torch_unimported() -> None:
    code = (
        "import sys, deltaloom_model.client, deltaloom_model.worker\n"
        "assert not {'torch', 'numpy', 'pygls', 'lsprotocol', 'psutil'} & set(sys.modules)"
    )
    paths = [str(Path(sys.modules["deltaloom_model"].__path__[0]).parent)]
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": paths[0]})


async def test_the_first_call_starts_a_worker_and_is_answered(workers: Any, generate: Make) -> None:
    client = workers.client()
    assert (client.state, client.generation) == ("stopped", 0)
    seen = Seen()
    result = await client.generate(generate(typed="abc"), seen)
    assert result.text == "abc"
    assert seen.items == [GenerateUpdate("a"), GenerateUpdate("b"), GenerateUpdate("c")]
    assert (client.state, client.generation) == ("ready", 1)
    assert [state for state, _ in workers.states if state != "loading"] == ["starting", "ready"]


async def test_the_worker_is_a_process_of_its_own(workers: Any, generate: Make) -> None:
    found = await facts(workers.client(), generate)
    assert found["pid"] == found["group"] == found["session"] != os.getpid()
    assert found["standard_input"] == "/dev/null"
    assert found["standard_output"] == str(log_path(workers.socket()))
    assert (found["threads"], found["policy"], found["torch"]) == ("1", "10000", False)
    assert found["safe_path"] is True


async def test_count_and_sync_are_answered_with_progress(workers: Any, sync: Make) -> None:
    client = workers.client()
    digest = text_digest("hello")
    counted = await client.count(CountRequest([Segment("a", digest)], {digest: "hello"}))
    assert counted.tokens == [5]
    seen = Seen()
    result = await client.sync(sync("a", "b"), seen)
    assert (result.revision, result.tokens) == (1, 2)
    assert seen.items == [SyncProgress(0, 2), SyncProgress(1, 2)]
    assert (await client.status()).contexts[0].segments == 2


async def test_two_clients_share_one_worker(workers: Any, generate: Make) -> None:
    one, two = workers.client("one"), workers.client("two")
    await one.start()
    assert (await facts(one, generate))["pid"] == (await facts(two, generate))["pid"]


async def test_servers_that_start_at_once_end_with_one_worker(workers: Any, generate: Make) -> None:
    clients = [workers.client(str(number)) for number in range(6)]
    found = await asyncio.gather(*(facts(client, generate) for client in clients))
    assert len({each["pid"] for each in found}) == 1
    assert len(await asyncio.to_thread(workers.pids)) == 1


async def test_another_spec_gets_another_worker(workers: Any, generate: Make) -> None:
    one = workers.client()
    other = EngineClient(
        ModelSpec(threads=2), session="two", engine="scripted_engine:build", runtime_dir=workers.folder
    )
    workers.clients.append(other)
    assert (await facts(one, generate))["pid"] != (await facts(other, generate))["pid"]
    assert (await facts(other, generate))["threads"] == "2"
    assert len(await asyncio.to_thread(workers.pids)) == 2


async def test_a_cancelled_call_stops_the_request_in_the_worker(workers: Any, generate: Make) -> None:
    client = workers.client()
    task = await running(client, generate("endless", revision=41))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert "closed generate 41" in (await facts(client, generate))["journal"]


async def test_a_newer_sync_supersedes_the_older_one(workers: Any, sync: Make) -> None:
    client = workers.client()
    seen = Seen()
    older = asyncio.create_task(client.sync(sync("endless", revision=1), seen))
    await seen.first.wait()
    newer = await client.sync(sync("a", revision=2))
    assert (await older).superseded
    assert (newer.revision, newer.superseded) == (2, False)


async def test_a_failing_request_is_one_sentence_and_the_worker_lives_on(
    workers: Any, generate: Make
) -> None:
    client = workers.client()
    with pytest.raises(RequestFailed, match="RuntimeError") as caught:
        await client.generate(generate("raise"))
    assert "api_key" not in str(caught.value)
    assert (await client.generate(generate(typed="ok"))).text == "ok"
    log = log_path(workers.socket()).read_text()
    assert "scripted_engine.py" in log
    assert "RuntimeError" in log
    assert "api_key" not in log


async def test_a_callback_that_raises_fails_its_own_call(workers: Any, generate: Make) -> None:
    def broken(_update: GenerateUpdate) -> None:
        raise LookupError("mine")

    client = workers.client(on_state=lambda state, detail: 1 / 0)
    with pytest.raises(LookupError, match="mine"):
        await client.generate(generate(), broken)
    assert (await client.generate(generate(typed="ok"))).text == "ok"


async def test_every_client_of_a_killed_worker_finds_the_next_one(workers: Any, generate: Make) -> None:
    clients = [workers.client(str(number)) for number in range(3)]
    pending = [await running(client, generate("endless", session=client.session)) for client in clients]
    first = (await clients[0].status()).pid
    os.kill(first, signal.SIGKILL)
    results = await asyncio.gather(*pending, return_exceptions=True)
    assert [type(result) for result in results] == [WorkerUnavailable] * 3
    found = await asyncio.gather(*(facts(client, generate) for client in clients))
    assert len({each["pid"] for each in found} | {first}) == 2
    assert [client.generation for client in clients] == [2, 2, 2]


async def test_text_that_is_no_unicode_fails_its_own_request(workers: Any, generate: Make) -> None:
    client = workers.client()
    with pytest.raises(RequestFailed, match="surrogate"):
        await client.generate(generate(typed="\ud800"))
    assert (await client.generate(generate(typed="ok"))).text == "ok"


async def test_a_killed_worker_fails_the_pending_calls_and_the_next_starts_another(
    workers: Any, generate: Make
) -> None:
    client = workers.client()
    task = await running(client, generate("endless"))
    first = (await client.status()).pid
    os.kill(first, signal.SIGKILL)
    with pytest.raises(WorkerUnavailable, match="SIGKILL"):
        await task
    assert client.state == "away"
    assert (await client.generate(generate(typed="again"))).text == "again"
    assert client.generation == 2
    assert (await client.status()).pid != first


async def test_a_worker_that_exits_mid_answer_is_an_error_for_that_call(workers: Any, generate: Make) -> None:
    client = workers.client()
    with pytest.raises(WorkerUnavailable, match="exit status 3"):
        await client.generate(generate("exit"))
    assert (await client.generate(generate(typed="ok"))).text == "ok"


async def test_a_worker_that_keeps_crashing_stays_down_until_restart(workers: Any, generate: Make) -> None:
    client = workers.client()
    for _ in range(CRASHES_TOLERATED):
        with pytest.raises(WorkerUnavailable):
            await client.generate(generate("exit"))
    assert client.state == "failed"
    assert str(log_path(workers.socket()).parent) in client.detail
    with pytest.raises(WorkerUnavailable, match="until you ask"):
        await client.generate(generate())
    assert client.generation == CRASHES_TOLERATED
    await client.restart()
    assert (await client.generate(generate(typed="up"))).text == "up"


async def test_an_engine_that_kills_its_worker_while_loading_is_not_started_for_ever(
    workers: Any, generate: Make
) -> None:
    client = workers.client(engine="scripted_engine:build_crashing")
    for _ in range(CRASHES_TOLERATED):
        with pytest.raises(WorkerUnavailable):
            await client.generate(generate())
    assert client.state == "failed"


async def test_a_worker_that_is_told_to_end_is_no_crash(workers: Any, generate: Make) -> None:
    client = workers.client()
    for round_ in range(1, CRASHES_TOLERATED + 2):
        task = await running(client, generate("endless"))
        os.kill((await client.status()).pid, signal.SIGTERM)
        with pytest.raises(WorkerUnavailable, match="told to end"):
            await task
        assert (client.state, client.generation) == ("away", round_)


async def test_the_status_is_answered_while_the_model_loads(
    workers: Any, generate: Make, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    client = workers.client(engine="scripted_engine:build_gated")
    status = await client.status()
    assert (status.state, client.state) == ("loading", "loading")
    assert "nano" in status.detail
    assert status.pid > 0
    assert status.resident_bytes > 0
    waiting = asyncio.create_task(client.generate(generate(typed="late")))
    assert (await client.status()).state == "loading"
    await asyncio.to_thread(gate.write_bytes, b"")
    assert (await waiting).text == "late"
    assert client.state == "ready"


async def test_the_status_is_answered_while_the_engine_is_busy(workers: Any, generate: Make) -> None:
    client = workers.client()
    task = await running(client, generate("endless"))
    assert (await client.status()).state == "ready"
    assert not task.done()
    task.cancel()


async def test_a_model_that_cannot_be_loaded_says_why_and_can_be_loaded_again(
    workers: Any, generate: Make, tmp_path: Path
) -> None:
    client = workers.client(engine="scripted_engine:build_failing")
    with pytest.raises(RequestFailed, match=r"no config\.json"):
        await client.generate(generate())
    assert (client.state, client.generation) == ("failed", 1)
    assert "config.json" in client.detail
    assert (await client.status()).state == "failed"
    (tmp_path / "gate").touch()
    await client.restart()
    assert (await client.generate(generate(typed="ok"))).text == "ok"
    assert client.state == "ready"


async def test_an_idle_worker_leaves_and_takes_its_socket_and_token_along(workers: Any) -> None:
    client = workers.client(idle_seconds=1.0)
    await client.start()
    worker = client._worker
    await client.close()
    assert await worker.exit_sentence(20.0) == "it ended with exit status 0"
    assert not workers.socket().exists()
    assert not token_path(workers.socket()).exists()


async def test_a_closed_connection_takes_its_session_along(workers: Any, sync: Make, generate: Make) -> None:
    one, two = workers.client("one"), workers.client("two")
    await two.start()
    await one.sync(sync("a"))
    await one.close()
    journal = (await facts(two, generate))["journal"]
    while "forget one" not in journal:
        journal = (await facts(two, generate))["journal"]
    assert (await two.status()).contexts == []


async def test_closing_ends_calls_that_wait(workers: Any, generate: Make) -> None:
    client = workers.client()
    task = await running(client, generate("endless"))
    await client.close()
    with pytest.raises(WorkerUnavailable, match="closed"):
        await task
    assert client.state == "stopped"


async def test_closing_while_a_worker_starts_leaves_nothing_waiting(workers: Any, generate: Make) -> None:
    client = workers.client()
    task = asyncio.create_task(client.generate(generate()))
    while client.state != "starting":
        await asyncio.sleep(0)
    await client.close()
    with pytest.raises((asyncio.CancelledError, WorkerUnavailable)):
        await task


async def test_without_spawning_there_must_be_a_worker(workers: Any, generate: Make) -> None:
    watcher = workers.client("two", spawn=False)
    with pytest.raises(WorkerUnavailable, match="No model worker"):
        await watcher.status()
    assert ping_status(workers.folder) == []
    await workers.client().start()
    assert (await watcher.status()).state in {"loading", "ready"}
