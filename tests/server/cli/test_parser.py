"""The command line as a whole: what is imported, and how errors are told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deltaloom_server.cli.parser import COMMANDS


def test_no_command_shows_the_usage_and_exits_with_2(home) -> None:
    done = home.run()
    assert done.returncode == 2
    assert "usage: deltaloom" in done.stderr


def test_an_unknown_command_is_named(home) -> None:
    done = home.run("complet")
    assert done.returncode == 2
    assert "complet" in done.stderr


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_help(home, command: str) -> None:
    done = home.run(command, "--help")
    assert done.returncode == 0, done.stderr
    assert COMMANDS[command][1:] in " ".join(done.stdout.split())


def test_the_version_names_version_and_model(home) -> None:
    from deltaloom_model import __version__

    done = home.run("--version")
    assert done.returncode == 0
    assert done.stdout.startswith(f"deltaloom {__version__} (")
    assert "nano " in done.stdout


def test_showing_help_imports_neither_torch_nor_rich_nor_pygls() -> None:
    code = (
        "import sys\n"
        "from deltaloom_server.cli.parser import run\n"
        "try:\n    run(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'rich', 'pygls', 'msgspec'} & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_a_reader_that_stops_early_is_no_error(home, tmp_path: Path) -> None:
    command = f"{sys.executable} -P -m deltaloom_server doctor | head -1; echo ${{PIPESTATUS[0]}}"
    bash = ["bash", "-c", command]
    done = subprocess.run(
        bash, capture_output=True, text=True, env=home.environment, cwd=tmp_path, check=True
    )
    assert "Traceback" not in done.stderr
    assert done.stdout.splitlines()[-1] in {"0", "1"}
