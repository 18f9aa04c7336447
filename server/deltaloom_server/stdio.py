"""LSP frames over stdin and stdout.

Invariant: whatever bytes arrive, the parser finds the next well-formed frame again, and says once for each
run of bytes it had to skip; nothing but frames is ever written to the real stdout.

Framing: LSP 3.18, base protocol (headers of `Name: value` lines, an empty line, `Content-Length` bytes).
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator

MAX_BODY_BYTES = 1 << 30
MAX_HEADER_BYTES = 1 << 14
_READ_BYTES = 1 << 16
_RESYNC_BYTES = 64
"""Kept of an endless line: it may end with the start of the next frame's header."""

# Searched for at a line's end, not matched from its start: after a broken frame the next frame's header
# follows the rest of the broken body on the same line.
_LENGTH = re.compile(rb"content-length:[ \t]*(\d{1,10})[ \t]*$", re.IGNORECASE)
_HEADER = re.compile(rb"[A-Za-z][A-Za-z0-9-]*:")


class BrokenFrame(str):
    """One sentence about bytes that were skipped."""

    __slots__ = ()


class FrameParser:
    """Turns chunks of bytes into message bodies. Keeps at most one unfinished frame."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._length: int | None = None
        self._in_body = False
        self._header_seen = False
        self._skipping = False

    def feed(self, data: bytes) -> Iterator[bytes | BrokenFrame]:
        """The bodies that `data` completes, in order, and a `BrokenFrame` for each run of noise."""
        self._buffer += data
        while True:
            if self._in_body:
                assert self._length is not None, "a body is entered with its length"
                if len(self._buffer) < self._length:
                    return
                yield self._take(self._length)
                self._start_frame()
                self._skipping = False
                continue
            end = self._buffer.find(b"\n")
            if end < 0:
                if len(self._buffer) > MAX_HEADER_BYTES:
                    del self._buffer[:-_RESYNC_BYTES]
                    yield from self._skip("A message's header doesn't end.")
                return
            yield from self._take_line(self._take(end + 1).rstrip(b"\r\n"))

    def _take_line(self, line: bytes) -> Iterator[BrokenFrame]:
        if line:
            if found := _LENGTH.search(line):
                self._length = int(found[1])
            elif not _HEADER.match(line):
                yield from self._skip("Bytes between messages that are no header were skipped.")
            self._header_seen = True
        elif self._length is not None and self._length <= MAX_BODY_BYTES:
            self._in_body = True
        elif self._header_seen:
            too_long = self._length is not None
            self._start_frame()
            yield from self._skip(
                "A message is too long." if too_long else "A message has no valid Content-Length header."
            )

    def _skip(self, sentence: str) -> Iterator[BrokenFrame]:
        if not self._skipping:
            self._skipping = True
            yield BrokenFrame(sentence)

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _start_frame(self) -> None:
        self._length = None
        self._in_body = False
        self._header_seen = False


class StdoutFrames:
    """The real stdout, as pygls' writer. Writing blocks; reading goes on meanwhile, so nobody deadlocks."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._is_broken = False
        self.on_broken: Callable[[], None] = lambda: None

    def write(self, data: bytes) -> None:
        """Write everything. When the editor has gone, `on_broken` is called once and nothing more written."""
        view = memoryview(data)
        while view and not self._is_broken:
            try:
                view = view[os.write(self._descriptor, view) :]
            except OSError:
                self._is_broken = True
                self.on_broken()

    def close(self) -> None:
        """Nothing to do: the descriptor ends with the process."""


def claim_stdout() -> StdoutFrames:
    """Keep the real stdout for frames; what else is printed in this process goes to stderr from now on."""
    sys.stdout.flush()
    frames = StdoutFrames(os.dup(1))
    os.dup2(2, 1)
    return frames


def read_stdin(
    loop: asyncio.AbstractEventLoop, on_chunk: Callable[[bytes], None], descriptor: int = 0
) -> threading.Thread:
    """Read `descriptor` in a daemon thread; `on_chunk` runs on the loop for each chunk, b"" at the end.

    A thread of its own, not an executor's: reading never waits for other work, and leaving never waits for
    the next byte. Reads the bare descriptor, because a buffered reader's lock held at exit aborts Python.
    """

    def read() -> None:
        while True:
            try:
                chunk = os.read(descriptor, _READ_BYTES)
            except OSError:
                chunk = b""
            try:
                loop.call_soon_threadsafe(on_chunk, chunk)
            except RuntimeError:  # the loop has closed: we are leaving
                return
            if not chunk:
                return

    thread = threading.Thread(target=read, name="stdin", daemon=True)
    thread.start()
    return thread
