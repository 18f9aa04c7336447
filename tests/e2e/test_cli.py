"""The command line, as a person runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def run(environment: dict[str, str]):  # type: ignore[no-untyped-def]
    def deltaloom(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "deltaloom_server", *arguments],
            capture_output=True,
            text=True,
            env=environment,
            timeout=110,
            check=False,
        )

    return deltaloom


def test_complete_prints_the_suggestion_and_nothing_else(run, workspace: Path) -> None:  # type: ignore[no-untyped-def]
    cart = workspace / "shop/cart.py"
    done = run("complete", f"{cart}:9:17", "--workspace", str(workspace))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    told = json.loads(run("complete", f"{cart}:9:17", "--workspace", str(workspace), "--json").stdout)
    assert told["text"].strip() == done.stdout.strip()
    assert told["context"]["files"] == 2
    assert told["completion"]["read"]["typed"] > 0


def test_version_names_the_commit_and_the_model(run) -> None:  # type: ignore[no-untyped-def]
    done = run("--version")
    assert done.stdout.startswith("deltaloom ")
    assert "nano " in done.stdout


def test_doctor_finds_nothing_wrong_here(run) -> None:  # type: ignore[no-untyped-def]
    done = run("doctor")
    assert done.returncode == 0, done.stdout
    assert "nano" in done.stdout


def test_status_and_logs_say_when_there_is_nothing(run) -> None:  # type: ignore[no-untyped-def]
    assert "No model worker is running" in run("status").stdout
    assert run("logs").returncode in (0, 1)


@pytest.mark.parametrize(
    "arguments",
    [("complete", "nowhere.py:1:1"), ("complete", "nowhere.py"), ("frobnicate",), ("demo", "/nowhere")],
)
def test_a_wrong_usage_is_one_sentence_and_status_two(run, arguments: tuple[str, ...]) -> None:  # type: ignore[no-untyped-def]
    done = run(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()
