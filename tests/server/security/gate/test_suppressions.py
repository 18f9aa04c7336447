"""Rule 3: no suppression is added, widened, or moved; no scanner is turned off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Bench = Callable[..., Any]
TEXT = """
import yaml


def load(s):
    return yaml.load(s)


def other(s):
    return yaml.full_load(s)  # nosec B506
"""

MARKS = [
    "# nosec",
    "# NOSEC",
    "#nosec B506",
    "# nosec: B506",
    "# noqa",
    "# noqa: S506",
    "# NoQA : S506",
    "#noqa:S506",
    "# ruff: noqa",
    "# ruff: noqa: S506",
    "# flake8: noqa",
    "# nosemgrep",
    "# nosem: rule",
    "# pragma: allowlist secret",
    "# pragma: whitelist secret",
    "# type: ignore # nosec",
    "# NOSONAR",
    "# lgtm [py/x]",
    "# pylint: disable=all",
    "# skipcq",
    "# codeql[py/x]",
    "# deltaloom: ignore",
    "# gitleaks:allow",
    "# n\u200bosec",
    "# ｎｏｓｅｃ",
]


@pytest.mark.parametrize("mark", MARKS)
def test_a_suppression_beside_a_good_fix_is_refused(bench: Bench, mark: str) -> None:
    verdict = bench("S506", TEXT).put("return yaml.load(s)", f"return yaml.safe_load(s)  {mark}")
    assert any("suppression" in one for one in verdict.objections), verdict.objections


@pytest.mark.parametrize("mark", MARKS)
def test_a_suppression_instead_of_a_fix_is_refused(bench: Bench, mark: str) -> None:
    assert bench("S506", TEXT).put("return yaml.load(s)", f"return yaml.load(s)  {mark}").objections


def test_turning_a_scanner_off_for_the_file_is_refused(bench: Bench) -> None:
    for mark in ("# ruff: noqa\n", "# flake8: noqa\n", "# ruff: noqa: S\n"):
        verdict = bench("S506", TEXT).put(
            "import yaml\n", f"{mark}import yaml\n", ("yaml.load", "yaml.safe_load")
        )
        assert any("suppression" in one for one in verdict.objections)


def test_a_mark_in_a_string_is_refused(bench: Bench) -> None:
    verdict = bench("S506", TEXT).put("yaml.load(s)", 'yaml.safe_load(s or "# nosec")')
    assert any("suppression" in one for one in verdict.objections)


def test_moving_a_suppression_is_refused(bench: Bench) -> None:
    verdict = bench("S506", TEXT).put(
        "return yaml.load(s)",
        "return yaml.safe_load(s)  # nosec B506",
        ("full_load(s)  # nosec B506", "full_load(s)"),
    )
    assert verdict.objections


def test_widening_a_suppression_is_refused(bench: Bench) -> None:
    text = TEXT.replace("return yaml.load(s)", "x = yaml.load(s)  # nosec B101\n    return x")
    for comment in ("# nosec", "# nosec B101 B506", "# nosec B101, B506", "# nosec  # nosec B101"):
        verdict = bench("S506", text).put("yaml.load(s)  # nosec B101", f"yaml.safe_load(s)  {comment}")
        assert any("suppression" in one for one in verdict.objections), comment


def test_a_suppression_that_stays_at_its_statement_may_stay(bench: Bench) -> None:
    text = TEXT.replace("return yaml.load(s)", "return yaml.load(s)  # nosec B101")
    assert bench("S506", text).put("yaml.load(s)", "yaml.safe_load(s)").objections == ()


def test_stretching_a_statement_over_a_suppressed_line_is_refused(bench: Bench) -> None:
    text = "import yaml\n\n\ndef load(s):\n    a = yaml.load(s)\n    b = 1  # nosec B102\n    return a, b\n"
    verdict = bench("S506", text).put(
        "    a = yaml.load(s)\n    b = 1  # nosec B102\n",
        "    a, b = (yaml.safe_load(s),\n    1)  # nosec B102\n",
    )
    assert verdict.objections == () or any("suppression" in one for one in verdict.objections)
