"""Running a scanner that is a program of its own: limited in time, memory and output, off the workspace.

Invariant: when a function here returns or raises, the program has ended and been waited for, and what it has
started in its process group has been killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from deltaloom_server.security.analysis.ending import gone, kill_group
from deltaloom_server.security.analysis.limits import MEBIBYTE, PROGRAM_BYTES, limit_program

OUTPUT_BYTES = 32 * MEBIBYTE
_ERROR_BYTES = 64 * 1024
_CHUNK = 1 << 16
_NEUTRAL_FOLDER = os.sep
_ENVIRONMENT: Mapping[str, str] = MappingProxyType({"LC_ALL": "C", "NO_COLOR": "1", "PATH": ""})


class TookTooLong(Exception):
    """The program was ended as its time was up."""


class TooMuchOutput(Exception):
    """The program was ended as it said more than anybody could read."""


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program ended. `status` is negative where a signal ended it."""

    status: int
    output: bytes
    errors: str

    def last_words(self) -> str:
        """The last line that it wrote to stderr, shortened; how it ended where it wrote none."""
        lines = [line.strip() for line in self.errors.splitlines() if line.strip()]
        if lines:
            return lines[-1][:200]
        return f"signal {-self.status}" if self.status < 0 else f"exit status {self.status}"


async def run(
    command: Sequence[str], data: bytes = b"", *, seconds: float, memory: int = PROGRAM_BYTES
) -> Finished:
    """Run a program to its end with `data` on its stdin; it is killed when the caller is cancelled.

    Raises `TookTooLong`, `TooMuchOutput`, and OSError where it can't be started.
    """
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE, cwd=_NEUTRAL_FOLDER, env=dict(_ENVIRONMENT), start_new_session=True,
    )  # fmt: skip
    try:
        limit_program(process.pid, memory)
        async with asyncio.timeout(seconds):
            async with asyncio.TaskGroup() as group:
                group.create_task(_write(process.stdin, data))
                output = group.create_task(_read(process.stdout, OUTPUT_BYTES))
                errors = group.create_task(_read(process.stderr, _ERROR_BYTES, keep_reading=True))
            status = await process.wait()
        return Finished(status, output.result(), errors.result().decode("utf-8", "replace"))
    except TimeoutError:
        raise TookTooLong from None
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    finally:
        # Also when it has ended: what it has put into the background is still of its group.
        kill_group(process.pid)
        await gone(process)


def run_blocking(command: Sequence[str], data: bytes = b"", *, seconds: float) -> Finished:
    """The same for a process that has nothing else to do; its own limits are the program's too.

    The program stays in the caller's process group, so that it ends with whoever ends that.
    """
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        cwd=_NEUTRAL_FOLDER, env=dict(_ENVIRONMENT),
    )  # fmt: skip
    with process:
        try:
            output, errors = process.communicate(data, timeout=seconds)
        except subprocess.TimeoutExpired:
            raise TookTooLong from None
        finally:
            if process.poll() is None:
                process.kill()
    if len(output) > OUTPUT_BYTES:
        raise TooMuchOutput
    return Finished(process.returncode, output, errors[-_ERROR_BYTES:].decode("utf-8", "replace"))


async def _write(stream: asyncio.StreamWriter | None, data: bytes) -> None:
    assert stream is not None
    # A program that ends without reading has said so by its exit status.
    with contextlib.suppress(ConnectionError):
        stream.write(data)
        await stream.drain()
    with contextlib.suppress(ConnectionError):
        stream.close()
        await stream.wait_closed()


async def _read(stream: asyncio.StreamReader | None, limit: int, *, keep_reading: bool = False) -> bytes:
    assert stream is not None
    chunks, size = [], 0
    while chunk := await stream.read(_CHUNK):
        size += len(chunk)
        if size <= limit:
            chunks.append(chunk)
        elif not keep_reading:
            raise TooMuchOutput
    return b"".join(chunks)
