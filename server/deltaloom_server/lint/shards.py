"""Dividing files among machines.

Invariant: which part a file belongs to depends on its path and on the number of parts alone, so adding or
removing a file moves no other, and every file is in exactly one part.
"""

from __future__ import annotations

from hashlib import blake2b


def shard_of(path: str, parts: int) -> int:
    """The part, from 1 to `parts`, that a file belongs to. `path` is relative to the root, with slashes."""
    digest = blake2b(path.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % parts + 1


def in_shard(path: str, shard: tuple[int, int] | None) -> bool:
    """Is a file in the part (i, n)? In None, all are."""
    return shard is None or shard_of(path, shard[1]) == shard[0]
