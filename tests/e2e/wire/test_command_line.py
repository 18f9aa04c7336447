"""The commands beside a running session, as a person at a terminal meets them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import deltaloom_model
from deltaloom_model.loading.manifest import model_hash

NANO = Path(deltaloom_model.__file__).parent / "nano"
ROOT = Path(__file__).parents[3]


@pytest.fixture
def deltaloom(home, tmp_path: Path):
    """Runs one command in the home; its exit status, output and error output."""

    async def run(*arguments: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            *[sys.executable, "-P", "-m", "deltaloom_server", *arguments],
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**home.environment, "COLUMNS": "120"},
            cwd=tmp_path,
        )
        out, error = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode is not None
        return process.returncode, out.decode(), error.decode()

    return run


async def test_complete_gives_text_alone_or_all_that_is_known(deltaloom, workspace: Path) -> None:
    target = f"{workspace / 'report.py'}:7:24"
    status, text, error = await deltaloom("complete", target)
    assert status == 0, error
    assert text.strip()
    status, out, _ = await deltaloom("complete", target, "--json", "--max-new-tokens", "4")
    assert status == 0
    told = json.loads(out)
    assert told["text"].strip()
    assert 0 < told["completion"]["new_tokens"] <= 4
    assert told["completion"]["source"] == "model"
    assert told["completion"]["repository_context"]
    assert told["context"]["files"] == 2
    assert told["context"]["tokens"] > 0
    assert told["model"] == f"nano {model_hash(NANO)[:12]}"


async def test_complete_counts_columns_in_characters(deltaloom, workspace: Path) -> None:
    path = workspace / "fox.py"
    path.write_bytes('fox = "🦊🦊"; total = \r\n'.encode())
    status, out, error = await deltaloom("complete", f"{path}:1:20", "--workspace", str(workspace), "--json")
    assert status == 0, error
    assert "\n" not in json.loads(out)["text"]


async def test_status_shows_what_a_session_holds(deltaloom, home, start_server, workspace: Path) -> None:
    assert (await deltaloom("status"))[0] == 1
    (workspace / "picture.py").write_bytes(b"\0\0")
    server = await start_server(home, engine="build")
    await server.initialize([workspace])
    uri = server.open(workspace / "new.py", "alpha")
    await server.until_context()
    assert await server.ghost(uri, 0, 5) == ["ALPHA"]
    await server.until(lambda: completion_reported(home))
    status, out, _ = await deltaloom("status", "--json")
    assert status == 0
    told = json.loads(out)
    (worker,) = told["workers"]
    assert worker["pid"] == home.processes()[0].pid
    (reported,) = told["servers"]
    assert reported["pid"] == server.process.pid
    assert {"path": "picture.py", "reason": "binary"} in reported["context"]["left_out"]
    status, out, _ = await deltaloom("status", "--all")
    assert status == 0
    for part in ("scripted", str(server.process.pid), "picture.py", "binary"):
        assert part in out
    assert await server.leave() == 0
    status, out, _ = await deltaloom("status")
    assert "No language server is running" in out


def completion_reported(home: Any) -> bool:
    """Has the session's report been written since its first completion?"""
    reports = [json.loads(path.read_bytes())["report"] for path in home.runtime.glob("server-*.json")]
    return any(report["last_completion"] for report in reports)


async def test_version_names_the_commit_and_the_models_hash(deltaloom) -> None:
    status, out, _ = await deltaloom("--version")
    assert status == 0
    assert f"nano {model_hash(NANO)[:12]}" in out
    if (ROOT / ".git").exists():
        command = ["git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"]
        head = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        assert f"commit {head}" in out


async def test_doctor_is_content_here_and_names_what_is_wrong(deltaloom, home) -> None:
    status, out, _ = await deltaloom("doctor")
    assert status == 0, out
    (home.root / "cache" / "deltaloom").write_text("a file where a folder is wanted")
    status, out, _ = await deltaloom("doctor", "--json")
    assert status == 1
    (wrong,) = [check for check in json.loads(out) if check["level"] == "fail"]
    assert "isn't a folder" in wrong["text"]
    assert wrong["advice"]


async def test_logs_shows_what_both_processes_wrote(deltaloom, home, start_server, workspace: Path) -> None:
    server = await start_server(home, engine="build")
    await server.initialize([workspace])
    await server.until_context()
    assert await server.leave() == 0
    status, out, _ = await deltaloom("logs")
    assert status == 0
    assert "left with status 0" in out
    assert "listening" in out


async def test_clean_lists_sizes_and_asks_before_it_removes(
    deltaloom, home, start_server, workspace: Path
) -> None:
    server = await start_server(home, engine="build")
    await server.initialize([workspace])
    await server.until_context()
    assert await server.leave() == 0
    log = home.root / "state" / "deltaloom" / "log" / "server.log"
    status, out, error = await deltaloom("clean", "--logs")
    assert status == 2
    assert "B  " in out
    assert str(log) in out
    assert "in all" in out
    assert "--yes" in error
    assert log.exists()
    status, out, _ = await deltaloom("clean", "--logs", "--yes")
    assert status == 0
    assert not log.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["frobnicate"],
        ["--frobnicate"],
        ["complete"],
        ["complete", "report.py"],
        ["complete", "report.py:1"],
        ["complete", "report.py:one:2"],
        ["complete", "report.py:0:1"],
        ["complete", "report.py:99:1"],
        ["complete", "report.py:1:99"],
        ["complete", "nowhere.py:1:1"],
        ["complete", ".:1:1"],
        ["complete", "latin.py:1:1"],
        ["complete", "report.py:1:1", "--workspace", "nowhere"],
        ["complete", "report.py:1:1", "--workspace", "report.py"],
        ["complete", "report.py:1:1", "--workspace", "elsewhere"],
        ["complete", "report.py:1:1", "--max-new-tokens", "0"],
        ["complete", "report.py:1:1", "--context", "many"],
        ["complete", "report.py:1:1", "--model", "nowhere"],
        ["clean"],
        ["bench", "nothing"],
        ["demo", "nowhere"],
        ["status", "--frobnicate"],
    ],
    ids=lambda arguments: " ".join(arguments) or "nothing",
)
async def test_a_wrong_usage_is_told_in_one_sentence(deltaloom, tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "report.py").write_text("x = 1\n")
    (tmp_path / "latin.py").write_bytes(b"\xe9\xe9\n")
    (tmp_path / "elsewhere").mkdir()
    status, out, error = await deltaloom(*arguments)
    assert status == 2
    assert out == ""
    said = [line for line in error.splitlines() if line.startswith("deltaloom")]
    assert len(said) == 1, error
    assert "Traceback" not in error
