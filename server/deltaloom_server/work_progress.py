"""`$/progress` for long work, where the client shows it.

Invariant: nothing is sent under a token that the client hasn't accepted, each begun token is ended exactly
once, and work never waits for a client that doesn't answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Iterator
from typing import Protocol

from lsprotocol import types

_ACCEPT_SECONDS = 10.0


class Channel(Protocol):
    """What progress needs of the protocol (pygls's `JsonRPCProtocol` has both)."""

    def notify(self, method: str, params: object | None = None) -> None: ...

    def send_request_async(self, method: str, params: object | None = None) -> asyncio.Future[object]: ...


class WorkProgress:
    """One piece of work: `report` may be called at any rate; equal reports are sent once."""

    def __init__(self, channel: Channel | None, token: str | int, title: str, cancellable: bool) -> None:
        self._channel = channel
        self._token = token
        self._title = title
        self._cancellable = cancellable
        self._last: tuple[str, int | None] = ("", None)
        self._begun = False
        self._ended = False

    def report(self, message: str, percentage: int | None = None) -> None:
        """`percentage` from 0 to 100, never falling (LSP 3.18); None where there is no telling."""
        if (message, percentage) == self._last:
            return
        self._last = message, percentage
        if self._begun and not self._ended:
            self._send(types.WorkDoneProgressReport(message=message, percentage=percentage))

    def report_share(self, verb: str, done: int, total: int) -> None:
        """`verb` and how much of `total` is done, in percent; nothing while the total isn't known."""
        if total:
            percentage = min(100, 100 * done // total)
            self.report(f"{verb} {percentage}%", percentage)

    async def begin_when_accepted(self) -> None:
        """Ask the client for the token, and begin when it agrees and the work isn't over yet."""
        if self._channel is None:
            return
        request = types.WorkDoneProgressCreateParams(token=self._token)
        try:
            async with asyncio.timeout(_ACCEPT_SECONDS):
                await self._channel.send_request_async(types.WINDOW_WORK_DONE_PROGRESS_CREATE, request)
        except Exception:  # refused, or no answer: the work goes on unseen
            return
        self.begin()

    def begin(self) -> None:
        """Begin under a token that the client knows, unless the work is over already."""
        if not self._ended:
            self._begun = True
            message, percentage = self._last
            begin = types.WorkDoneProgressBegin(
                title=self._title,
                message=message or None,
                percentage=0 if percentage is None else percentage,
                cancellable=self._cancellable,
            )
            self._send(begin)

    def end(self, message: str = "") -> None:
        """The work is over."""
        if self._begun and not self._ended:
            self._send(types.WorkDoneProgressEnd(message=message or None))
        self._ended = True

    def _send(
        self, value: types.WorkDoneProgressBegin | types.WorkDoneProgressReport | types.WorkDoneProgressEnd
    ) -> None:
        assert self._channel is not None, "nothing begins without a channel"
        self._channel.notify(types.PROGRESS, types.ProgressParams(token=self._token, value=value))


class ProgressBoard:
    """All work that is shown now, and how the client's cancel button reaches it."""

    def __init__(self) -> None:
        self._channel: Channel | None = None
        self._cancels: dict[str | int, Callable[[], object]] = {}
        self._asking: set[asyncio.Task[None]] = set()

    def use(self, channel: Channel | None) -> None:
        """The client's channel, or None where it shows no progress."""
        self._channel = channel

    @contextlib.contextmanager
    def work(
        self,
        title: str,
        on_cancel: Callable[[], object] | None = None,
        given: tuple[Channel, str | int] | None = None,
    ) -> Iterator[WorkProgress]:
        """Show one piece of work while the block runs. `on_cancel` is called when the user cancels it.

        `given`: the client has asked for the work with a token of its own, so it isn't asked for one.
        """
        channel, token = given or (self._channel, f"deltaloom-{secrets.token_hex(8)}")
        progress = WorkProgress(channel, token, title, on_cancel is not None)
        if on_cancel is not None:
            self._cancels[token] = on_cancel
        if given is not None:
            progress.begin()
        else:
            asking = asyncio.get_running_loop().create_task(progress.begin_when_accepted())
            self._asking.add(asking)
            asking.add_done_callback(self._asking.discard)
        try:
            yield progress
        finally:
            self._cancels.pop(token, None)
            progress.end()

    def cancel(self, token: str | int) -> bool:
        """The user cancelled the work under this token; False when there is no such work any more."""
        on_cancel = self._cancels.pop(token, None)
        if on_cancel is not None:
            on_cancel()
        return on_cancel is not None
