"""What a process that reads workspace text may use, and which texts are too much for a scanner.

Invariant: limits are only ever lowered; where a platform doesn't have one, the others still hold.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys

MEBIBYTE = 1 << 20

PARSED_BYTES = MEBIBYTE
"""Python's own parser and what walks its trees: bandit took 40 s and 1.7 GB for 2.6 MB."""
READ_BYTES = 4 * MEBIBYTE
"""Scanners that don't build Python objects for what they read: ruff, regular expressions."""

HEADROOM_BYTES = 1024 * MEBIBYTE
"""Address space that the analysis process may take above what it has when it starts."""
PROGRAM_BYTES = 1024 * MEBIBYTE
"""Address space of a scanner that is a program of its own; ruff needs 256 MiB for a text of `READ_BYTES`."""
FILE_BYTES = 16 * MEBIBYTE
"""The largest file that these processes may write: what a scanner needs that reads from files only."""
NICENESS = 5


def limit_self(headroom: int = HEADROOM_BYTES) -> None:
    """Lower this process's limits. Programs that it starts inherit all of them but the first, which they
    may raise again: how much address space a program reserves says little about what it uses."""
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_FSIZE, FILE_BYTES)
    used = _address_space()
    if used is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (_least(used + headroom, hard), hard))
    # A write past the limit is then an error like any other, and not the process's end.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.nice(NICENESS)


def limit_program(pid: int, memory: int = PROGRAM_BYTES) -> None:
    """Lower the limits of a program that has just been started; does nothing where it has ended already.

    From outside, as code between fork and exec isn't safe in a process with threads. Linux only.
    """
    if sys.platform != "linux":
        return
    for kind, most in (
        (resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, FILE_BYTES), (resource.RLIMIT_AS, memory),
    ):  # fmt: skip
        with contextlib.suppress(OSError, ValueError):
            _, hard = resource.prlimit(pid, kind)
            least = _least(most, hard)
            resource.prlimit(pid, kind, (least, least))


def oversize(text: str, limit: int) -> bool:
    """Has the text more than `limit` bytes in UTF-8?"""
    if len(text) > limit:
        return True
    return len(text) * 4 > limit and len(text.encode("utf-8", "surrogatepass")) > limit


def too_large(limit: int) -> str:
    """Why a text wasn't scanned."""
    return f"The text is over {limit // MEBIBYTE} MiB."


def _lower(kind: int, most: int) -> None:
    _, hard = resource.getrlimit(kind)
    least = _least(most, hard)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(kind, (least, least))


def _least(most: int, hard: int) -> int:
    return most if hard == resource.RLIM_INFINITY else min(most, hard)


def _address_space() -> int | None:
    """Bytes of address space that this process has; None where the platform doesn't say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as status:
            return int(status.read().split()[0]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return None
