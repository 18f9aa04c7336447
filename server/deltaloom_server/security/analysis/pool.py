"""The analysis processes of one server.

Invariant: every request gets a reply or is cancelled, no process serves two at once, and none outlives
`close`. What one request does to its process costs no other request anything but time.

Belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from deltaloom_server.security.analysis import frames
from deltaloom_server.security.analysis.messages import Failed, Reply, Request, ScanResult, ScanText
from deltaloom_server.security.analysis.process import AnalysisProcess, ProcessEnded, default_command
from deltaloom_server.security.finding import Scanner, Unscanned

_SECONDS = 30.0
_GRACE_SECONDS = 1.0
_IDLE_SECONDS = 300.0
_LARGEST_POOL = 4
_CLOSED = "The analysis processes have been closed."
_T = TypeVar("_T")
_HALF = re.compile("[\ud800-\udfff]")
_WARM_SCANNERS: tuple[Scanner, ...] = ("bandit", "deltaloom")


class AnalysisPool:
    """Processes that are started when they are needed, kept warm, and ended when they aren't any more.

    `size`: most processes at a time (None: by the machine). `seconds`: for one request that names no time
    of its own, counted from when a process takes it. `grace`: how long a request goes on that nobody waits
    for any more, so that its process needn't be started anew.
    """

    def __init__(
        self,
        size: int | None = None,
        seconds: float = _SECONDS,
        *,
        grace: float = _GRACE_SECONDS,
        idle: float = _IDLE_SECONDS,
        command: Sequence[str] | None = None,
    ) -> None:
        self._slots = asyncio.Semaphore(size or default_size())
        self._seconds = seconds
        self._grace = grace
        self._idle_seconds = idle
        self._command = tuple(command or default_command())
        self._idle: list[AnalysisProcess] = []
        self._retirements: dict[AnalysisProcess, asyncio.TimerHandle] = {}
        self._busy: set[AnalysisProcess] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def ask(self, request: Request, *, seconds: float | None = None) -> Reply:
        """The reply to a request; `Failed` where it took too long, or the process died of it."""
        try:
            frame = frames.encode(request)
        except frames.FrameError as error:
            return Failed(str(error))
        job = _Job(frame, self._seconds if seconds is None else seconds)
        task = self._spawn(self._serve(job))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not job.leave(self._grace):
                task.cancel()
            raise

    async def scan(self, request: ScanText, *, seconds: float | None = None) -> ScanResult:
        """The same for a scan: what couldn't be had is told for each scanner that was asked for.

        Where several were asked and the request failed, each is asked alone: one's failure is its own.
        """
        reply = await self.ask(_sendable(request), seconds=seconds)
        if isinstance(reply, ScanResult):
            return _named(reply, request)
        if len(request.scanners) > 1 and not self._closed:
            alone = [msgspec.structs.replace(request, scanners=(one,)) for one in request.scanners]
            results = await asyncio.gather(*(self.scan(one, seconds=seconds) for one in alone))
            return ScanResult(
                tuple(finding for result in results for finding in result.findings),
                tuple(unscanned for result in results for unscanned in result.unscanned),
            )
        why = reply.reason if isinstance(reply, Failed) else "The analysis process gave another answer."
        return ScanResult(
            (), tuple(Unscanned(request.path, one, why, failed=True) for one in request.scanners)
        )

    def warm(self) -> None:
        """Have a process ready that has imported what scans need; returns at once."""
        self._spawn(self.ask(ScanText("warm.py", "", _WARM_SCANNERS)))

    async def close(self) -> None:
        """End all processes. Requests under way, and later ones, get `Failed`."""
        self._closed = True
        for process in (*self._idle, *self._busy):
            process.kill()
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        for handle in self._retirements.values():
            handle.cancel()
        self._retirements.clear()
        idle, self._idle = self._idle, []
        await asyncio.gather(*(process.end() for process in idle))

    async def _serve(self, job: _Job) -> Reply:
        async with self._slots:
            if self._closed:
                return Failed(_CLOSED)
            try:
                process = await self._take()
            except OSError as error:
                return Failed(f"The analysis process can't be started ({error.strerror or error}).")
            self._busy.add(process)
            usable = False
            try:
                async with asyncio.timeout(job.seconds) as job.timer:
                    reply = await process.exchange(job.frame)
                usable = not self._closed
                return reply
            except TimeoutError:
                return Failed(f"The analysis took longer than {job.seconds:g} s.")
            except ProcessEnded as error:
                return Failed(_CLOSED if self._closed else f"The analysis process {error}.")
            finally:
                job.timer = None
                self._busy.discard(process)
                if usable:
                    self._rest(process)
                else:
                    await process.end()

    async def _take(self) -> AnalysisProcess:
        """The one that has rested the shortest, so that those that aren't needed grow old. Raises OSError."""
        while self._idle:
            process = self._idle.pop()
            self._retirements.pop(process).cancel()
            if process.alive:
                return process
            await process.end()
        return await AnalysisProcess.start(self._command)

    def _rest(self, process: AnalysisProcess) -> None:
        loop = asyncio.get_running_loop()
        self._idle.append(process)
        self._retirements[process] = loop.call_later(self._idle_seconds, self._retire, process)

    def _retire(self, process: AnalysisProcess) -> None:
        self._idle.remove(process)
        del self._retirements[process]
        self._spawn(process.end())

    def _spawn(self, work: Coroutine[object, object, _T]) -> asyncio.Task[_T]:
        """A task that `close` waits for."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


@dataclass(slots=True, eq=False)
class _Job:
    """A request on its way. `timer` is there while a process works on it."""

    frame: bytes
    seconds: float
    timer: asyncio.Timeout | None = None

    def leave(self, grace: float) -> bool:
        """Nobody waits for it any more; is it left to end by itself, soon?"""
        if self.timer is None:
            return False
        soon = asyncio.get_running_loop().time() + grace
        when = self.timer.when()
        # Its time may be up at this very moment.
        with contextlib.suppress(RuntimeError):
            self.timer.reschedule(soon if when is None else min(when, soon))
        return True


def default_size() -> int:
    """As many processes as there are processors for us, within reason."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(count, _LARGEST_POOL))


def _sendable(request: ScanText) -> ScanText:
    """The request with a character for each half of one, which msgpack can't carry; columns stay the same."""
    if not _HALF.search(request.text) and not _HALF.search(request.path):
        return request
    return msgspec.structs.replace(
        request, text=_HALF.sub("\ufffd", request.text), path=_HALF.sub("\ufffd", request.path)
    )


def _named(result: ScanResult, request: ScanText) -> ScanResult:
    """The result under the name that the request had before it was sent."""
    if not _HALF.search(request.path):
        return result
    return ScanResult(
        tuple(msgspec.structs.replace(one, path=request.path) for one in result.findings),
        tuple(msgspec.structs.replace(one, path=request.path) for one in result.unscanned),
    )
