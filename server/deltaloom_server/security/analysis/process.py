"""One analysis process, as the server holds it.

Invariant: it serves one request at a time; whoever started it ends it with `end`, and has then waited for it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence

from deltaloom_model.spawn import worker_environment
from deltaloom_server import private_folders
from deltaloom_server.security.analysis import frames
from deltaloom_server.security.analysis.ending import gone, kill_group
from deltaloom_server.security.analysis.messages import Reply

_LAST_WORDS = 400


class ProcessEnded(Exception):
    """The process ended, or spoke nonsense, in the middle of a request: how, as the end of a sentence."""


def default_command() -> tuple[str, ...]:
    """The interpreter is this one; the working folder is never imported from."""
    isolation = "-I" if sys.flags.isolated else "-P"
    return (sys.executable, isolation, "-X", "utf8", "-m", "deltaloom_server.security.analysis.worker")


class AnalysisProcess:
    """A running process. Start it with `start`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._words = asyncio.create_task(_last_words(process.stderr))
        self._busy = False
        self._killed = False

    @classmethod
    async def start(cls, command: Sequence[str]) -> AnalysisProcess:
        """Raises OSError where it can't be started."""
        return cls(
            await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=os.sep,
                env=worker_environment(),
                start_new_session=True,
            )
        )

    @property
    def pid(self) -> int:
        """Of the process, and of the group that it leads."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Has it not been seen to end?"""
        return self._process.returncode is None

    async def exchange(self, frame: bytes) -> Reply:
        """Send a request and wait for its reply.

        Raises `ProcessEnded`; then, or when the caller is cancelled, the process is of no more use.
        """
        requests, replies = self._process.stdin, self._process.stdout
        assert requests is not None
        assert replies is not None
        self._busy = True
        try:
            requests.write(frame)
            await requests.drain()
            header = await replies.readexactly(frames.HEADER.size)
            reply = frames.decode_reply(await replies.readexactly(frames.length(header)))
        except (ConnectionError, asyncio.IncompleteReadError):
            raise ProcessEnded(await self._how()) from None
        except frames.FrameError:
            raise ProcessEnded("said something that is no message") from None
        self._busy = False
        return reply

    def kill(self) -> None:
        """End it, and the programs that it runs, without waiting."""
        # One that ended at rest has no children left, and its number may be another's by now.
        if self.alive or self._busy:
            self._killed |= self._busy
            self._busy = False
            kill_group(self._process.pid)

    async def end(self) -> None:
        """Kill it and wait until it is gone."""
        self.kill()
        await self._gone()
        self._words.cancel()
        await asyncio.gather(self._words, return_exceptions=True)

    async def _gone(self) -> int:
        """Its exit status, once it has ended; the texts that it had put down for a scanner go with it."""
        status = await gone(self._process, [self._words])
        if self._killed:
            self._killed = False
            await asyncio.to_thread(private_folders.sweep, "semgrep", self.pid)
        return status

    async def _how(self) -> str:
        self.kill()
        status = await self._gone()
        words = self._words.result() if self._words.done() else ""
        how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        return f"{how} ({words})" if words else how


async def _last_words(stream: asyncio.StreamReader | None) -> str:
    """The last line on stderr; reads on, as a full pipe would stop the process."""
    assert stream is not None
    kept = b""
    while chunk := await stream.read(4096):
        kept = (kept + chunk)[-_LAST_WORDS:]
    lines = kept.decode("utf-8", "replace").split("\n")
    said = [line.strip() for line in lines if line.strip()]
    return said[-1].rstrip(".") if said else ""
