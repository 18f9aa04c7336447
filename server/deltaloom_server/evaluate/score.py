"""What the results of cases add up to.

Invariant: every case that isn't broken counts in every column exactly once, and a rate of nothing is zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec

from deltaloom_server.evaluate.fix_source import Column

Outcome = Literal["correct", "false", "none", "unfound"]
"""Offered and both tests pass; offered and one fails; not offered; the finding wasn't even reported."""

MOST_FALSE: Final = 0.05
LEAST_FIXED: Final = 0.60


class Result(msgspec.Struct, frozen=True):
    """One case in one column. `why`: of a wrong offer, the test that failed; of none, what was said."""

    case: str
    cwe: int
    rule: str
    column: Column
    outcome: Outcome
    title: str = ""
    label: str = ""
    why: str = ""
    seconds: float = 0.0
    held_out: bool = False


class Broken(msgspec.Struct, frozen=True):
    """A case that says nothing about fixes, and why."""

    case: str
    reason: str


class Score(msgspec.Struct, frozen=True):
    """The sums of one column, over all cases or those of one CWE."""

    cases: int = 0
    offered: int = 0
    correct: int = 0
    unfound: int = 0

    @property
    def false(self) -> int:
        """Offers that break the program or leave the weakness."""
        return self.offered - self.correct

    @property
    def fixed_rate(self) -> float:
        """Of all cases."""
        return self.correct / self.cases if self.cases else 0.0

    @property
    def false_rate(self) -> float:
        """Of all offers."""
        return self.false / self.offered if self.offered else 0.0


def total(results: Iterable[Result], column: Column, cwe: int | None = None) -> Score:
    """The sums of a column."""
    outcomes = [one.outcome for one in results if one.column == column and (cwe is None or one.cwe == cwe)]
    correct = outcomes.count("correct")
    return Score(len(outcomes), correct + outcomes.count("false"), correct, outcomes.count("unfound"))


def missed_bounds(results: Sequence[Result], columns: Sequence[Column]) -> list[str]:
    """What `--check` objects to: one sentence for each bound that a column misses."""
    missed = []
    for column in columns:
        score = total(results, column)
        if score.false_rate > MOST_FALSE:
            missed.append(
                f"{column}: {score.false} of {score.offered} offers are wrong ({score.false_rate:.0%}); "
                f"at most {MOST_FALSE:.0%} may be."
            )
        if column == "both" and score.fixed_rate < LEAST_FIXED:
            missed.append(
                f"{column}: {score.correct} of {score.cases} cases are fixed ({score.fixed_rate:.0%}); "
                f"at least {LEAST_FIXED:.0%} must be."
            )
    return missed
