"""Generators within generators: the keeper yields positions, what the scheduler drives yields messages.

Invariant: closing the outer one closes the inner one at the same place.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

from deltaloom_model.api import SyncProgress
from deltaloom_model.contexts import Context

T = TypeVar("T")


def shown(
    steps: Generator[int, None, T], total: int, context: Context | None
) -> Generator[SyncProgress, None, T]:
    """The same steps and result, yielding how far `total` has been read; noted in `context` where given."""
    try:
        while True:
            position = next(steps)
            if context is not None:
                context.done = position
            yield SyncProgress(position, total)
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        steps.close()


def quietly(steps: Generator[int, None, T]) -> Generator[None, None, T]:
    """The same steps and result, yielding None."""
    try:
        while True:
            next(steps)
            yield None
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        steps.close()
