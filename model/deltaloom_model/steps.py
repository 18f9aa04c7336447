"""Generators within generators: the keeper yields positions, what the scheduler drives yields messages.

Invariant: closing the outer one closes the inner one at the same place.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeVar

from deltaloom_model.api import SyncProgress
from deltaloom_model.contexts import Context

T = TypeVar("T")
M = TypeVar("M")


def shown(
    steps: Generator[int, None, T], total: int, context: Context | None
) -> Generator[SyncProgress, None, T]:
    """The same steps and result, yielding how far `total` has been read; noted in `context` where given."""

    def progress(position: int) -> SyncProgress:
        if context is not None:
            context.done = position
        return SyncProgress(position, total)

    return _yielding(steps, progress)


def quietly(steps: Generator[int, None, T]) -> Generator[None, None, T]:
    """The same steps and result, yielding None."""
    return _yielding(steps, lambda _: None)


def _yielding(steps: Generator[int, None, T], message: Callable[[int], M]) -> Generator[M, None, T]:
    try:
        while True:
            yield message(next(steps))
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        steps.close()
