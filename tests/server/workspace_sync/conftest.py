"""A workspace on disk whose sync with a scripted worker can be watched turn by turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from deltaloom_server import workspace_sync
from deltaloom_server.session import Session
from deltaloom_server.work_progress import ProgressBoard
from deltaloom_server.workspace_sync import WorkspaceSync

FILES = {"a.py": "a = 1\n", "b.py": "b = 2\n", "sub/c.py": "c = 3\n"}


@dataclass
class Rig:
    """A workspace on disk, a session in it, and the sync under test."""

    sync: WorkspaceSync
    session: Session
    client: Any
    server: Any
    board: ProgressBoard
    root: Path
    events: Any
    files: dict[str, str]

    async def until(self, state: str) -> None:
        """Wait until a turn has ended in this state, with all that its end brings about."""
        await self.events.until(lambda: self.sync.state == state)
        while (working := self.sync._working) is not None:
            await asyncio.wait([working])
            await self.events.until(lambda: self.sync.state == state)

    async def begin(self) -> None:
        self.sync.start()
        await self.until("ready")

    def open(self, name: str, text: str) -> None:
        self.session.open_document((self.root / name).as_uri(), "python", 1, text)

    def select(self, name: str) -> None:
        """The cursor goes there: what was edited elsewhere is settled."""
        self.session.take_snapshot((self.root / name).as_uri(), 0, 0)

    @property
    def shown(self) -> dict[str, str]:
        """What the worker was last brought to, by path: the newest copies, without what is gone."""
        request = next(request for request in reversed(self.client.syncs) if not request.compaction)
        newest = {segment.path: segment for segment in request.segments}
        return {path: self.client.texts[s.digest] for path, s in newest.items() if not s.tombstone}


@pytest_asyncio.fixture
async def rig(
    server: Any, client: Any, events: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Rig]:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("DEBOUNCE_SECONDS", "RETRY_SECONDS", "IDLE_SECONDS"):
        monkeypatch.setattr(workspace_sync, name, 0.0)
    root = tmp_path / "shop"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    session = server.session
    session.configure(None, [str(root)])
    session.begin_context()
    board = ProgressBoard()
    sync = WorkspaceSync(session, client, server.notices, board, server.executor, events.note)
    yield Rig(sync, session, client, server, board, root, events, FILES)
    client.open_gate.set()
    await sync.close()
