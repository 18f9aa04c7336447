"""The removal of an unused suppression changes that comment and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from deltaloom_server.security.analysis.messages import Judge, ScanResult, ScanText
from deltaloom_server.security.finding import Finding, Span
from deltaloom_server.security.gate import judge
from deltaloom_server.security.proposal import Edit, Proposal, Verdict

TEXT = (
    "import os\n\n\ndef go():\n    return os.getcwd()  # nosec B602 B605\n"
    "\n\n# About more.\nx = 1  # noqa: S101\n"
)
Scan = Callable[[ScanText], ScanResult]


def _judge(scan: Scan, *changes: tuple[str, str]) -> Verdict:
    edits = []
    for old, new in changes:
        assert TEXT.count(old) == 1
        at = TEXT.index(old)
        edits.append(Edit(at, at + len(old), new))
    at = TEXT.split("\n")[4].index("#")
    finding = Finding("DL001", "m", "a.py", Span(4, at, 4, at + 17), "low", "high", ("deltaloom",))
    return judge(Judge(TEXT, finding, Proposal("t", tuple(edits))), scan)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  # nosec B602 B605", ""),
        ("# nosec B602 B605", "# nosec B602"),
        ("# nosec B602 B605", "# nosec B605"),
    ],
)
def test_taking_it_away_in_whole_or_in_part_passes(scanners: Scan, old: str, new: str) -> None:
    verdict = _judge(scanners, (old, new))
    assert verdict.objections == ()
    assert "bandit" in verdict.rescanned


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# nosec B602 B605", "# nosec"),
        ("# nosec B602 B605", "# nosec B101"),
        ("# nosec B602 B605", "# noqa"),
        ("# nosec B602 B605", "# fine"),
        ("os.getcwd()  # nosec B602 B605", "os.getcwdb()"),
        ("os.getcwd()  # nosec B602 B605", "os.getcwd(),"),
        ("# About more.", "# About less."),
        ("  # noqa: S101", ""),
    ],
)
def test_anything_else_is_refused(scanners: Scan, old: str, new: str) -> None:
    assert _judge(scanners, (old, new)).objections


def test_another_line_does_not_change_with_it(scanners: Scan) -> None:
    for more in (("  # noqa: S101", ""), ("# About more.\n", ""), ("x = 1", "x = 2")):
        assert _judge(scanners, ("  # nosec B602 B605", ""), more).objections
