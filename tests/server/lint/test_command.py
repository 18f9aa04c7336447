"""`deltaloom lint` as a process: what it imports, prints, and exits with."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from deltaloom_server.cli.parser import run
from deltaloom_server.lint.outcome import Outcome
from deltaloom_server.lint.reports import as_json

Shell = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def shell(tmp_path: Path, outcome: Outcome) -> Shell:
    """Runs a line of bash beside `o.json`, an outcome with findings; $LINT is the command."""
    healthy = msgspec.structs.replace(outcome, unscanned=())
    (tmp_path / "o.json").write_text(as_json.render(healthy), encoding="utf-8")

    def in_bash(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
        lint = f"{sys.executable} -P -m deltaloom_server lint"
        return subprocess.run(
            ["bash", "-c", line], cwd=tmp_path, env=os.environ | {"LINT": lint} | environment,
            capture_output=True, text=True, encoding="utf-8", timeout=60, check=False,
        )  # fmt: skip

    return in_bash


def test_options_and_merging_need_neither_torch_nor_a_language_server(tmp_path: Path) -> None:
    code = (
        "import sys, argparse\n"
        "from deltaloom_server.cli import lint\n"
        "import deltaloom_server.lint.merge, deltaloom_server.lint.reports.sarif\n"
        "lint.add_arguments(argparse.ArgumentParser())\n"
        "print(sorted({'torch', 'pygls', 'rich', 'bandit', 'numpy'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_reader_that_stops_early_does_not_change_the_exit_status(shell: Shell) -> None:
    for format in ("text", "json"):
        done = shell(f"$LINT merge o.json --format {format} | head -c 1 > /dev/null; echo ${{PIPESTATUS[0]}}")
        assert done.stdout.strip() == "1"
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("format", ["text", "json", "sarif", "gitlab", "junit", "rdjson", "github"])
def test_a_terminal_that_knows_only_ascii_is_no_error(shell: Shell, format: str) -> None:
    done = shell(f"$LINT merge o.json --format {format} > out", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 1
    assert done.stderr == ""


def test_a_report_goes_to_a_file_as_a_whole_or_to_a_device(shell: Shell, tmp_path: Path) -> None:
    assert shell("$LINT merge o.json --format sarif --output out.sarif").stdout == ""
    assert (tmp_path / "out.sarif").read_text(encoding="utf-8").startswith("{")
    assert shell("$LINT merge o.json --format junit --output /dev/stdout").stdout.startswith("<?xml")
    done = shell("$LINT merge o.json --output nowhere/out.txt")
    assert done.returncode == 2
    assert done.stderr.endswith(
        "nowhere/out.txt can't be written (No such file or directory); name another file.\n"
    )
    assert done.stderr.count("\n") == 1


def test_a_text_on_stdin_that_is_no_utf8_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe")))
    assert run(["lint", "--stdin-filename", "a.py"]) == 2
    assert capsys.readouterr().err == "deltaloom: The text on stdin isn't UTF-8.\n"
