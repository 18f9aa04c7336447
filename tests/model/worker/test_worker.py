"""The worker against peers that break the protocol, and its files' modes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
import struct
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from deltaloom_model import framing
from deltaloom_model._version import __version__
from deltaloom_model.api import (
    PROTOCOL_VERSION,
    CountRequest,
    EngineStatus,
    ModelSpec,
    Segment,
    StatusRequest,
)
from deltaloom_model.client import ping_status
from deltaloom_model.errors import HandshakeRefused, RequestFailed, UnsupportedPlatform, WorkerUnavailable
from deltaloom_model.framing import Goodbye, Hello, Refused, ReplyEnvelope, RequestEnvelope, Welcome
from deltaloom_model.runtime_folder import (
    log_path,
    model_identity,
    peer_uid,
    read_token,
    require_unix_sockets,
    runtime_folder,
    socket_path,
    token_path,
    worker_identity,
    write_token,
)
from deltaloom_model.spawn import worker_command, worker_environment
from deltaloom_model.worker_log import LOG_GENERATIONS

Make = Callable[..., Any]
IDENTITY = worker_identity(ModelSpec(threads=1), "scripted_engine:build")


class Peer:
    """A raw connection to a worker."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, body: Any, identifier: int = 1) -> None:
        self.writer.write(framing.encode(RequestEnvelope(identifier, body)))

    async def receive(self) -> Any:
        body = await framing.read_frame(self.reader)
        return None if body is None else framing.decode_reply(body).body

    async def is_closed(self) -> bool:
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(1 << 16):
                pass
        return True


@pytest_asyncio.fixture
async def connect(workers: Any) -> AsyncIterator[Callable[[], Awaitable[Peer]]]:
    """Connects to the worker of a client that has started it and stays."""
    client = workers.client()
    await client.start()
    peers: list[Peer] = []

    async def open_peer() -> Peer:
        peers.append(Peer(*await asyncio.open_unix_connection(str(workers.socket()))))
        return peers[-1]

    yield open_peer
    for peer in peers:
        peer.writer.close()
        with contextlib.suppress(ConnectionError):
            await peer.writer.wait_closed()


def hello(workers: Any, **changes: Any) -> Hello:
    good = Hello(read_token(workers.socket()), PROTOCOL_VERSION, __version__, IDENTITY)
    return msgspec.structs.replace(good, **changes)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"token": "0" * 64}, "token"),
        ({"token": ""}, "token"),
        ({"token": "0" * 64, "identity": ""}, "token"),
        ({"protocol": PROTOCOL_VERSION + 1}, "protocol"),
        ({"version": "0.0.0"}, "version 0.0.0"),
        ({"identity": "0" * 32}, "another model"),
    ],
)
async def test_a_hello_that_does_not_fit_is_refused_in_one_sentence(
    workers: Any, connect: Any, changes: dict[str, Any], sentence: str
) -> None:
    peer = await connect()
    peer.send(hello(workers, **changes))
    answer = await peer.receive()
    assert isinstance(answer, Refused)
    assert sentence in answer.message
    assert answer.message.endswith(".")
    assert await peer.is_closed()


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        struct.pack(">I", 8) + b"\xc1" * 8,
        struct.pack(">I", 4) + msgspec.msgpack.encode([1, {}])[:4],
        struct.pack(">I", framing.MAX_HELLO_BYTES + 1),
        struct.pack(">I", 0),
        struct.pack(">I", 20) + b"\x91" * 20,
    ],
    ids=["http", "invalid", "cut short", "too long", "empty", "nested"],
)
async def test_garbage_before_the_hello_closes_only_that_connection(
    workers: Any, connect: Any, raw: bytes, generate: Make
) -> None:
    peer = await connect()
    peer.writer.write(raw)
    peer.writer.write_eof()
    assert await peer.is_closed()
    assert (await workers.clients[0].generate(generate(typed="ok"))).text == "ok"


