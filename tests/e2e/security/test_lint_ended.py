"""`deltaloom lint` told to end while a scanner works on copies of the source."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

_WITH_A_STAND_IN = """
import sys
from deltaloom_server.cli.parser import run
from deltaloom_server.security.scanners import semgrep_program
semgrep_program.find_core = lambda: sys.argv[1]
sys.exit(run(["lint", "--no-cache", "--quiet"]))
"""

_STAND_IN = """#!{python} -I
import os, sys, time
with open({told!r}, "w") as pipe:
    print(os.getpid(), os.path.dirname(sys.argv[sys.argv.index("-targets") + 1]), file=pipe)
time.sleep(1000)
"""


@pytest.fixture
def hanging(repository: Any, tmp_path: Path) -> Any:
    """Starts lint on a file that semgrep never finishes; (the process, semgrep's number, its folder)."""
    told, program, place = tmp_path / "told", tmp_path / "stand-in", tmp_path / "temporary"
    os.mkfifo(told)
    place.mkdir()
    program.write_text(_STAND_IN.format(python=sys.executable, told=os.fspath(told)))
    program.chmod(0o755)
    repository.write("page.js", "function show(text) {\n  return eval(text);\n}\n")
    started: list[subprocess.Popen[str]] = []

    def start() -> tuple[subprocess.Popen[str], int, Path]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-P", "-c", _WITH_A_STAND_IN, os.fspath(program)], cwd=repository.root,
                env=repository.environment | {"TMPDIR": os.fspath(place)},
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
        )  # fmt: skip
        pid, folder = told.read_text().split()
        return started[-1], int(pid), Path(folder)

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_no_copy_and_no_process_is_left(hanging: Any, number: signal.Signals) -> None:
    process, semgrep, folder = hanging()
    assert list(folder.glob("*.js"))
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else 128 + number), err
    assert (out, err) == ("", "")
    assert list(folder.parent.glob("deltaloom-*")) == []
    assert not psutil.pid_exists(semgrep)


def test_what_a_killed_run_has_left_is_removed_by_the_next(hanging: Any) -> None:
    process, semgrep, folder = hanging()
    process.kill()
    process.communicate(timeout=60)
    assert list(folder.glob("*.js"))
    os.kill(semgrep, signal.SIGKILL)  # nobody is left to end it
    following, _, its = hanging()
    assert not folder.exists()
    assert its.exists()
    following.terminate()
    following.communicate(timeout=60)
    assert list(folder.parent.glob("deltaloom-*")) == []
