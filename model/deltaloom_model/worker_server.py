"""The worker's sockets: who may connect, what goes to the forward thread, when the worker leaves.

Invariant: nothing but a hello is read from a peer that hasn't shown the token, and a peer that breaks the
protocol loses its own connection, nobody else's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import socket
from collections.abc import Callable
from hmac import compare_digest
from pathlib import Path
from typing import cast

import msgspec

from deltaloom_model import framing
from deltaloom_model._version import __version__
from deltaloom_model.api import (
    PROTOCOL_VERSION,
    CancelRequest,
    CountRequest,
    Engine,
    EngineStatus,
    ErrorReply,
    PurgeRequest,
    StatusRequest,
)
from deltaloom_model.forward_thread import ForwardThread
from deltaloom_model.framing import FrameError, Goodbye, Hello, Refused, Reload, Reply, Request, Welcome
from deltaloom_model.inbox import Cancel, Drop, Inbox, LoadAgain, Stop, Submit, Ticket
from deltaloom_model.runtime_folder import is_own_peer, token_path

HELLO_SECONDS = 10.0
MAX_UNREAD_BYTES = 64 << 20
"""A client that lets more than this pile up unread has stopped reading, and is closed."""

_log = logging.getLogger(__name__)


class _Client:
    """One accepted connection, after its hello. Observers may only ask for the status."""

    def __init__(self, number: int, writer: asyncio.StreamWriter, observer: bool) -> None:
        self.number = number
        self.observer = observer
        self.sessions: set[str] = set()
        self._writer = writer

    def send(self, identifier: int, reply: Reply) -> None:
        """Queue a reply; a client that doesn't read is closed."""
        if self._writer.is_closing():
            return
        _write(self._writer, identifier, reply)
        if self._writer.transport.get_write_buffer_size() > MAX_UNREAD_BYTES:
            _log.warning("connection %d doesn't read its replies; closed", self.number)
            self._writer.transport.abort()

    async def close(self) -> None:
        """End the connection once what was sent is out, or after a second."""
        self._writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            await asyncio.wait_for(self._writer.wait_closed(), 1.0)


