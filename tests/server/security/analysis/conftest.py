"""A pool whose processes do as they are told: the real worker around a service of the tests' own."""

from __future__ import annotations

import asyncio
import os
import select
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from deltaloom_server.security.analysis.pool import AnalysisPool

OBEDIENT = r"""
import os, subprocess, sys, time
from deltaloom_server.security.analysis import worker
from deltaloom_server.security.analysis.messages import Failed, ScanResult

def serve(request):
    word, _, rest = request.text.partition(" ")
    if word == "pid":
        return Failed(str(os.getpid()))
    if word == "echo":
        return Failed(rest)
    if word == "hang":
        if rest:  # whoever reads the pipe sees who we are now, and its end when we are gone, children and all
            pipe = os.open(rest, os.O_WRONLY)
            child = subprocess.Popen(["sleep", "1000"], pass_fds=[pipe])
            os.write(pipe, f"{os.getpid()} {child.pid}\n".encode())
        time.sleep(1000)
    if word == "exit":
        os._exit(7)
    if word == "abort":
        os.abort()
    if word == "eat":
        return Failed(str(len(bytearray(8 << 30))))
    if word == "recurse":
        return serve(request)
    if word == "shout":
        print("to stdout")
        os.write(1, b"to the descriptor")
        return Failed(repr(sys.stdin.read()))
    if word == "flood":
        return Failed("x" * (100 << 20))
    if word == "long":
        return Failed("x" * (10 << 20))
    if word == "nonsense":
        for number in range(3, 20):
            try:
                os.write(number, b"\x00\x00\x00\x02no")
            except OSError:
                pass
        time.sleep(1000)
    if word == "pour":  # the beginning of a long message, and no end
        for number in range(3, 20):
            try:
                os.write(number, b"\x03\xff\xff\xff")
                while True:
                    os.write(number, bytes(1000))
            except OSError:
                pass
    if word == "detach":
        child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        with open(rest, "w") as pipe:
            print(os.getpid(), child.pid, file=pipe)
        os._exit(7)
    if word == "scan":
        if "secrets" in request.scanners:
            os._exit(7)
        return ScanResult(())
    return Failed("what?")

worker.run(serve)
"""


class Pipe:
    """A named pipe through which a hanging process says that it hangs."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self._file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb")

    async def pids(self) -> tuple[int, int]:
        """Of the hanging process and of its child, once it hangs."""
        process, child = (await asyncio.to_thread(self._line)).split()
        return int(process), int(child)

    async def ended(self) -> None:
        """Returns once nobody holds the other end."""
        await asyncio.to_thread(self._file.read)

    def _line(self) -> bytes:
        select.select([self._file], [], [], 60)
        os.set_blocking(self._file.fileno(), True)
        return self._file.readline()

    def close(self) -> None:
        self._file.close()


@pytest.fixture
def make_pipe(tmp_path: Path) -> Iterator[Callable[[], Pipe]]:
    pipes: list[Pipe] = []

    def make() -> Pipe:
        pipes.append(Pipe(tmp_path / f"pipe{len(pipes)}"))
        return pipes[-1]

    yield make
    for pipe in pipes:
        pipe.close()


@pytest.fixture
def pipe(make_pipe: Callable[[], Pipe]) -> Pipe:
    return make_pipe()


@pytest.fixture
def command(tmp_path: Path) -> tuple[str, ...]:
    script = tmp_path / "obedient.py"
    script.write_text(OBEDIENT)
    return (sys.executable, "-P", str(script))


@pytest_asyncio.fixture
async def make_pool(command: tuple[str, ...]) -> AsyncIterator[Callable[..., AnalysisPool]]:
    pools: list[AnalysisPool] = []

    def make(size: int = 1, seconds: float = 60.0, **more: float) -> AnalysisPool:
        pools.append(AnalysisPool(size, seconds, command=command, **more))
        return pools[-1]

    yield make
    for pool in pools:
        await pool.close()
