"""One server with its worker, in folders of its own, ended and begun again as often as a script asks.

Invariant: nothing of the user's is read or written (sockets, caches and logs lie in `folder`), and after
`stop` neither a server nor a worker runs.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from deltaloom_server.cli.editor import HeadlessEditor
from deltaloom_server.cli.lsp_client import LspClient, NotificationHandler, start_server
from deltaloom_server.cli.server_report import STATUS, ServerReport, fetch_report, wait_until_ready
from deltaloom_server.errors import DeltaloomError

from .processes import end_worker

_POLL_SECONDS = 0.03
_QUIET_POLLS = 4
"""Longer than the server waits after a change before it reads."""
_WRITE_SECONDS = 1.5
"""Longer than a worker must be left alone until it writes down what it keeps."""
_PATIENCE_SECONDS = 600.0


class MeasuredSession:
    """Where the edits are made. Use it as an async context manager."""

    def __init__(
        self, root: Path, folder: Path, options: Mapping[str, Any], on_notification: NotificationHandler
    ) -> None:
        self._root = root
        self._options = {**options, "worker": {"idle_seconds": 1}}
        self._show = on_notification
        self._running: set[str | int] = set()
        self._environment = {
            **os.environ,
            "XDG_RUNTIME_DIR": str(folder),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "XDG_STATE_HOME": str(folder / "state"),
        }
        self._stack = AsyncExitStack()
        self._client: LspClient | None = None
        self._editor: HeadlessEditor | None = None
        self._worker = 0

    async def __aenter__(self) -> MeasuredSession:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def client(self) -> LspClient:
        assert self._client is not None, "started"
        return self._client

    @property
    def editor(self) -> HeadlessEditor:
        assert self._editor is not None, "started"
        return self._editor

    async def start(self) -> None:
        """Start the server; its context is read from then on."""
        self._stack = AsyncExitStack()
        self._running.clear()
        server = start_server([self._root], self._options, self._take, self._environment)
        self._client = await self._stack.enter_async_context(server)
        self._editor = HeadlessEditor(self._client)

    async def stop(self) -> None:
        """End the server, and see the worker off, which writes down its state first."""
        try:
            await self._stack.aclose()
        finally:
            await end_worker(self._worker)
            self._client, self._worker = None, 0

    async def report(self) -> ServerReport:
        """The server's own report; notes the worker's process, so that it can't be left behind."""
        report = await fetch_report(self.client)
        if report.worker is not None:
            self._worker = report.worker.pid
        return report

    async def ready(self) -> ServerReport:
        """Wait until the workspace has been read."""
        await wait_until_ready(self.client)
        return await self.report()

    async def reading_milliseconds(self) -> float:
        """How long the last sync took in the worker, without what came before it (loading, counting)."""
        answer = await self.client.request(STATUS, None)
        return float((answer["last_sync"] or {}).get("milliseconds", 0.0))

    async def quiet(self) -> ServerReport:
        """Wait until the server has read whatever it wants to, and has been still for a moment."""
        seen: tuple[object, ...] = ()
        still = 0
        async with _patience("become ready again"):
            while still < _QUIET_POLLS:
                await asyncio.sleep(_POLL_SECONDS)
                report = await self.report()
                context = report.context
                now = (context.state, context.revision, context.done, context.total, report.counters)
                ready = context.state == "ready" and report.worker is not None and not self._running
                still = still + 1 if ready and now == seen else 0
                seen = now
        return report

    async def noticed(self, revision: int) -> None:
        """Wait until the context has moved on from `revision`, and all of the change is known; what it makes
        the server read isn't waited for."""
        seen, still = revision, 0
        async with _patience("notice files that changed on disk"):
            while still < _QUIET_POLLS:
                await asyncio.sleep(_POLL_SECONDS)
                now = (await self.report()).context.revision
                still = still + 1 if now == seen != revision else 0
                seen = now

    async def kill_worker(self, ask: Callable[[], Awaitable[object]]) -> None:
        """Kill the model's process, once it has written down what it keeps, and wait until the next one holds
        the context. `ask` is a request as typing makes it: it starts a worker, and reads nothing without one.
        """
        await self._written()
        killed = self._worker
        os.kill(killed, signal.SIGKILL)
        async with _patience("start its model worker again"):
            while (report := await self.report()).worker is None or self._worker == killed:
                await ask()
                await asyncio.sleep(_POLL_SECONDS)
            while report.context.state != "ready":
                await asyncio.sleep(_POLL_SECONDS)
                report = await self.report()

    async def _written(self) -> None:
        """Leave the worker alone until it has written to disk all it wants to. A question disturbs it, so
        it is seldom asked."""
        seen = -1
        async with _patience("finish writing its state to disk"):
            while True:
                await asyncio.sleep(_WRITE_SECONDS)
                report = await self.report()
                tiers = report.worker.tiers if report.worker is not None else []
                used = sum(tier.used_bytes for tier in tiers if tier.name == "disk")
                if used == seen and not self._running:
                    return
                seen = used

    def _take(self, method: str, params: dict[str, Any]) -> None:
        """Know from the server's own progress whether it reads, and pass it on."""
        if method == "$/progress":
            token, kind = params["token"], params["value"]["kind"]
            if kind == "begin":
                self._running.add(token)
            elif kind == "end":
                self._running.discard(token)
        self._show(method, params)


@asynccontextmanager
async def _patience(what: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            yield
    except TimeoutError:
        seconds = round(_PATIENCE_SECONDS)
        raise DeltaloomError(f"The server didn't {what} within {seconds} seconds; measure again.") from None
