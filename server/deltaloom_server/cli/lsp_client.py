"""A small LSP client: the command line asks the very server process that an editor would.

Invariant: every request ends in a result, or in `ServerFailed` with one sentence (the server's own error, or
that it ended); leaving the `async with` leaves no server process behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import sys
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deltaloom_server.errors import DeltaloomError

Json = Any
"""A decoded JSON value: what it holds is the server's affair, and checked where it is used."""

NotificationHandler = Callable[[str, dict[str, Json]], None]

_EXIT_SECONDS = 10.0
_STDERR_LINES = 12
_METHOD_NOT_FOUND = -32601


class ServerFailed(DeltaloomError):
    """The language server ended, or answered a request with an error."""


class MethodMissing(ServerFailed):
    """The language server doesn't know the request."""


class LspConversation:
    """Requests and notifications, whatever carries them. `on_notification(method, params)` is called for
    each notification of the server's."""

    def __init__(self, on_notification: NotificationHandler) -> None:
        self._on_notification = on_notification
        self._ids = itertools.count(1)
        self._pending: dict[int, asyncio.Future[Json]] = {}
        self._ended = False
        self.capabilities: dict[str, Json] = {}

    async def initialize(
        self, roots: Sequence[Path], options: dict[str, Json], capabilities: Mapping[str, Json] | None = None
    ) -> None:
        """The handshake, with columns counted in characters where the server can, and progress shown.

        `capabilities` are further ones, by section.
        """
        own: dict[str, dict[str, Json]] = {
            "general": {"positionEncodings": ["utf-32", "utf-16"]},
            "window": {"workDoneProgress": True},
            "workspace": {"workspaceFolders": True},
            "textDocument": {"inlineCompletion": {}, "synchronization": {"didSave": True}},
        }
        for section, more in (capabilities or {}).items():
            own[section] = own.get(section, {}) | more
        result = await self.request(
            "initialize",
            {
                "processId": os.getpid(),
                "clientInfo": {"name": "deltaloom command line"},
                "rootUri": roots[0].as_uri() if roots else None,
                "workspaceFolders": [{"uri": root.as_uri(), "name": root.name} for root in roots],
                "capabilities": own,
                "initializationOptions": options,
            },
        )
        self.capabilities = result["capabilities"]
        self.notify("initialized", {})

    @property
    def position_encoding(self) -> str:
        return str(self.capabilities.get("positionEncoding", "utf-16"))

    async def request(self, method: str, params: Json) -> Json:
        """Send a request and wait for its result. Cancelling the call sends `$/cancelRequest`."""
        self._require_running()
        identifier = next(self._ids)
        future: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        self._pending[identifier] = future
        self._send({"id": identifier, "method": method, "params": params})
        try:
            return await future
        except asyncio.CancelledError:
            if not self._ended:
                self.notify("$/cancelRequest", {"id": identifier})
            raise
        finally:
            self._pending.pop(identifier, None)

    def notify(self, method: str, params: Json) -> None:
        """Send a notification."""
        self._require_running()
        self._send({"method": method, "params": params})

    def _require_running(self) -> None:
        if self._ended:
            raise ServerFailed(self._how_it_ended())

    def _how_it_ended(self) -> str:
        return "The language server has ended; see `deltaloom logs`."

    def _send(self, message: dict[str, Json]) -> None:
        self._send_body(
            json.dumps({"jsonrpc": "2.0", **message}, ensure_ascii=False).encode("utf-8", "surrogatepass")
        )

    def _send_body(self, body: bytes) -> None:
        raise NotImplementedError

    def _take(self, message: dict[str, Json]) -> None:
        if "method" in message and "id" in message:
            self._send({"id": message["id"], "result": _answer(message["method"], message.get("params"))})
        elif "method" in message:
            self._on_notification(message["method"], message.get("params") or {})
        elif (future := self._pending.get(message.get("id", -1))) is not None and not future.done():
            if error := message.get("error"):
                kind = MethodMissing if error.get("code") == _METHOD_NOT_FOUND else ServerFailed
                future.set_exception(kind(str(error.get("message", "The language server failed."))))
            else:
                future.set_result(message.get("result"))


