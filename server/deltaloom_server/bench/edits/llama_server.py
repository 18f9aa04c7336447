"""A `llama-server` as a child process, asked over HTTP on the loopback interface.

Invariant: leaving the `async with` leaves no child behind, however it is left; whatever goes wrong with the
child is told in one sentence. Its two routes used here are llama.cpp's (`tools/server/README.md`): `/health`
answers 200 once the model is loaded, `/completion` says in `timings.prompt_n` how many tokens of the prompt
it read, that is, didn't find in its cache.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import socket
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from deltaloom_server.errors import DeltaloomError

HEALTH_SECONDS = 600.0
"""A large model takes minutes to be loaded from a slow disk."""
_ANSWER_SECONDS = 3600.0
_POLL_SECONDS = 0.05
_ENDS_SECONDS = 5.0
_SAID_LINES = 8
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class LlamaCommand:
    """How the server is started. `options` are passed on to it as they are."""

    program: Path
    model: Path
    options: tuple[str, ...] = ()

    def require_files(self) -> None:
        """Raise DeltaloomError where the program or the model isn't there."""
        if not self.program.is_file() or not os.access(self.program, os.X_OK):
            raise DeltaloomError(
                f"{self.program} isn't a program; give --llama-server the path of llama.cpp's llama-server."
            )
        if not self.model.is_file():
            raise DeltaloomError(f"{self.model} isn't a file; give --gguf the path of a model in GGUF.")


class _Timings(msgspec.Struct):
    prompt_n: int
    prompt_ms: float = 0.0


class _Answer(msgspec.Struct):
    timings: _Timings
    tokens_evaluated: int = 0


@dataclass(frozen=True, slots=True)
class PromptCost:
    """`read` tokens of a prompt of `tokens` went through the model, in `milliseconds` by its own clock."""

    read: int
    tokens: int
    milliseconds: float


class LlamaServer:
    """A running server; made by `start_llama_server`."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._process = process
        self._port = port
        self._said: deque[str] = deque(maxlen=_SAID_LINES)
        self._reading = asyncio.create_task(self._read_output())

    async def until_healthy(self, seconds: float) -> None:
        """Wait until the model is loaded. Raises DeltaloomError where it ends, or takes longer than that."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    with contextlib.suppress(OSError, http.client.HTTPException):
                        if (await asyncio.to_thread(self._call, "GET", "/health", None))[0] == 200:
                            return
                    if self._process.returncode is not None:
                        raise await self._ended()
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise DeltaloomError(
                f"llama-server wasn't ready after {seconds:.0f} seconds; try a smaller model."
                f"{self._last_words()}"
            ) from None

    async def read_prompt(self, prompt: str) -> PromptCost:
        """Read a prompt, as much of it as isn't in the server's cache, and produce one token."""
        body = {"prompt": prompt, "n_predict": 1, "cache_prompt": True, "temperature": 0.0, "stream": False}
        try:
            status, answer = await asyncio.to_thread(self._call, "POST", "/completion", body)
        except (OSError, http.client.HTTPException) as error:
            with contextlib.suppress(TimeoutError):  # the connection may break before the process has gone
                await asyncio.wait_for(self._process.wait(), _ENDS_SECONDS)
            if self._process.returncode is not None:
                raise await self._ended() from None
            raise DeltaloomError(f"llama-server broke off an answer ({error}); start it again.") from None
        if status != 200:
            raise DeltaloomError(f"llama-server refused a prompt: {_refusal(status, answer)}")
        try:
            read = msgspec.json.decode(answer, type=_Answer)
        except msgspec.DecodeError as error:
            raise DeltaloomError(
                f"llama-server's answer has no timings ({error}); use a version from 2024 or later."
            ) from None
        tokens = read.tokens_evaluated or read.timings.prompt_n
        return PromptCost(read.timings.prompt_n, tokens, read.timings.prompt_ms)

    async def close(self) -> None:
        """End the process."""
        try:
            if self._process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    self._process.terminate()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._process.wait(), _ENDS_SECONDS)
        finally:
            if self._process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    self._process.kill()
            await self._process.wait()
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    def _call(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(_LOOPBACK, self._port, timeout=_ANSWER_SECONDS)
        try:
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, path, data, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    async def _read_output(self) -> None:
        assert self._process.stdout is not None, "started with a pipe"
        rest = b""
        while data := await self._process.stdout.read(1 << 16):
            *lines, rest = (rest + data).split(b"\n")
            self._said.extend(line.decode("utf-8", "replace") for line in lines if line.strip())
            rest = rest[-4096:]
        if rest.strip():
            self._said.append(rest.decode("utf-8", "replace"))

    async def _ended(self) -> DeltaloomError:
        await asyncio.wait([self._reading], timeout=1.0)  # what it wrote last may say why
        return DeltaloomError(
            f"llama-server ended by itself (status {self._process.returncode}).{self._last_words()}"
        )

    def _last_words(self) -> str:
        return f" It last said: {self._said[-1].strip()}" if self._said else ""


@asynccontextmanager
async def start_llama_server(
    command: LlamaCommand, context: int, *, health_seconds: float = HEALTH_SECONDS
) -> AsyncIterator[LlamaServer]:
    """A server with room for `context` tokens, its model loaded, until the block is left.

    Raises DeltaloomError where it doesn't start.
    """
    command.require_files()
    port = _free_port()
    arguments = ["-m", str(command.model), "-c", str(context), "-np", "1", "--host", _LOOPBACK]
    try:
        process = await asyncio.create_subprocess_exec(
            command.program.absolute(),
            *arguments,
            "--port",
            str(port),
            *command.options,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except OSError as error:
        raise DeltaloomError(f"{command.program} can't be started ({error.strerror}).") from None
    server = LlamaServer(process, port)
    try:
        await server.until_healthy(health_seconds)
        yield server
    finally:
        await server.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _refusal(status: int, answer: bytes) -> str:
    """What an error's body says, in llama.cpp's form {"error": {"message": …}}; else its status."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return str(json.loads(answer)["error"]["message"])
    return f"HTTP status {status}"
