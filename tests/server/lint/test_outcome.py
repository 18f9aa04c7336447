"""The exit status, and what it says of failures."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from deltaloom_server.lint.outcome import Outcome, Reported, State, exit_status, failure_sentence
from deltaloom_server.security.finding import Finding, Severity, Suppression, Unscanned

MakeFinding = Callable[..., Finding]


def test_nothing_found_is_0(empty: Outcome) -> None:
    assert exit_status(empty) == 0
    assert failure_sentence(empty) == ""


@pytest.mark.parametrize(
    ("state", "severity", "suppressed", "status"),
    [
        ("new", "medium", False, 1),
        ("new", "critical", False, 1),
        ("new", "low", False, 0),
        ("new", "high", True, 0),
        ("baseline", "high", False, 0),
        ("unchanged-line", "high", False, 0),
    ],
)
def test_only_new_findings_at_the_threshold_are_1(
    finding: MakeFinding, empty: Outcome, state: State, severity: Severity, suppressed: bool, status: int
) -> None:
    comment = Suppression("nosec", 2, "# nosec") if suppressed else None
    one = Reported(finding(severity=severity, suppressed=comment), state=state)
    assert exit_status(msgspec.structs.replace(empty, findings=(one,))) == status


def test_the_threshold_has_two_sides(finding: MakeFinding, empty: Outcome) -> None:
    one = Reported(finding(confidence="medium"))
    sure = msgspec.structs.replace(empty, findings=(one,), confidence="high")
    assert exit_status(sure) == 0
    assert exit_status(msgspec.structs.replace(sure, confidence="medium")) == 1


def test_a_failed_scanner_is_2_whatever_was_found(finding: MakeFinding, empty: Outcome) -> None:
    failed = Unscanned("deep.py", "ruff", "it was ended by signal 6", failed=True)
    outcome = msgspec.structs.replace(empty, findings=(Reported(finding()),), unscanned=(failed,))
    assert exit_status(outcome) == 2
    assert exit_status(outcome, exit_zero=True) == 2
    assert failure_sentence(outcome) == (
        "ruff failed on deep.py: it was ended by signal 6; what was found is incomplete."
    )


def test_a_file_that_is_not_fit_for_a_scanner_is_no_failure(empty: Outcome) -> None:
    skipped = Unscanned("big.py", "bandit", "it is larger than 1 MiB")
    assert exit_status(msgspec.structs.replace(empty, unscanned=(skipped,))) == 0


def test_work_that_was_not_done_is_2(empty: Outcome) -> None:
    outcome = msgspec.structs.replace(empty, complete=False)
    assert exit_status(outcome, exit_zero=True) == 2
    assert failure_sentence(outcome)


def test_exit_zero_forgives_findings(finding: MakeFinding, empty: Outcome) -> None:
    outcome = msgspec.structs.replace(empty, findings=(Reported(finding()),))
    assert exit_status(outcome) == 1
    assert exit_status(outcome, exit_zero=True) == 0