class WorkerServer:
    """`listen()` opens the socket and begins to load; `serve()` returns when the worker is to end."""

    def __init__(
        self,
        *,
        socket_file: Path,
        token: str,
        identity: str,
        model_name: str,
        load: Callable[[], Engine],
        idle_seconds: float,
        watch_seconds: float,
    ) -> None:
        self._socket_file = socket_file
        self._token = token
        self._identity = identity
        self._idle_seconds = idle_seconds
        self._watch_seconds = watch_seconds
        self._loop = asyncio.get_running_loop()
        self._end: asyncio.Future[tuple[bool, str]] = self._loop.create_future()
        self._clients: dict[int, _Client] = {}
        self._accepted = 0
        self._idle: asyncio.TimerHandle | None = None
        self._status = EngineStatus("loading", f"Loading the model {model_name}.", pid=os.getpid())
        self._inbox = Inbox()
        self._forward = ForwardThread(
            load,
            self._inbox,
            name=model_name,
            emit=lambda ticket, reply: self._on_loop(self._deliver, ticket, reply),
            on_status=lambda status: self._on_loop(self._take_status, status),
            on_end=lambda stopped: self._on_loop(self._forward_ended, stopped),
        )

    async def listen(self) -> None:
        """Open the socket. Raises OSError when it can't be."""
        self._server = await asyncio.start_unix_server(self._accept, path=str(self._socket_file))
        self._socket_file.chmod(0o600)
        self._inode = self._socket_file.stat().st_ino

    async def serve(self) -> bool:
        """Load the model, serve, clean up; False when the forward thread has failed."""
        self._forward.start()
        self._await_clients()
        watch = asyncio.create_task(self._watch())
        ended_well, reason = await self._end
        _log.info("leaving: %s", reason)
        watch.cancel()
        ours = self._is_socket_there()
        self._server.close()
        if ended_well:  # else let clients take it for the crash that it is
            for client in self._clients.values():
                client.send(framing.NOTICE_ID, Goodbye(f"{reason} The next request starts another."))
        await asyncio.gather(*(client.close() for client in self._clients.values()))
        if ours:
            self._socket_file.unlink(missing_ok=True)
            token_path(self._socket_file).unlink(missing_ok=True)
        self._inbox.put(Stop())
        await asyncio.to_thread(self._forward.join, 2.0)
        return ended_well

    def leave(self, reason: str, ended_well: bool = True) -> None:
        """Have `serve` return; `reason` is a sentence."""
        if not self._end.done():
            self._end.set_result((ended_well, reason))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._accepted += 1
        number = self._accepted
        try:
            client = await self._greet(number, reader, writer)
            if client is not None:
                await self._converse(client, reader)
        except FrameError as error:
            _log.warning("connection %d closed: %s", number, error)
        except (OSError, TimeoutError) as error:
            _log.info("connection %d ended: %s", number, type(error).__name__)
        finally:
            writer.close()
            self._forget(number)

    async def _greet(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> _Client | None:
        if not is_own_peer(cast("socket.socket", writer.get_extra_info("socket"))):
            _log.warning("connection %d closed: its peer is another user", number)
            return None
        async with asyncio.timeout(HELLO_SECONDS):
            body = await framing.read_frame(reader, framing.MAX_HELLO_BYTES)
        if body is None:
            return None
        envelope = framing.decode_request(body)
        if not isinstance(envelope.body, Hello):
            raise FrameError("The first frame is no hello.")
        if objection := self._objection(envelope.body):
            _log.warning("connection %d refused: %s", number, objection)
            _write(writer, envelope.id, Refused(objection))
            await writer.drain()
            return None
        client = _Client(number, writer, observer=not envelope.body.identity)
        client.send(envelope.id, Welcome(self._current_status()))
        self._clients[number] = client
        if not client.observer and self._idle is not None:
            self._idle.cancel()
            self._idle = None
        return client

    def _objection(self, hello: Hello) -> str:
        if not compare_digest(hello.token.encode("utf-8", "replace"), self._token.encode()):
            return "The token is not this worker's."
        if not hello.identity:
            return ""
        if hello.protocol != PROTOCOL_VERSION:
            return f"The worker speaks protocol {PROTOCOL_VERSION}, the server {hello.protocol}."
        if hello.version != __version__:
            return f"The worker is of version {__version__}, the server of version {hello.version[:20]}."
        if hello.identity != self._identity:
            return "The worker serves another model, or with other settings."
        return ""

    async def _converse(self, client: _Client, reader: asyncio.StreamReader) -> None:
        while (body := await framing.read_frame(reader)) is not None:
            envelope = framing.decode_request(body)
            self._dispatch(client, envelope.id, envelope.body)

    def _dispatch(self, client: _Client, identifier: int, request: Request) -> None:
        if isinstance(request, StatusRequest):
            client.send(identifier, self._current_status())
        elif client.observer or isinstance(request, Hello):
            raise FrameError("A request came that this connection may not make.")
        elif isinstance(request, CancelRequest):
            self._inbox.put(Cancel(Ticket(client.number, request.request_id)))
        elif isinstance(request, Reload):
            self._inbox.put(LoadAgain())
        else:
            if not isinstance(request, CountRequest | PurgeRequest):
                client.sessions.add(request.session)
            self._inbox.put(Submit(Ticket(client.number, identifier), request))

    def _forget(self, number: int) -> None:
        client = self._clients.pop(number, None)
        if client is None:
            return
        shared = {session for other in self._clients.values() for session in other.sessions}
        self._inbox.put(Drop(number, tuple(client.sessions - shared)))
        self._await_clients()

    def _await_clients(self) -> None:
        if self._idle is None and all(client.observer for client in self._clients.values()):
            self._idle = self._loop.call_later(self._idle_seconds, self.leave, "Nobody needs the worker.")

    def _on_loop(self, callback: Callable[..., None], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits for this any more
            self._loop.call_soon_threadsafe(callback, *arguments)

    def _deliver(self, ticket: Ticket, reply: Reply) -> None:
        client = self._clients.get(cast("int", ticket.connection))
        if client is None:
            return
        try:
            client.send(ticket.request_id, reply)
        except FrameError as error:
            client.send(ticket.request_id, ErrorReply(f"The answer can't be sent: {error}"))

    def _take_status(self, status: EngineStatus) -> None:
        changed = (status.state, status.detail) != (self._status.state, self._status.detail)
        self._status = status
        if changed:
            current = self._current_status()
            for client in self._clients.values():
                client.send(framing.NOTICE_ID, current)

    def _current_status(self) -> EngineStatus:
        resident = self._status.resident_bytes or _resident_bytes()
        return msgspec.structs.replace(self._status, pid=os.getpid(), resident_bytes=resident)

    def _forward_ended(self, stopped: bool) -> None:
        if not stopped:
            self.leave("The model worker failed; `deltaloom logs` has the details.", ended_well=False)

    async def _watch(self) -> None:
        while self._is_socket_there():
            await asyncio.sleep(self._watch_seconds)
        self.leave("The worker's socket or token file is gone.")

    def _is_socket_there(self) -> bool:
        try:
            there = self._socket_file.stat().st_ino == self._inode
        except OSError:
            return False
        return there and token_path(self._socket_file).exists()


def _resident_bytes() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # macOS has no /proc; its ru_maxrss is the peak, in bytes
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _write(writer: asyncio.StreamWriter, identifier: int, reply: Reply) -> None:
    writer.write(framing.encode(framing.ReplyEnvelope(identifier, reply)))
