"""Ends what the benchmark started.

Invariant: only processes of a run's own folder are ended, and none of them is left running.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

import psutil

_LEAVES_SECONDS = 15.0


async def end_worker(pid: int, *, patience: float = _LEAVES_SECONDS) -> None:
    """Wait until a worker that nobody uses has left (writing down its state), then end it; 0: none."""
    if not pid:
        return
    try:
        process = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    while is_alive(process) and loop.time() < deadline:
        await asyncio.sleep(0.05)
    kill(process)


def is_alive(process: psutil.Process) -> bool:
    """Does it still run? One that only waits to be noted by its parent doesn't."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def kill(process: psutil.Process) -> None:
    """End it at once."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()


def end_all_of(folder: Path) -> None:
    """Kill every process whose runtime folder, or an argument of it, lies in `folder`, and see it gone."""
    found = [process for process in psutil.process_iter() if _belongs_to(process, f"{folder}/")]
    for process in found:
        kill(process)
    # Looking on, not waiting for them: whoever started them notes their end, and must find it.
    deadline = time.monotonic() + _LEAVES_SECONDS
    while any(map(is_alive, found)) and time.monotonic() < deadline:
        time.sleep(0.02)


def _belongs_to(process: psutil.Process, folder: str) -> bool:
    try:
        places = [process.environ().get("XDG_RUNTIME_DIR", ""), *process.cmdline()]
    except (psutil.AccessDenied, psutil.NoSuchProcess, OSError):
        return False
    return any(f"{place}/".startswith(folder) for place in places)
