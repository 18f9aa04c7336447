"""Waiting for a program to be gone, whatever state its pipes are in.

Invariant: when `gone` returns, the program has been waited for and its pipes are closed on this side.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterable

_PIPES_SECONDS = 5.0
_CHUNK = 1 << 16


def kill_group(pid: int) -> None:
    """Kill a program that leads a process group, and all of the group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


async def gone(process: asyncio.subprocess.Process, readers: Iterable[asyncio.Task[object]] = ()) -> int:
    """The exit status of a program that has ended or been killed; `readers` read those pipes that nobody
    else may read.

    asyncio wakes nobody who waits for a process before its pipes have been read to their end, and stops
    reading one that holds much: what is left in them must be read away.
    """
    reading = set(readers)
    drains = {asyncio.create_task(_drain(process.stdout))}
    if not reading:
        drains.add(asyncio.create_task(_drain(process.stderr)))
    try:
        _, unfinished = await asyncio.wait(drains | reading, timeout=_PIPES_SECONDS)
        if unfinished:
            # A program of its own, that has left the group, holds one open.
            process._transport.close()  # type: ignore[attr-defined]  # there is no public way
        return await process.wait()
    finally:
        for task in drains:
            task.cancel()


async def _drain(stream: asyncio.StreamReader | None) -> None:
    while stream is not None and await stream.read(_CHUNK):
        pass