@pytest.mark.parametrize(
    "raw",
    [
        struct.pack(">I", framing.MAX_FRAME_BYTES + 1),
        struct.pack(">I", 3) + b"abc",
        framing.encode(ReplyEnvelope(1, Goodbye("."))),
        struct.pack(">I", 1 << 16) + b"\x91" * (1 << 16),
    ],
    ids=["oversized", "invalid", "a reply", "deeply nested"],
)
async def test_a_bad_frame_after_the_hello_closes_only_that_connection_with_a_logged_sentence(
    workers: Any, connect: Any, raw: bytes, generate: Make
) -> None:
    peer = await connect()
    peer.send(hello(workers))
    assert isinstance(await peer.receive(), Welcome)
    peer.writer.write(raw)
    assert await peer.is_closed()
    assert (await workers.clients[0].generate(generate(typed="ok"))).text == "ok"
    assert "connection 2 closed: A frame" in log_path(workers.socket()).read_text()


async def test_an_observer_may_ask_for_the_status_and_nothing_else(
    workers: Any, connect: Any, generate: Make
) -> None:
    peer = await connect()
    peer.send(hello(workers, identity=""))
    assert isinstance(await peer.receive(), Welcome)
    peer.send(StatusRequest(), 2)
    assert isinstance(await peer.receive(), EngineStatus)
    peer.send(generate(), 3)
    assert await peer.is_closed()


async def test_a_peer_that_vanishes_mid_frame_leaves_the_worker_standing(
    workers: Any, connect: Any, generate: Make
) -> None:
    peer = await connect()
    peer.send(hello(workers))
    await peer.receive()
    peer.writer.write(struct.pack(">I", 1 << 20) + b"part")
    peer.writer.transport.abort()
    assert (await workers.clients[0].generate(generate(typed="ok"))).text == "ok"


async def test_folder_socket_token_and_log_are_private(workers: Any, connect: Any) -> None:
    def mode(path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    assert mode(workers.socket().parent) == 0o700
    assert mode(workers.socket()) == 0o600
    assert mode(token_path(workers.socket())) == 0o600
    assert mode(log_path(workers.socket())) == 0o600


async def test_a_worker_leaves_when_its_token_is_gone(workers: Any, generate: Make, tmp_path: Path) -> None:
    client = workers.client(watch_seconds=0.05)
    await client.start()
    token_path(workers.socket()).unlink()
    worker = client._worker
    assert await worker.exit_sentence(20.0) == "it ended with exit status 0"
    assert (await client.generate(generate(typed="new"))).text == "new"


async def test_a_stale_socket_is_replaced(workers: Any, generate: Make) -> None:
    runtime_folder(workers.folder)
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(workers.socket()))
    assert (await workers.client().generate(generate(typed="ok"))).text == "ok"


async def test_a_foreign_worker_at_our_socket_makes_us_start_our_own(
    workers: Any, connect: Any, generate: Make
) -> None:
    write_token(workers.socket())  # as if whoever listens there were not the one who wrote the token
    client = workers.client("two")
    assert (await client.generate(generate(typed="own"))).text == "own"
    assert (await client.status()).pid != (await workers.clients[0].status()).pid
    with pytest.raises(HandshakeRefused):
        await workers.client("three", spawn=False).start()


async def test_a_worker_started_by_hand_does_not_join_one_that_serves(workers: Any, connect: Any) -> None:
    command = worker_command(workers.socket(), ModelSpec(threads=1), "scripted_engine:build")
    second = await asyncio.create_subprocess_exec(
        *command, env=worker_environment(), stderr=asyncio.subprocess.PIPE
    )
    _, said = await second.communicate()
    assert second.returncode == 1
    assert b"Another model worker already serves" in said
    assert len(ping_status(workers.folder)) == 1


async def test_a_worker_whose_forward_thread_dies_ends_and_is_replaced(workers: Any, generate: Make) -> None:
    client = workers.client()
    with pytest.raises(WorkerUnavailable, match="exit status 1"):
        await client.generate(generate("system exit"))
    assert (await client.generate(generate(typed="ok"))).text == "ok"


