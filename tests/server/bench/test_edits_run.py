"""A day's edits in a real server and worker, at the smallest size, and a run that is broken off."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deltaloom_server.bench.edits.result import OURS, Result, encode_result, load_result
from deltaloom_server.bench.edits.run import RunOptions, measure

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A short path: sockets lie below it."""
    with tempfile.TemporaryDirectory(prefix="b-") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def result(folder: Path) -> Result:
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder))
        patch.setenv("XDG_CACHE_HOME", str(folder / "users-cache"))
        found = measure(RunOptions((4096,), threads=1), said.append, lambda _method, _params: None)
    assert said[-1].endswith("restart of the editor once more")
    return found


def test_every_edit_is_measured_and_keeps_its_bound(result: Result) -> None:
    [run] = result.runs

    assert (run.system, run.context, run.files) == (OURS, 4096, 40)
    assert result.broken == []
    assert sum(1 for row in run.rows if row.held) >= 30
    for row in run.rows:
        assert row.skipped or (row.tokens == sum(row.read.values()) and row.context_tokens > 2000)
        assert "decode" not in row.read


def test_a_first_reading_reads_everything_and_an_edit_reads_it(result: Result) -> None:
    [run] = result.runs
    rows = {row.scenario: row for row in run.rows}

    assert 2000 < run.cold.tokens < 4096
    assert run.cold.milliseconds > rows["keystroke 1 in file 12"].milliseconds
    # What has to be read is: the file that was left changed, and the one gone to.
    assert rows["then file 30, with an edit"].read["log"] > 20
    assert rows["first edit in file 12 of 40"].read["anchor"] > 20


def test_the_result_is_written_and_read_back(result: Result, tmp_path: Path) -> None:
    path = tmp_path / "edits.json"
    path.write_text(encode_result(result))

    assert load_result(path) == result


def test_nothing_is_left_behind_and_nothing_of_the_users_is_touched(result: Result, folder: Path) -> None:
    assert result.runs
    assert list(folder.iterdir()) == []
    assert _processes_of(folder) == []


@pytest.mark.parametrize("whole_group", [False, True], ids=["the command alone", "as a terminal does"])
async def test_a_run_that_is_broken_off_leaves_nothing_behind(tmp_path: Path, whole_group: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="b-") as name:
        folder = Path(name)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "deltaloom_server", "bench", "edits"),
            *("--context", "4096", "--threads", "1"),
            env={**os.environ, "TMPDIR": name, "XDG_CACHE_HOME": str(tmp_path)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        # A repository lies there: the server and its worker are being started, or at work.
        while not list(folder.glob("*/4096/cache/deltaloom/*")):
            assert process.returncode is None
            await asyncio.sleep(0.02)
        if whole_group:
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.send_signal(signal.SIGINT)
        _, errors = await process.communicate()

        assert (process.returncode, errors) == (130, b"")
        assert list(folder.iterdir()) == []
        assert _processes_of(folder) == []


def _processes_of(folder: Path) -> list[list[str]]:
    """The command lines of processes whose runtime folder lies in `folder`."""
    found = []
    for process in psutil.process_iter():
        try:
            runtime = process.environ().get("XDG_RUNTIME_DIR", "")
            arguments = process.cmdline()
        except (psutil.AccessDenied, psutil.NoSuchProcess):
            continue
        if runtime.startswith(f"{folder}/") or any(str(folder) in argument for argument in arguments):
            found.append(arguments)
    return found
