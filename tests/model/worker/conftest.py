"""Real workers on a scripted engine, in folders of the test's own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from deltaloom_model.api import GenerateRequest, ModelSpec, Segment, SyncRequest, text_digest
from deltaloom_model.client import EngineClient, ping_status
from deltaloom_model.runtime_folder import runtime_folder, socket_path, worker_identity

ENGINE = "scripted_engine:build"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(30))


class Workers:
    """Makes clients that share one runtime folder, and ends what they started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clients: list[EngineClient] = []
        self.states: list[tuple[str, str]] = []

    def client(self, session: str = "one", engine: str = ENGINE, **options: Any) -> EngineClient:
        options.setdefault("on_state", lambda state, detail: self.states.append((state, detail)))
        client = EngineClient(
            ModelSpec(threads=1), session=session, engine=engine, runtime_dir=self.folder, **options
        )
        self.clients.append(client)
        return client

    def socket(self, engine: str = ENGINE) -> Path:
        return socket_path(runtime_folder(self.folder), worker_identity(ModelSpec(threads=1), engine))

    def pids(self) -> list[int]:
        return [status.pid for status in ping_status(self.folder)]

    async def close(self) -> None:
        pids = set(await asyncio.to_thread(self.pids))
        pids |= {client._worker.pid for client in self.clients if client._worker is not None}
        for client in self.clients:
            await client.close()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose sockets' paths fit, which pytest's own may not."""
    with tempfile.TemporaryDirectory(prefix="dl") as folder:
        yield Path(folder)


@pytest_asyncio.fixture
async def workers(
    tmp_path: Path, short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Workers]:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("SCRIPTED_GATE", str(tmp_path / "gate"))
    made = Workers(short_folder / "run")
    yield made
    await made.close()


@pytest.fixture
def generate() -> Callable[..., GenerateRequest]:
    def make(deed: str = "echo", typed: str = "abc", **fields: Any) -> GenerateRequest:
        values: dict[str, Any] = {"session": "one", "workspace": "w", "repository": "r", "revision": 1}
        values |= {"prefix": "", "suffix": ""} | fields
        return GenerateRequest(path=deed, typed=typed, **values)

    return make


@pytest.fixture
def sync() -> Callable[..., SyncRequest]:
    def make(*paths: str, log: tuple[str, ...] = (), revision: int = 1, **fields: Any) -> SyncRequest:
        segments = [Segment(path, text_digest(path)) for path in paths]
        segments += [Segment(path, text_digest(path), kind="log") for path in log]
        values: dict[str, Any] = {"session": "one", "workspace": "w", "repository": "r"} | fields
        return SyncRequest(revision=revision, segments=segments, **values)

    return make
