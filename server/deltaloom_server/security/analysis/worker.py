"""The analysis process: `python -P -m deltaloom_server.security.analysis.worker`.

Invariant: one reply for each request, in their order, on a private copy of stdout; what else anything here
prints goes nowhere. The process, and what it has started, ends when the pipe from its parent does.

It leads a process group of its own (its parent sees to that), so that its end is its children's too.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import BinaryIO

import msgspec

from deltaloom_server.security.analysis import frames
from deltaloom_server.security.analysis.limits import limit_self
from deltaloom_server.security.analysis.messages import Failed, Reply, Request
from deltaloom_server.security.analysis.no_network import refuse_network


def main() -> None:
    """The process's life."""
    from deltaloom_server.security.analysis.dispatch import serve

    run(serve)


def run(serve: Callable[[Request], Reply]) -> None:
    """Answer requests with `serve` until stdin ends. Doesn't return: the process ends with it."""
    requests, replies = _private_pipes()
    # Ctrl-C in a terminal is for the parent, which ends this process in its own time.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limit_self()
    refuse_network()
    queue: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_read, args=(requests, queue), daemon=True).start()
    while True:
        replies.write(_answer(serve, queue.get()))
        replies.flush()


def _answer(serve: Callable[[Request], Reply], body: bytes) -> bytes:
    try:
        reply = serve(frames.decode_request(body))
    except msgspec.DecodeError as error:
        reply = Failed(f"The analysis process doesn't understand the request ({error}); report this.")
    except MemoryError:
        reply = Failed("The analysis needs more memory than it may take.")
    except RecursionError:
        reply = Failed("The text is nested too deeply for the analysis.")
    try:
        return frames.encode(reply)
    except frames.FrameError as error:
        return frames.encode(Failed(str(error)))
    except MemoryError:
        return frames.encode(Failed("The analysis has more to say than it has memory for."))


def _read(requests: BinaryIO, queue: SimpleQueue[bytes]) -> None:
    """Reads ahead, so that the parent's end is noticed in the middle of a request."""
    while len(header := requests.read(frames.HEADER.size)) == frames.HEADER.size:
        size = frames.length(header)
        body = requests.read(size)
        if len(body) < size:
            break
        queue.put(body)
    _end()


def _end() -> None:
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


def _private_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Stdin and stdout for messages alone; in their places, nothing for whoever reads or prints."""
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.close(nothing)
    sys.stdout = sys.stderr
    return requests, replies


if __name__ == "__main__":
    main()
