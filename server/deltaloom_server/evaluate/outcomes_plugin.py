"""A pytest plugin that notes how each test ended. It is copied into the sandbox, and stands by itself.

Invariant: a line is written for every phase of every test that ran, and for every file that couldn't be
imported.
"""

from __future__ import annotations

import json
import os
from typing import Any


def _note(node: str, phase: str, outcome: str, text: str) -> None:
    with open(os.environ["DELTALOOM_OUTCOMES"], "a", encoding="utf-8") as file:
        file.write(json.dumps([node, phase, outcome, text[-600:]]) + "\n")


def pytest_runtest_logreport(report: Any) -> None:
    _note(report.nodeid, report.when, report.outcome, report.longreprtext)


def pytest_collectreport(report: Any) -> None:
    if report.outcome != "passed":
        _note(report.nodeid, "collect", report.outcome, str(report.longrepr))
