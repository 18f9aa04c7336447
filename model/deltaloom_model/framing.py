"""What crosses the socket: a 4-byte big-endian length, then one msgpack envelope of that many bytes.

Invariant: a frame is read whole or not at all, never beyond its bound, and what comes out of `decode_*` has
been validated against its type; everything else is a `FrameError`, which ends that one connection.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TypeVar

import msgspec

from deltaloom_model.api import (
    CancelRequest,
    CountRequest,
    CountResult,
    EngineStatus,
    ErrorReply,
    GenerateRequest,
    GenerateResult,
    GenerateUpdate,
    PurgeRequest,
    PurgeResult,
    StatusRequest,
    SyncProgress,
    SyncRequest,
    SyncResult,
)

MAX_FRAME_BYTES = 256 << 20
MAX_HELLO_BYTES = 64 << 10
"""Bound of the first frame: who hasn't proved the token yet can't make the worker hold more than this."""

NOTICE_ID = 0
"""Envelopes with this id answer no request: the worker's own news (a new state, a goodbye)."""

T = TypeVar("T")

_LENGTH = struct.Struct(">I")


class FrameError(Exception):
    """A frame that is too long, cut off, or not what its type says. Its text never quotes the frame."""


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """The first frame of a connection. With `identity` empty it only observes: it may ask for `status`."""

    token: str
    protocol: int
    version: str
    identity: str = ""


class Reload(msgspec.Struct, frozen=True, tag="reload"):
    """Try to load the model again after it failed to load; nothing is answered but the news of it."""


class Welcome(msgspec.Struct, frozen=True, tag="welcome"):
    """The worker takes the connection."""

    status: EngineStatus


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """The worker doesn't take the connection: why, in one sentence."""

    message: str


class Goodbye(msgspec.Struct, frozen=True, tag="goodbye"):
    """The worker leaves on purpose (asked to, or its socket is gone): its end is not a crash."""

    message: str


WorkRequest = CountRequest | SyncRequest | GenerateRequest | PurgeRequest
Request = Hello | Reload | WorkRequest | CancelRequest | StatusRequest
FinalReply = CountResult | SyncResult | GenerateResult | PurgeResult | EngineStatus | ErrorReply
Reply = Welcome | Refused | Goodbye | SyncProgress | GenerateUpdate | FinalReply


class RequestEnvelope(msgspec.Struct, frozen=True):
    """One request; `id` rises within a connection and names it in its replies."""

    id: int
    body: Request


class ReplyEnvelope(msgspec.Struct, frozen=True):
    """One reply to the request `id`; several may precede the final one (`SyncProgress`, `GenerateUpdate`)."""

    id: int
    body: Reply


def encode(envelope: RequestEnvelope | ReplyEnvelope) -> bytes:
    """The envelope as one frame. Raises FrameError when it is too long or holds text that isn't Unicode."""
    try:
        body = msgspec.msgpack.encode(envelope)
    except UnicodeEncodeError:
        raise FrameError("The text holds a lone surrogate, which is not valid Unicode.") from None
    if len(body) > MAX_FRAME_BYTES:
        raise FrameError(f"The message takes {len(body)} bytes, more than the {MAX_FRAME_BYTES} allowed.")
    return _LENGTH.pack(len(body)) + body


def decode_request(body: bytes) -> RequestEnvelope:
    """Raises FrameError for anything but a well-formed request envelope."""
    return _decode(body, RequestEnvelope)


def decode_reply(body: bytes) -> ReplyEnvelope:
    """Raises FrameError for anything but a well-formed reply envelope."""
    return _decode(body, ReplyEnvelope)


def body_length(prefix: bytes, limit: int) -> int:
    """The length that the 4-byte `prefix` announces. Raises FrameError beyond `limit` bytes."""
    (length,) = _LENGTH.unpack(prefix)
    if length > limit:
        raise FrameError(f"A frame of {length} bytes was announced, more than the {limit} allowed.")
    return int(length)


async def read_frame(reader: asyncio.StreamReader, limit: int = MAX_FRAME_BYTES) -> bytes | None:
    """The next frame's body, or None when the stream ended between frames.

    Raises FrameError when it ended inside one, or when the frame is longer than `limit` bytes.
    """
    try:
        prefix = await reader.readexactly(_LENGTH.size)
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise FrameError("The stream ended inside a frame's length.") from None
        return None
    length = body_length(prefix, limit)
    try:
        return await reader.readexactly(length)
    except asyncio.IncompleteReadError:
        raise FrameError("The stream ended inside a frame.") from None


def receive_frame(connection: socket.socket, limit: int = MAX_FRAME_BYTES) -> bytes:
    """`read_frame` for a blocking socket; the end of the stream is a FrameError here."""
    return _receive(connection, body_length(_receive(connection, _LENGTH.size), limit))


def _receive(connection: socket.socket, count: int) -> bytes:
    parts: list[bytes] = []
    while count:
        part = connection.recv(min(count, 1 << 20))
        if not part:
            raise FrameError("The stream ended.")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _decode(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise FrameError(f"A frame is no valid {kind.__name__} ({type(error).__name__}).") from None
