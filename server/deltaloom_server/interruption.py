"""Being told to end, by whichever signal.

Invariant: a run that is ended by a supervisor or a closed terminal tidies up as one ended by Ctrl-C does, and
its exit status says which it was.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


class ToldToEnd(KeyboardInterrupt):
    """A signal other than Ctrl-C's ended the run. `status` is 128 + its number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = 128 + number


@contextmanager
def ended_as_by_ctrl_c() -> Iterator[None]:
    """While the block runs, SIGTERM and SIGHUP do what SIGINT does: asyncio cancels its main task then.

    What comes out in the end is `ToldToEnd`. A signal that is ignored (`nohup`) stays ignored. Only in the
    main thread; elsewhere Python handles no signals, and nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # Ctrl-C reaches the processes that were started as well. Where one ends just while asyncio closes it,
    # asyncio has noted its end in one place and then warns that it can't in another.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    told: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        told.append(number)
        as_ctrl_c = signal.getsignal(signal.SIGINT)
        if not callable(as_ctrl_c):  # a shell ignores SIGINT for what it runs in the background
            raise KeyboardInterrupt
        as_ctrl_c(signal.SIGINT, frame)

    before = {one: signal.getsignal(one) for one in _ENDING}
    heard = [one for one in _ENDING if before[one] not in (signal.SIG_IGN, None)]
    for one in heard:
        signal.signal(one, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        if told:
            raise ToldToEnd(told[0]) from None
        raise
    finally:
        for one in heard:
            signal.signal(one, before[one])
