"""Messages on the pipe between the server and its analysis process.

Invariant: a frame is four bytes of length, the most significant first, and that many bytes of msgpack; none
is longer than `MAX_FRAME_BYTES`.
"""

from __future__ import annotations

import struct

import msgspec

from deltaloom_server.security.analysis.messages import Reply, Request

HEADER = struct.Struct(">I")
MAX_FRAME_BYTES = 1 << 26

_ENCODER = msgspec.msgpack.Encoder()
_REQUESTS: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_REPLIES: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


class FrameError(Exception):
    """A message that doesn't fit the pipe; one sentence."""


def encode(message: Request | Reply) -> bytes:
    """A whole frame. Raises `FrameError` where it is too long, or msgpack has no form for it."""
    try:
        body = _ENCODER.encode(message)
    except UnicodeEncodeError:
        raise FrameError("The text has half characters (lone surrogates), which no file can hold.") from None
    except OverflowError:
        raise FrameError("There is a number in it that is larger than any that counts something.") from None
    if len(body) > MAX_FRAME_BYTES:
        raise FrameError(f"There is over {MAX_FRAME_BYTES >> 20} MiB to say, which is too much for one file.")
    return HEADER.pack(len(body)) + body


def length(header: bytes) -> int:
    """The length of the body that follows. Raises `FrameError` where none so long can."""
    (size,) = HEADER.unpack(header)
    if size > MAX_FRAME_BYTES:
        raise FrameError("The analysis process said something that is no message.")
    return int(size)


def decode_request(body: bytes) -> Request:
    """Raises `msgspec.DecodeError`."""
    return _REQUESTS.decode(body)


def decode_reply(body: bytes) -> Reply:
    """Raises `FrameError`."""
    try:
        return _REPLIES.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise FrameError("The analysis process said something that is no message.") from None
