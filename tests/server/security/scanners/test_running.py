"""Programs that scan: nothing of one is left when its run is over."""

from __future__ import annotations

import asyncio
import os
import select
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deltaloom_server.security.scanners import running

_LEAVES_A_CHILD = """
import os, subprocess, sys
pipe = os.open(sys.argv[1], os.O_WRONLY)
held = {} if sys.argv[2] == "held" else dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
child = subprocess.Popen(["/bin/sleep", "1000"], stdin=subprocess.DEVNULL, pass_fds=[pipe], **held)
os.write(pipe, f"{child.pid}\\n".encode())
print("done", flush=True)
"""


class Pipe:
    """By which the program says what it has left, and by which that is seen to end."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = os.fspath(path)
        self._file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb")

    async def begun(self) -> None:
        """The child runs."""
        assert await asyncio.to_thread(self._line)

    async def ended(self) -> None:
        """Nobody holds the pipe any more, the child included."""
        async with asyncio.timeout(60):
            assert await asyncio.to_thread(self._file.read) == b""

    def _line(self) -> bytes:
        select.select([self._file], [], [], 60)
        os.set_blocking(self._file.fileno(), True)
        return self._file.readline()

    def close(self) -> None:
        self._file.close()


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Pipe]:
    made = Pipe(tmp_path / "pipe")
    yield made
    made.close()


def leaving(pipe: Pipe, how: str, then: str = "") -> list[str]:
    return [sys.executable, "-c", f"{_LEAVES_A_CHILD}{then}", pipe.path, how]


async def test_a_child_in_the_background_ends_with_the_run(pipe: Pipe) -> None:
    finished = await running.run(leaving(pipe, "free"), seconds=60)
    assert (finished.status, finished.output) == (0, b"done\n")
    await pipe.begun()
    await pipe.ended()


async def test_a_child_that_holds_the_output_open_ends_when_time_is_up(pipe: Pipe) -> None:
    with pytest.raises(running.TookTooLong):
        await running.run(leaving(pipe, "held"), seconds=3)
    await pipe.begun()
    await pipe.ended()


@pytest.mark.parametrize("then", ["", "import time; time.sleep(1000)"])
async def test_a_child_ends_when_the_caller_is_cancelled(pipe: Pipe, then: str) -> None:
    run = asyncio.create_task(running.run(leaving(pipe, "held", then), seconds=600))
    await pipe.begun()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    await pipe.ended()
