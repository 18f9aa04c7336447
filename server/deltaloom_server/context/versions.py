"""Earlier states of a context, found again by the texts that they show.

Invariant: a version is found only by exactly the texts that base and log have to show now, the active
document's excepted, for the same active document: what is taken up again shows what is live.

So undo of a saved change, formatting and back, a branch switched and switched back, and going from one file
to another and back all lead to the very same segments, and the engine finds its state for them by look-up.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b

from .layout import BaseFile
from .log import LogEntry

MOST_VERSIONS = 64
MODULUS = 1 << 128

Key = tuple[str | None, int]
"""The active path, and the sum of the hashes of all other shown (path, digest) pairs."""


@dataclass(frozen=True)
class Version:
    """A base, shared by reference, and the log behind it; the first `kept` entries outlived a compaction."""

    base: Mapping[str, BaseFile]
    log: tuple[LogEntry, ...]
    kept: int


def shown_hash(path: str, digest: str) -> int:
    """What one shown text adds to the sum; sums don't depend on the order."""
    data = f"{path}\0{digest}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(data, digest_size=16).digest(), "big")


def base_hash(base: Mapping[str, BaseFile]) -> int:
    """The sum over all files of a base, by their texts on disk."""
    return sum(base_part(base, path) for path in base) % MODULUS


def base_part(base: Mapping[str, BaseFile], path: str) -> int:
    """What a path adds to its base's sum."""
    file = base.get(path)
    return shown_hash(path, file.source_digest) if file is not None and file.is_file else 0


def live_hash(
    total: int, base: Mapping[str, BaseFile], newest: Mapping[str, str | None], active: str | None
) -> int:
    """`total` (the base's own) with the newest digests in place of the base's, None for what is gone, and
    without the active path."""
    for path in {*newest, active} if active is not None else newest:
        assert path is not None
        total -= base_part(base, path)
        digest = newest.get(path)
        if digest is not None and path != active:
            total += shown_hash(path, digest)
    return total % MODULUS


class Versions:
    """The last versions of one context, the one used longest ago forgotten first."""

    def __init__(self) -> None:
        self._held: OrderedDict[Key, Version] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def copy(self) -> Versions:
        """One that changes on its own."""
        twin = Versions()
        twin._held = self._held.copy()
        return twin

    def find(self, key: Key) -> Version | None:
        """The version for these live texts, if it is remembered."""
        found = self._held.get(key)
        if found is not None:
            self._held.move_to_end(key)
        return found

    def remember(self, key: Key, version: Version) -> None:
        """This is how these live texts stand now."""
        self._held[key] = version
        self._held.move_to_end(key)
        if len(self._held) > MOST_VERSIONS:
            self._held.popitem(last=False)

    def bases(self) -> list[Mapping[str, BaseFile]]:
        """The distinct bases that versions stand on, those used last first."""
        return list({id(version.base): version.base for version in reversed(self._held.values())}.values())

    def paths(self) -> set[str]:
        """Every path that some version shows."""
        shown = {path for base in self.bases() for path, file in base.items() if file.is_file}
        logged = (entry.segment.path for version in self._held.values() for entry in version.log)
        return shown.union(logged)

    def clear(self) -> None:
        self._held.clear()
