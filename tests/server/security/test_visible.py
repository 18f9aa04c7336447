"""Which findings are shown: settings decide it, and select by every name that a finding has."""

from __future__ import annotations

import pytest

from deltaloom_server.security.finding import UNUSED_SUPPRESSION, Finding, Span, Suppression
from deltaloom_server.security.visible import is_shown, matches, shown
from deltaloom_server.settings import SecuritySettings

SHELL = Finding("S602", "m", "a.py", Span(0, 0, 0, 4), "medium", "low", ("ruff",), ("B602",), 78)
UNUSED = Finding(UNUSED_SUPPRESSION, "m", "a.py", Span(0, 0, 0, 4), "low", "high", ("deltaloom",))
HIDDEN = Finding(
    "S602", "m", "a.py", Span(0, 0, 0, 4), "critical", "high", ("ruff",),
    suppressed=Suppression("nosec", 0, "# nosec"),
)  # fmt: skip


@pytest.mark.parametrize("selector", ["S602", "S6", "S", "B602", "B60", "CWE-78", "cwe-78"])
def test_a_finding_is_known_by_all_its_names(selector: str) -> None:
    assert matches(SHELL, [selector])
    assert matches(SHELL, ["S1", selector])


@pytest.mark.parametrize("selector", ["", "s602", "602", "S6020", "CWE-7", "CWE-789", "CWE-", "78", "*"])
def test_and_by_nothing_else(selector: str) -> None:
    assert not matches(SHELL, [selector])


def test_a_finding_without_a_cwe_matches_none() -> None:
    assert not matches(UNUSED, ["CWE-", "CWE-None", "CWE-0"])


def test_ignoring_wins_over_selecting() -> None:
    assert is_shown(SHELL, SecuritySettings(select=("S6",)))
    assert not is_shown(SHELL, SecuritySettings(select=("S1",)))
    assert not is_shown(SHELL, SecuritySettings(select=("S602",), ignore=("CWE-78",)))


def test_thresholds_hold_for_weaknesses_and_not_for_comments_that_do_nothing() -> None:
    strict = SecuritySettings(severity="high", confidence="high")
    assert shown([SHELL, UNUSED, HIDDEN], strict) == (UNUSED,)
    assert shown([SHELL, UNUSED, HIDDEN], SecuritySettings(severity="medium")) == (SHELL, UNUSED)
    assert not is_shown(SHELL, SecuritySettings(confidence="medium"))
    assert shown([SHELL, UNUSED, HIDDEN], SecuritySettings(enabled=False)) == ()
    assert shown([UNUSED], SecuritySettings(ignore=("DL001",))) == ()
