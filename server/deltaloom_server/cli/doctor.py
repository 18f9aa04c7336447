"""`deltaloom doctor`: what is wrong here, and what to do about it.

Invariant: it only looks: nothing is started, sent or installed, torch isn't imported, and every line that
isn't `ok` says what to do.
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deltaloom_server.cli.checks import Check

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the checks as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Exit status 1 when a check fails; a warning is not a failure."""
    from deltaloom_server.cli.checks import run_checks

    checks = run_checks()
    if arguments.json:
        print(json.dumps([check.as_dict() for check in checks], indent=2))
    else:
        _show(checks)
    return 1 if any(check.level == "fail" for check in checks) else 0


def _show(checks: list[Check]) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False, soft_wrap=True)
    for check in checks:
        colour = _COLOURS[check.level]
        console.print(f"[{colour}]{check.level:<4}[/]  {escape(check.name):<9} {escape(check.text)}")
        if check.advice:
            console.print(f"                {escape(check.advice)}")
