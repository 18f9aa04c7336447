"""What the socket thread has for the forward thread: a queue that is there before the engine is.

Invariant: messages are taken in the order in which they were put, each once; any thread may put.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from deltaloom_model.framing import WorkRequest


@dataclass(frozen=True)
class Ticket:
    """Names one request of one connection; `connection` is opaque to the forward thread."""

    connection: Hashable
    request_id: int


@dataclass(frozen=True)
class Submit:
    """Serve this request; its replies carry the ticket."""

    ticket: Ticket
    request: WorkRequest


@dataclass(frozen=True)
class Cancel:
    """Stop the request with this ticket at the next step and answer it; nothing if it has been answered."""

    ticket: Ticket


@dataclass(frozen=True)
class Drop:
    """The connection has closed: stop its requests without an answer, and forget these sessions."""

    connection: Hashable
    sessions: tuple[str, ...]


@dataclass(frozen=True)
class LoadAgain:
    """Try to load the model again; nothing if it is loaded."""


@dataclass(frozen=True)
class Stop:
    """End the forward thread."""


Message = Submit | Cancel | Drop | LoadAgain | Stop


class Inbox:
    """A queue of messages for the forward thread."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Message] = SimpleQueue()

    def put(self, message: Message) -> None:
        """Never blocks."""
        self._queue.put(message)

    def take_one(self) -> Message:
        """Blocks until there is one."""
        return self._queue.get()

    def take(self, wait: bool, seconds: float | None = None) -> list[Message]:
        """All messages there are; with `wait`, blocks until there is one, or (none) for so many seconds."""
        try:
            messages = [self._queue.get(timeout=seconds)] if wait else []
        except Empty:
            return []
        while True:
            try:
                messages.append(self._queue.get_nowait())
            except Empty:
                return messages
