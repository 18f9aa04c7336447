"""A small workspace with things to hide, a session on it, and a real worker whose model says its lines."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from deltaloom_model.api import ModelSpec
from deltaloom_model.client import EngineClient, ping_status
from deltaloom_server.session import Session

FILES = {
    "shop/order.py": (
        '"""Orders."""\n\nLIMIT = 10\n\n\nclass Order:\n    def total(self) -> int:\n        """The sum."""\n'
        "        return sum(self.prices)\n\n\ndef total() -> None: ...\n"
    ),
    "shop/user.js": "export class User {\n  total() { return 1; }\n}\nconst limit = () => 2;\n",
    "notes.txt": "def total is in order.py\nSECRET_WORD never\n",
    "empty.py": "",
    ".gitignore": "ignored/\n",
    "ignored/hidden.py": "def total(): SECRET_WORD\n",
    ".env": "SECRET_WORD=1\n",
    "keys.py": "KEY = 'ghp_" + "a" * 40 + "'  # SECRET_WORD\n",
    "node_modules/x/index.js": "SECRET_WORD\n",
}


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    root = tmp_path / "shop-root"
    for path, text in FILES.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    (tmp_path / "outside.py").write_text("SECRET_WORD\n")
    (root / "link.py").symlink_to(tmp_path / "outside.py")
    (root / "linked").symlink_to(tmp_path)
    return root


@pytest.fixture
def session(workspace: Path) -> Session:
    made = Session("one")
    made.configure(None, [str(workspace)])
    made.begin_context()
    return made


@dataclass
class Sync:
    """What `ask` uses of a sync."""

    flushes: int = 0
    lost: int = 0

    async def flush(self) -> None:
        self.flushes += 1

    def note_lost(self) -> None:
        self.lost += 1


@dataclass
class Server:
    """What `ask` uses of `DeltaloomServer`."""

    session: Session
    executor: ThreadPoolExecutor
    client: EngineClient | None = None
    sync: Sync | None = field(default_factory=Sync)
    started: int = 0

    def ensure_started(self) -> None:
        self.started += 1


@dataclass
class Talker:
    """The model's lines: to be set before it is asked first, and what it was asked."""

    folder: Path

    def says(self, *answers: str) -> None:
        (self.folder / "answers").write_text(json.dumps(answers), encoding="utf-8")

    def can(self, *abilities: str) -> None:
        self.put("abilities", " ".join(abilities))

    def put(self, name: str, text: str = "") -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    @property
    def asked(self) -> list[dict[str, Any]]:
        path = self.folder / "journal"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]

    def turns(self, number: int) -> list[tuple[str, str]]:
        """The conversation of the request with this number, as (role, text)."""
        return [(message["role"], message["text"]) for message in self.asked[number]["messages"]]


@pytest.fixture
def talker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Talker:
    made = Talker(tmp_path / "talk")
    made.folder.mkdir()
    made.can("fim", "instruct", "tools")
    monkeypatch.setenv("TALK_FOLDER", str(made.folder))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return made


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(max_workers=2) as made:
        yield made


@pytest_asyncio.fixture
async def server(session: Session, talker: Talker, executor: ThreadPoolExecutor) -> AsyncIterator[Server]:
    with tempfile.TemporaryDirectory(prefix="dl") as folder:  # whose sockets' paths fit
        runtime = Path(folder) / "run"
        spec = ModelSpec(threads=1)
        client = EngineClient(
            spec, session=session.id, engine="talking_engine:build", runtime_dir=runtime, idle_seconds=20.0
        )
        yield Server(session, executor, client)
        pids = {status.pid for status in await asyncio.to_thread(ping_status, runtime)}
        await client.close()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
