"""Which lines of a text are new or changed against a revision of its repository.

Invariant: lines that a revision has in the same order are never called changed; where there is no revision to
compare with, all lines are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from difflib import SequenceMatcher
from functools import partial

from deltaloom_server.context.git import GitUnavailable, blobs_at, file_at
from deltaloom_server.positions import split_lines
from deltaloom_server.security.source_text import decode_source

_MOST_LINES = 20_000


def changed_lines(before: str | None, now: str) -> tuple[tuple[int, int], ...]:
    """First and last numbers (from 0) of the runs of lines in `now` that `before` hasn't."""
    # A line's end says nothing here: git may store another than the work tree has.
    new = [line.rstrip("\r\n") for line in split_lines(now)]
    if before is None:
        return ((0, len(new) - 1),)
    old = [line.rstrip("\r\n") for line in split_lines(before)]
    head = _shared(old, new)
    tail = _shared(old[head:][::-1], new[head:][::-1])
    old, middle = old[head : len(old) - tail], new[head : len(new) - tail]
    if not middle:
        return ()
    if not old or len(old) + len(middle) > _MOST_LINES:
        return ((head, head + len(middle) - 1),)
    matcher = SequenceMatcher(None, old, middle, autojunk=False)
    return tuple(
        (head + first, head + last - 1)
        for tag, _, _, first, last in matcher.get_opcodes()
        if tag in ("replace", "insert")
    )


class Revision:
    """What a repository had of its files in one revision; asks git once for all of them. Blocking."""

    def __init__(self, root: str, revision: str) -> None:
        self._root, self._revision = root, revision
        try:
            self._blobs: dict[str, str] | None = blobs_at(root, revision)
        except GitUnavailable:
            self._blobs = None

    @property
    def exists(self) -> bool:
        """Is there anything to compare with?"""
        return self._blobs is not None

    def is_unchanged(self, relative: str, text: str) -> bool:
        """Is it the very text that the revision has, or is there no revision? Quick."""
        if self._blobs is None:
            return True
        name = self._blobs.get(relative)
        return name is not None and name == _blob_name(text, len(name))

    def changed_lines(self, relative: str, text: str) -> tuple[tuple[int, int], ...]:
        """Runs of lines that the revision hasn't; none where there is no revision."""
        if self.is_unchanged(relative, text):
            return ()
        if self._blobs is None or relative not in self._blobs:
            return changed_lines(None, text)
        return changed_lines(text_at(self._root, relative, self._revision), text)


def _blob_name(text: str, digits: int) -> str:
    """What git calls a blob of this text (its object format tells the digest)."""
    data = text.encode("utf-8", "surrogatepass")
    head = b"blob %d\0" % len(data)
    # Not for security: git's own name of the object is what it is compared with.
    digest = hashlib.sha256 if digits == 64 else partial(hashlib.sha1, usedforsecurity=False)
    return digest(head + data).hexdigest()


def text_at(root: str, relative: str, revision: str) -> str | None:
    """A file's text in a revision; None where the revision doesn't have it, or there is none. Blocking."""
    try:
        data = file_at(root, relative, revision)
    except GitUnavailable:
        return None
    if data is None:
        return None
    # As the present text is read: otherwise every line with an umlaut of a latin-1 file would be new.
    source = decode_source(data, is_python=relative.endswith((".py", ".pyi")))
    return data.decode("utf-8", "replace") if isinstance(source, str) else source.text


def _shared(old: Sequence[str], new: Sequence[str]) -> int:
    pairs = enumerate(zip(old, new, strict=False))
    return next((at for at, (one, other) in pairs if one != other), min(len(old), len(new)))
