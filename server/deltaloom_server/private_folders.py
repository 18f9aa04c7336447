"""Folders for copies of what people work on: only this user can look into them, and they go with their owner.

Invariant: what is removed is a folder that this user owns, named by us, whose owner has ended; no link is
followed. A folder that its owner could not remove (it was killed) is removed by the next that makes one.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Literal

Kind = Literal["semgrep", "sandbox", "eval"]

_ELSEWHERE_SECONDS = 24 * 3600.0
"""Of an owner in another container nothing can be known; its folders are left alone for so long."""


def make(kind: Kind) -> str:
    """A new folder's path; whoever makes it removes it. Raises OSError. Blocking."""
    sweep_once(kind)
    return tempfile.mkdtemp(prefix=f"{_prefix(kind)}{os.getpid()}-{_namespace()}-")


@contextmanager
def folder(kind: Kind) -> Iterator[str]:
    """One that is gone afterwards, with all that is in it."""
    path = make(kind)
    try:
        yield path
    finally:
        remove(path)


def remove(path: str) -> None:
    """Remove a folder and what is in it, also where a program has closed folders in it to itself."""

    shutil.rmtree(path, ignore_errors=True)
    if os.path.lexists(path):
        for closed in (path, *_folders_in(path)):
            with suppress(OSError):
                os.chmod(closed, 0o700)
        shutil.rmtree(path, ignore_errors=True)


def _folders_in(path: str) -> Iterator[str]:
    """Before each is looked into, so that it can be opened up."""
    for parent, names, _ in os.walk(path):
        whole = (os.path.join(parent, name) for name in names)
        yield from (one for one in whole if not os.path.islink(one))


def sweep(kind: Kind, owner: int | None = None) -> None:
    """Remove the folders of a kind whose owners have ended; with `owner`, only that process's, which the
    caller knows to have ended. Blocking."""
    form = re.compile(rf"{re.escape(_prefix(kind))}(\d{{1,10}})-(\d{{1,20}})-\w{{8}}")
    place, here = tempfile.gettempdir(), _namespace()
    with suppress(OSError):
        for name in os.listdir(place):
            match = form.fullmatch(name)
            if match is None or (owner is not None and int(match[1]) != owner):
                continue
            path = os.path.join(place, name)
            with suppress(OSError):
                if _is_abandoned(path, int(match[1]), is_here=int(match[2]) == here):
                    remove(path)


@cache
def sweep_once(kind: Kind) -> None:
    """The same, where this process has not done so yet."""
    sweep(kind)


def _is_abandoned(path: str, owner: int, *, is_here: bool) -> bool:
    state = os.lstat(path)
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.geteuid():
        return False
    return not _is_running(owner) if is_here else time.time() - state.st_mtime > _ELSEWHERE_SECONDS


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def _prefix(kind: Kind) -> str:
    return f"deltaloom-{kind}-"


def _namespace() -> int:
    """Which processes' numbers ours are among: containers may share a temporary folder, and count anew."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0
