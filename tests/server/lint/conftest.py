"""Findings and outcomes as a run makes them, names and messages that try to be something else among them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deltaloom_server.lint.outcome import OfferedFix, Outcome, Replacement, Reported
from deltaloom_server.positions import split_lines
from deltaloom_server.security.finding import (
    Finding,
    Related,
    Span,
    Suppression,
    Unscanned,
    identify,
)

TEXT = """import subprocess
run = subprocess.run
subprocess.run(cmd, shell=True)
é = '𝒳'; exec(x)
exec(y)  # nosec
"""
HOSTILE_PATH = "a b%/é:,\n::error::.py"
HOSTILE_MESSAGE = "shell=True\x1b[31m\r\n::error::taken over ]]> <b>&\x00\u202e 100%"


def make_finding(rule: str = "S602", line: int = 2, start: int = 0, end: int = 31, **changes: Any) -> Finding:
    values: dict[str, Any] = {
        "message": "`subprocess` call with shell=True.", "path": "src/app.py", "severity": "high",
        "confidence": "high", "scanners": ("bandit", "ruff"), "aliases": ("B602",), "cwe": 78,
        "help_url": "https://docs.astral.sh/ruff/rules/subprocess-popen-with-shell-equals-true/",
    }  # fmt: skip
    return Finding(rule=rule, span=Span(line, start, line, end), **(values | changes))


@pytest.fixture
def finding() -> Callable[..., Finding]:
    return make_finding


@pytest.fixture
def outcome() -> Outcome:
    """One of everything: new, suppressed, accepted, on an unchanged line, fixed, not scanned, failed."""
    lines = split_lines(TEXT)
    first, second, third, fourth = identify(
        [
            make_finding(
                path=HOSTILE_PATH, message=HOSTILE_MESSAGE, related=(Related(Span(0, 0, 0, 6), "imported"),)
            ),
            make_finding("S102", 3, 9, 16, path=HOSTILE_PATH, severity="medium", cwe=94, aliases=("B102",)),
            make_finding(
                "S102", 4, 0, 7, path=HOSTILE_PATH, severity="medium", cwe=94,
                suppressed=Suppression("nosec", 4, "# nosec"),
            ),
            make_finding(
                "secret/aws-access-key", 4, 5, 6, path=HOSTILE_PATH, cwe=None, help_url="", aliases=()
            ),
        ],
        lines,
    )  # fmt: skip
    copy = make_finding(path="other file.py", identity=first.identity)
    fix = OfferedFix(
        "Pass a list",
        (Replacement.of(lines, Span(2, 20, 2, 30), "shell=False"),),
        "parsed; rescanned by bandit and ruff",
    )
    unsafe = OfferedFix(
        "Leave it out", (Replacement.of(lines, Span(3, 9, 4, 0), ""),), "parsed", unsafe=True, note="It ends."
    )
    sources = [line.rstrip("\n") for line in lines]
    return Outcome(
        version="0.1.0",
        root="/nowhere",
        files=4,
        findings=(
            Reported(first, sources[2], fixes=(fix,)),
            Reported(second, sources[3], fixes=(unsafe,)),
            Reported(third, sources[4]),
            Reported(fourth, sources[4], "unchanged-line"),
            Reported(copy, sources[2], "baseline"),
        ),
        unscanned=(
            Unscanned("big.py", "bandit", "it is larger than 1 MiB"),
            Unscanned("deep.py", "ruff", "it was ended by signal 6", failed=True),
        ),
        notes=(".bandit would hide 3 findings: it doesn't count here.",),
        started=1_700_000_000.0,
        seconds=1.25,
    )


@pytest.fixture
def empty() -> Outcome:
    return Outcome(version="0.1.0", root="/nowhere", files=0)


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str, str], str]:
    """Writes a file and gives its path."""

    def write(name: str, content: str) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8", newline="")
        return str(path)

    return write
