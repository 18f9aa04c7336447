"""When the context is worth laying out anew: what compaction is expected to save, against what it costs.

Invariant: pure functions of token counts and of how long nobody has typed. All amounts are in tokens read.

Cost: everything from the first stale segment of the base on is read again, in the background. That is cheap
where nobody waits for it, the cheaper the longer nobody has typed, for then nobody is likely to come back
within seconds.

Saving: stale copies leave. Until then, every token that is produced attends to them, and they may mislead;
and as the log fills, a re-reading becomes likelier that somebody does wait for.
"""

from __future__ import annotations

from dataclasses import dataclass

REQUESTS_AHEAD = 500
"""Completions until the next chance, on a working day."""
ATTENDING = 0.001
"""What one held token costs a completion, in tokens read: some twenty new tokens attend to it, each at a ten
thousandth of what reading a token takes (nano 1.5e-4, Qwen3-Next 3e-5)."""
PATIENCE_SECONDS = 10.0
"""After so long without typing, reading costs half of what it costs somebody who waits for it."""
LEAST_STALE = 64
"""Less isn't worth a layout: header and separators of the copy in the log weigh as much."""


@dataclass(frozen=True, slots=True)
class LogState:
    """Tokens of stale copies, in base and log; of the log since the last compaction, and its room; and of all
    that would have to be read again."""

    stale: int
    logged: int
    room: int
    reread: int


def expected_saving(state: LogState) -> float:
    """Tokens that need not be read, or are as good as not read, if the context is laid out anew now."""
    fullness = min(state.logged / state.room, 1.0) if state.room else 1.0
    return state.stale * REQUESTS_AHEAD * ATTENDING + fullness**2 * state.reread


def present_cost(state: LogState, idle_seconds: float) -> float:
    """Tokens that will be read, less what it is worth that nobody waits."""
    return state.reread / (1.0 + max(idle_seconds, 0.0) / PATIENCE_SECONDS)


def is_worth_it(state: LogState, idle_seconds: float) -> bool:
    """Lay out anew now? Always once the log is full, never for next to nothing."""
    if state.logged > state.room:
        return True
    if state.stale < LEAST_STALE:
        return False
    return expected_saving(state) > present_cost(state, idle_seconds)
