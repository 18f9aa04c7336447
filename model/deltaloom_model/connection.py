"""One authenticated connection to a worker, from the server's side.

Invariant: every call ends in exactly one way: its final reply, `RequestFailed`, `WorkerUnavailable` (the
connection is gone), or the caller's own cancellation, which the worker is told of.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from collections.abc import Callable
from pathlib import Path
from typing import cast

from deltaloom_model import framing
from deltaloom_model._version import __version__
from deltaloom_model.api import (
    PROTOCOL_VERSION,
    CancelRequest,
    EngineStatus,
    ErrorReply,
    GenerateUpdate,
    StatusRequest,
    SyncProgress,
)
from deltaloom_model.errors import HandshakeRefused, RequestFailed, WorkerUnavailable
from deltaloom_model.framing import FinalReply, Goodbye, Refused, Reload, Reply, Request, Welcome, WorkRequest
from deltaloom_model.runtime_folder import is_own_peer, read_token

HANDSHAKE_SECONDS = 10.0

Progress = Callable[[SyncProgress | GenerateUpdate], None]


class _Pending:
    """A call that waits for its final reply."""

    def __init__(self, on_progress: Progress | None) -> None:
        self.future: asyncio.Future[FinalReply] = asyncio.get_running_loop().create_future()
        self.on_progress = on_progress


class WorkerConnection:
    """Calls over one connection. `on_status` gets the worker's news; `on_lost` is called once, at the end,
    with the goodbye's sentence, or "" when the connection broke without one."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        on_status: Callable[[EngineStatus], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._on_status = on_status
        self._on_lost = on_lost
        self._ids = itertools.count(framing.NOTICE_ID + 1)
        self._pending: dict[int, _Pending] = {}
        self._goodbye = ""
        self._closed = False
        self._reading: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        socket_file: Path,
        identity: str,
        *,
        on_status: Callable[[EngineStatus], None],
        on_lost: Callable[[str], None],
    ) -> WorkerConnection:
        """Connect and shake hands.

        Raises OSError when nobody listens (or is leaving), HandshakeRefused when the worker says no,
        WorkerUnavailable when it isn't ours or doesn't answer.
        """
        reader, writer = await asyncio.open_unix_connection(str(socket_file))
        try:
            peer = cast("socket.socket", writer.get_extra_info("socket"))
            if not is_own_peer(peer):
                raise WorkerUnavailable(f"The worker at {socket_file} belongs to another user; not used.")
            hello = framing.Hello(read_token(socket_file), PROTOCOL_VERSION, __version__, identity)
            connection = cls(reader, writer, on_status=on_status, on_lost=on_lost)
            writer.write(framing.encode(framing.RequestEnvelope(next(connection._ids), hello)))
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                answer = await connection._read_reply()
        except TimeoutError:
            writer.close()
            raise WorkerUnavailable(f"The worker at {socket_file} doesn't answer.") from None
        except framing.FrameError:
            writer.close()
            raise HandshakeRefused(f"What listens at {socket_file} doesn't speak our protocol.") from None
        except BaseException:
            writer.close()
            raise
        if isinstance(answer, Welcome):
            on_status(answer.status)
            connection._reading = asyncio.create_task(connection._read_replies())
            return connection
        writer.close()
        if isinstance(answer, Refused):
            raise HandshakeRefused(answer.message)
        raise ConnectionResetError("the worker was leaving")

    async def call(
        self, request: WorkRequest | StatusRequest, on_progress: Progress | None = None
    ) -> FinalReply:
        """Send a request and wait for its final reply. Cancelling this call cancels the request there."""
        if self._closed:
            raise WorkerUnavailable("The connection to the model worker is closed.")
        identifier = next(self._ids)
        try:
            self._send(identifier, request)
        except framing.FrameError as error:
            raise RequestFailed(str(error)) from None
        pending = self._pending[identifier] = _Pending(on_progress)
        try:
            await self._drain()
            reply = await pending.future
        except asyncio.CancelledError:
            if not self._closed:
                self._send(next(self._ids), CancelRequest(identifier))
            raise
        finally:
            self._pending.pop(identifier, None)
            pending.future.cancel()
        if isinstance(reply, ErrorReply):
            raise RequestFailed(reply.message)
        return reply

    def ask_reload(self) -> None:
        """Have a worker whose model failed to load try again."""
        self._send(next(self._ids), Reload())

    async def close(self) -> None:
        """End the connection from this side; `on_lost` isn't called. Calls that wait raise."""
        self._on_lost = lambda _goodbye: None
        self._end()
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
        self.fail_pending("The connection to the model worker was closed.")

    def fail_pending(self, message: str) -> None:
        """Every call that still waits raises WorkerUnavailable with this sentence."""
        for pending in self._pending.values():
            if not pending.future.done():
                pending.future.set_exception(WorkerUnavailable(message))

    async def _drain(self) -> None:
        with contextlib.suppress(ConnectionError):  # the reading side notices, and fails the call
            await self._writer.drain()

    def _send(self, identifier: int, request: Request) -> None:
        self._writer.write(framing.encode(framing.RequestEnvelope(identifier, request)))

    async def _read_reply(self) -> Reply | None:
        body = await framing.read_frame(self._reader)
        return None if body is None else framing.decode_reply(body).body

    async def _read_replies(self) -> None:
        try:
            while (body := await framing.read_frame(self._reader)) is not None:
                envelope = framing.decode_reply(body)
                self._take(envelope.id, envelope.body)
        except (framing.FrameError, OSError):
            pass
        self._end()
        self._on_lost(self._goodbye)

    def _take(self, identifier: int, reply: Reply) -> None:
        if identifier == framing.NOTICE_ID:
            if isinstance(reply, EngineStatus):
                self._on_status(reply)
            elif isinstance(reply, Goodbye):
                self._goodbye = reply.message
            return
        pending = self._pending.get(identifier)
        if pending is None or pending.future.done():
            return  # cancelled here before the worker knew
        if isinstance(reply, SyncProgress | GenerateUpdate):
            try:
                if pending.on_progress is not None:
                    pending.on_progress(reply)
            except Exception as error:  # the caller's own fault must not end everybody's connection
                pending.future.set_exception(error)
        elif not isinstance(reply, Welcome | Refused | Goodbye):
            pending.future.set_result(reply)

    def _end(self) -> None:
        self._closed = True
        self._writer.close()
