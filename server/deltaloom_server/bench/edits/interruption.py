"""Being told to end, by whichever signal.

Invariant: a run that is ended by a supervisor or a closed terminal tidies up as one ended by Ctrl-C does.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextmanager
def ended_as_by_ctrl_c() -> Iterator[None]:
    """While the block runs, SIGTERM and SIGHUP do what SIGINT does: asyncio cancels its main task then.

    Only in the main thread; elsewhere Python handles no signals, and nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # Ctrl-C reaches the processes that were started as well. Where one ends just while asyncio closes it,
    # asyncio has noted its end in one place and then warns that it can't in another.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    before = {number: signal.signal(number, _interrupt) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(_number: int, _frame: object) -> None:
    signal.raise_signal(signal.SIGINT)
