"""The optional semgrep: its tests run where it is installed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deltaloom_server.security.scanners import semgrep_program

StandIn = Callable[[str], None]


@pytest.fixture
def needs_semgrep() -> None:
    """Skips the test where there is no semgrep-core that we know."""
    try:
        semgrep_program.find_core()
    except semgrep_program.SemgrepUnusable as error:
        pytest.skip(str(error))


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, needs_semgrep: None) -> StandIn:
    """Puts a program around semgrep-core that first does what Python text says.

    The text knows `texts`, what stands in the files that semgrep is to look at.
    """
    real = semgrep_program.find_core()

    def install(what: str) -> None:
        program = tmp_path / "stand-in"
        program.write_text(
            f"#!{sys.executable} -I\n"
            "import json, os, signal, sys, time\n"
            "_, targets = json.load(open(sys.argv[sys.argv.index('-targets') + 1]))\n"
            "texts = [open(one['path']['fpath']).read() for _, one in targets]\n"
            f"{what}\n"
            f"os.execv({real!r}, [{real!r}, *sys.argv[1:]])\n"
        )
        program.chmod(0o755)
        monkeypatch.setattr(semgrep_program, "find_core", lambda: os.fspath(program))

    return install
