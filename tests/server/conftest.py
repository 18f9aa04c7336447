"""A model that answers when the test says so, and a server of which only what is used is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pytest
import pytest_asyncio

from deltaloom_model.api import (
    CountRequest,
    CountResult,
    EngineStatus,
    GenerateRequest,
    GenerateResult,
    ModelInfo,
    PurgeRequest,
    PurgeResult,
    SyncProgress,
    SyncRequest,
    SyncResult,
    text_digest,
)
from deltaloom_server.notices import Notices
from deltaloom_server.security.service import SecurityService
from deltaloom_server.session import Session

_PATIENCE_SECONDS = 60


class Events:
    """Something happened: whoever waits for a condition looks again."""

    def __init__(self) -> None:
        self._happened = asyncio.Event()

    def note(self, *_: object) -> None:
        self._happened.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return once `holds()` is true; fails where nothing happens any more that makes it so."""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while not holds():
                self._happened.clear()
                await self._happened.wait()


@dataclass
class Call:
    """One `generate` under way; the test sets its answer."""

    request: GenerateRequest
    answer: asyncio.Future[GenerateResult]

    def give(self, text: str, reason: str = "") -> None:
        result = GenerateResult(self.request.revision, text, "stop", reason, new_tokens=3, logits_digest="d")
        self.answer.set_result(result)


class ScriptedClient:
    """A `ModelClient` that counts words as tokens, keeps texts, and shows what it was asked."""

    def __init__(self, events: Events) -> None:
        self.state = "ready"
        self.detail = ""
        self.generation = 1
        self.context_limit = 100_000
        self.texts: dict[str, str] = {text_digest(""): ""}
        self.counts: list[CountRequest] = []
        self.syncs: list[SyncRequest] = []
        self.calls: list[Call] = []
        self.purges: list[PurgeRequest] = []
        self.starts = self.restarts = 0
        self.busy = self.ordinary = self.most_busy = 0
        self.open_gate = asyncio.Event()
        self.open_gate.set()
        self.supersede = 0
        """So many syncs are answered with "a newer revision took over"."""
        self.errors: list[Exception] = []
        """What the next syncs fail with, and `count_errors` the next counts."""
        self.count_errors: list[Exception] = []
        self.closed = False
        self._events = events

    def lose_everything(self) -> None:
        """A new worker in place of the old one."""
        self.texts = {text_digest(""): ""}
        self.generation += 1

    @property
    def shown(self) -> list[tuple[str, str]]:
        """What the last sync asked for, as (path, text)."""
        request = next(request for request in reversed(self.syncs) if not request.compaction)
        return [(segment.path, self.texts[segment.digest]) for segment in request.segments]

    async def start(self) -> None:
        self.starts += 1

    async def restart(self) -> None:
        self.restarts += 1
        self.state = "ready"

    async def close(self) -> None:
        self.closed = True

    async def count(self, request: CountRequest) -> CountResult:
        self.counts.append(request)
        if self.count_errors:
            raise self.count_errors.pop(0)
        self.texts |= request.texts
        held = [self.texts.get(segment.digest) for segment in request.segments]
        return CountResult([-1 if text is None else len(text.split()) + 1 for text in held])

    async def sync(
        self, request: SyncRequest, on_progress: Callable[[SyncProgress], None] | None = None
    ) -> SyncResult:
        self.syncs.append(request)
        self.busy += 1
        if not request.compaction:  # which stands beside the others
            self.ordinary += 1
            self.most_busy = max(self.most_busy, self.ordinary)
        self._events.note()
        try:
            await self.open_gate.wait()
            if self.errors:
                raise self.errors.pop(0)
        finally:
            self.busy -= 1
            self.ordinary -= not request.compaction
            self._events.note()
        digests = dict.fromkeys(segment.digest for segment in request.segments)
        if missing := [digest for digest in digests if digest not in self.texts]:
            return SyncResult(request.revision, missing)
        if self.supersede:
            self.supersede -= 1
            return SyncResult(request.revision, superseded=True)
        if on_progress is not None:
            on_progress(SyncProgress(len(digests), len(digests)))
        return SyncResult(request.revision, tokens=len(digests))

    async def generate(self, request: GenerateRequest, on_update: object = None) -> GenerateResult:
        call = Call(request, asyncio.get_running_loop().create_future())
        self.calls.append(call)
        self._events.note()
        return await call.answer

    async def purge(self, request: PurgeRequest) -> PurgeResult:
        self.purges.append(request)
        return PurgeResult()

    async def status(self) -> EngineStatus:
        return EngineStatus("ready", model=ModelInfo("m", "h", context_limit=self.context_limit))


@dataclass
class ScriptedServer:
    """What `Suggester`, `DiskWatch` and the handlers use of `DeltaloomServer`."""

    session: Session
    client: ScriptedClient | None
    notices: Notices
    executor: ThreadPoolExecutor
    sync: Any = None
    watch: Any = None
    told: list[str] = field(default_factory=list)
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)
    started: int = 0
    reports: int = 0
    forgotten: int = 0
    differing: int = 0
    news: list[str] = field(default_factory=list)
    is_patient: bool = False

    @cached_property
    def security(self) -> SecurityService:
        return SecurityService(self, self.news.append, cached=False)  # type: ignore[arg-type]

    def ensure_started(self) -> None:
        self.started += 1

    def report_soon(self) -> None:
        self.reports += 1

    def forget_suggestions(self) -> None:
        self.forgotten += 1

    def findings_may_differ(self) -> None:
        self.differing += 1

    def in_background(self, work: Coroutine[Any, Any, Any]) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(work))

    async def settle(self) -> None:
        """Wait for all background work begun so far, and what it began."""
        while self.tasks:
            await self.tasks.pop()


@pytest_asyncio.fixture
async def events() -> Events:
    return Events()


@pytest_asyncio.fixture
async def client(events: Events) -> ScriptedClient:
    return ScriptedClient(events)


@pytest.fixture
def session() -> Session:
    return Session("session")


@pytest_asyncio.fixture
async def server(session: Session, client: ScriptedClient) -> AsyncIterator[ScriptedServer]:
    told: list[str] = []
    notices = Notices(lambda _weight, sentence: told.append(sentence))
    with ThreadPoolExecutor(max_workers=2) as executor:
        made = ScriptedServer(session, client, notices, executor, told=told)
        yield made
        if "security" in vars(made):
            await made.security.close()
        for task in made.tasks:
            task.cancel()