class LspClient(LspConversation):
    """One server process over stdio."""

    def __init__(self, process: asyncio.subprocess.Process, on_notification: NotificationHandler) -> None:
        super().__init__(on_notification)
        self._process = process
        self._stderr: deque[str] = deque(maxlen=_STDERR_LINES)
        self._tasks = [asyncio.create_task(self._read_messages()), asyncio.create_task(self._read_stderr())]

    async def close(self) -> None:
        """Shut the server down as the protocol asks; end the process when it doesn't go by itself."""
        try:
            with contextlib.suppress(ServerFailed, TimeoutError, ConnectionError):
                async with asyncio.timeout(_EXIT_SECONDS):
                    await self.request("shutdown", None)
                    self.notify("exit", None)
                    await self._process.wait()
        finally:
            if self._process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    self._process.kill()
            await self._process.wait()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _how_it_ended(self) -> str:
        last = next((line for line in reversed(self._stderr) if line.strip()), "")
        said = f" It last said: {last.strip()}" if last else ""
        return f"The language server ended by itself; see `deltaloom logs`.{said}"

    def _send_body(self, body: bytes) -> None:
        assert self._process.stdin is not None, "started with pipes"
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)

    async def _read_messages(self) -> None:
        assert self._process.stdout is not None, "started with pipes"
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                headers = await self._process.stdout.readuntil(b"\r\n\r\n")
                body = await self._process.stdout.readexactly(_content_length(headers))
                self._take(json.loads(body))
        self._ended = True
        # stderr may hold why: what was written before the end is read first.
        await asyncio.wait([self._tasks[1]], timeout=1.0)
        for future in self._pending.values():
            if not future.done():
                future.set_exception(ServerFailed(self._how_it_ended()))

    async def _read_stderr(self) -> None:
        assert self._process.stderr is not None, "started with pipes"
        async for line in self._process.stderr:
            self._stderr.append(line.decode("utf-8", "replace"))


def _content_length(headers: bytes) -> int:
    for line in headers.decode("ascii", "replace").split("\r\n"):
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-length":
            return int(value)
    raise ServerFailed("The language server sent a message without a length.")


def _answer(method: str, params: Json) -> Json:
    """What this client says to the server's own requests: no configuration, and yes to the rest."""
    if method == "workspace/configuration":
        return [None] * len(params["items"])
    if method == "workspace/applyEdit":
        return {"applied": False, "failureReason": "The command line applies no edits."}
    return None


def server_command() -> list[str]:
    """How this very installation's server is started; the working folder is never imported."""
    return [sys.executable, "-P", "-m", "deltaloom_server", "lsp"]


@contextlib.asynccontextmanager
async def start_server(
    roots: Sequence[Path],
    options: dict[str, Json],
    on_notification: NotificationHandler = lambda _method, _params: None,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[LspClient]:
    """A server process that has been initialized for these workspace folders, until the block is left.

    `options` are its `initializationOptions`; `environment` replaces this process's own variables. Raises
    ServerFailed when it doesn't start.
    """
    process = await asyncio.create_subprocess_exec(
        *server_command(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=16 << 20,
        env=environment,
    )
    client = LspClient(process, on_notification)
    try:
        await client.initialize(roots, options)
        yield client
    finally:
        await client.close()


@contextlib.asynccontextmanager
async def start_measured_server(
    root: Path, options: dict[str, Json], on_notification: NotificationHandler
) -> AsyncIterator[LspClient]:
    """Like `start_server`, with a model worker of the server's own: what is measured begins cold, and nobody
    else's work is in it. The worker leaves soon afterwards, as it is of no use to anyone. Where `options`
    don't say otherwise, no state is kept on disk."""
    with tempfile.TemporaryDirectory(prefix="dl-", ignore_cleanup_errors=True) as folder:
        environment = {**os.environ, "XDG_RUNTIME_DIR": folder}
        options = {"cache": {"disk_bytes": 0}, **options, "worker": {"idle_seconds": 1}}
        async with start_server([root], options, on_notification, environment) as client:
            yield client
