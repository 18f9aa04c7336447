"""Many files for one run of a scanner that is a program of its own.

Invariant: batches keep the order of the files, and each file is in exactly one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path


def batches(
    paths: Sequence[Path], size_of: Callable[[Path], int], *, most_files: int, most_bytes: int
) -> Iterator[list[Path]]:
    """The files in runs of at most `most_files` and, by `size_of`, `most_bytes`; a larger one is alone."""
    batch: list[Path] = []
    total = 0
    for path in paths:
        size = size_of(path)
        if batch and (len(batch) >= most_files or total + size > most_bytes):
            yield batch
            batch, total = [], 0
        batch.append(path)
        total += size
    if batch:
        yield batch


def why_unreadable(error: OSError | ValueError) -> str:
    """A sentence for a file that can't be opened or read."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"The file can't be read ({reason})."
