"""Reading one file's text without ever being held up, led astray or flooded by it.

Invariant: only a regular file is read, through no symlink, at most `max_bytes` of it, and what is returned
is text that may stand in a context; everything else is a `Reason`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field

from deltaloom_model.api import text_digest

from .kinds import is_generated_text
from .reasons import Reason
from .secrets import has_secret_content

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
_BOM = b"\xef\xbb\xbf"


def read_bytes(absolute: str, max_bytes: int) -> bytes | Reason:
    """The file's bytes, or why there are none. Never blocks (FIFO, device), never reads past the limit."""
    try:
        # Before opening: opening a device can have side effects even with O_NONBLOCK.
        status = os.lstat(absolute)
        if not stat.S_ISREG(status.st_mode):
            return Reason.SYMLINK if stat.S_ISLNK(status.st_mode) else Reason.NOT_A_FILE
        if status.st_size > max_bytes:
            return Reason.OVERSIZE
        descriptor = os.open(absolute, _FLAGS)
    except (OSError, ValueError):
        return Reason.UNREADABLE
    try:
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return Reason.NOT_A_FILE
            data = file.read(max_bytes + 1)
    except OSError:
        return Reason.UNREADABLE
    return Reason.OVERSIZE if len(data) > max_bytes else data


def judge_text(text: str) -> Reason | None:
    """Why this text may not stand in a context; None when it may."""
    if not text:
        return Reason.EMPTY
    if "\0" in text:
        return Reason.BINARY
    if has_secret_content(text):
        return Reason.SECRET
    return Reason.GENERATED if is_generated_text(text) else None


def load_text(absolute: str, max_bytes: int) -> str | Reason | None:
    """The text of a file as a context shows it; a `Reason` where it may not be shown; None where it is gone.

    A UTF-8 byte order mark is dropped (an editor doesn't show it either); line ends stay as they are.
    """
    data = read_bytes(absolute, max_bytes)
    if isinstance(data, Reason):
        return None if data is Reason.UNREADABLE and not os.path.lexists(absolute) else data
    if b"\0" in data:
        return Reason.BINARY
    try:
        text = data.removeprefix(_BOM).decode("utf-8")
    except UnicodeDecodeError:
        return Reason.INVALID_UTF8
    return judge_text(text) or text


@dataclass(frozen=True)
class Texts:
    """`found` maps digest to text. `stale` are shown paths whose file on disk is no longer what base holds:
    the worker can't be given these, so a new layout is due."""

    found: dict[str, str] = field(default_factory=dict)
    stale: tuple[str, ...] = ()


def reread(wanted: Iterable[tuple[str, str, str]], max_bytes: int) -> Texts:
    """Read base texts again: `wanted` gives (shown path, absolute path, digest). Blocking."""
    found: dict[str, str] = {}
    stale: list[str] = []
    for path, absolute, digest in wanted:
        text = load_text(absolute, max_bytes)
        if isinstance(text, str) and text_digest(text) == digest:
            found[digest] = text
        else:
            stale.append(path)
    return Texts(found, tuple(stale))