async def test_an_answer_that_cannot_be_sent_is_an_error_not_a_silence(workers: Any, generate: Make) -> None:
    client = workers.client()
    with pytest.raises(RequestFailed, match="can't be sent"):
        await client.generate(generate("surrogate", typed=""))


async def test_a_large_frame_crosses_whole(workers: Any) -> None:
    text = "x" * (20 << 20)
    counted = await workers.client().count(CountRequest([Segment("big", "d")], {"d": text}))
    assert counted.tokens == [len(text)]


def test_the_log_rotates_and_takes_stray_prints_but_no_exceptions_text(tmp_path: Path) -> None:
    code = f"""
import logging, os
from pathlib import Path
from deltaloom_model.worker_log import LOG_BYTES, log_failure, open_log
open_log(Path({str(tmp_path / "w.log")!r}))
for number in range(LOG_BYTES // 1000 * 2):
    logging.info("%s", "y" * 1000)
os.write(1, b"a stray print\\n")
try:
    raise ValueError("password = 1")
except ValueError as error:
    log_failure("the deed", error)
"""
    subprocess.run([sys.executable, "-c", code], check=True, env=worker_environment())
    newest = (tmp_path / "w.log").read_text()
    assert "a stray print" in newest
    assert "the deed failed" in newest
    assert "builtins.ValueError" in newest
    assert "password" not in newest
    assert 2 <= len(list(tmp_path.glob("w.log*"))) <= LOG_GENERATIONS + 1


def test_a_token_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    write_token(tmp_path / "w.sock")
    token_path(tmp_path / "w.sock").chmod(0o644)
    with pytest.raises(WorkerUnavailable, match="private"):
        read_token(tmp_path / "w.sock")


def test_a_folder_that_others_can_enter_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(mode=0o755)
    with pytest.raises(WorkerUnavailable, match="chmod 700"):
        runtime_folder(tmp_path / "run")
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o755


def test_a_link_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").symlink_to(tmp_path)
    with pytest.raises(WorkerUnavailable, match="isn't a folder of yours"):
        runtime_folder(tmp_path / "run")


def test_a_folder_too_long_for_a_socket_gets_a_short_one_in_its_place(
    tmp_path: Path, short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(short_folder))
    long = tmp_path / ("x" * 120)
    folder = runtime_folder(long)
    assert folder == runtime_folder(long) != runtime_folder(tmp_path / ("y" * 120))
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(socket_path(folder, "0" * 32)))
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700


@pytest.mark.skipif(sys.platform != "linux", reason="the XDG variables are Linux's")
def test_without_a_runtime_folder_the_cache_holds_the_sockets(
    short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_folder / "gone"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(short_folder / "c"))
    assert runtime_folder() == short_folder / "c" / "deltaloom" / "run"
    (short_folder / "gone").mkdir(mode=0o700)
    assert runtime_folder() == short_folder / "gone" / "deltaloom"


def test_the_identity_follows_the_models_files_and_the_spec(tmp_path: Path) -> None:
    spec = ModelSpec(path=str(tmp_path / "m"))
    seen = {model_identity(spec)}
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text("{}")
    seen.add(model_identity(spec))
    (tmp_path / "m" / "config.json").write_text('{"layers": 4}')
    seen.add(model_identity(spec))
    (tmp_path / "m" / "model.safetensors").write_bytes(b"\0" * 64)
    seen.add(model_identity(spec))
    assert len(seen) == 4
    assert worker_identity(spec) != worker_identity(msgspec.structs.replace(spec, max_tokens=1))
    assert worker_identity(spec) == worker_identity(spec)


def test_the_kernel_says_who_is_at_the_other_end() -> None:
    one, two = socket.socketpair(socket.AF_UNIX)
    with one, two:
        assert peer_uid(one) == os.getuid()


def test_a_system_without_unix_sockets_gets_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_UNIX")
    with pytest.raises(UnsupportedPlatform, match="WSL"):
        require_unix_sockets()
