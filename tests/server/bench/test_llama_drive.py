"""A real child process that speaks llama.cpp's HTTP, driven over a real day's script."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil
import pytest

from deltaloom_server.bench.edits.llama_drive import drive_llama, open_file_text, prompt_text
from deltaloom_server.bench.edits.llama_server import LlamaCommand, start_llama_server
from deltaloom_server.bench.edits.result import LLAMA_IN_PLACE, LLAMA_LOG, Row, SizeRun
from deltaloom_server.bench.edits.scenarios import Day, write_day
from deltaloom_server.bench.edits.script import Ask, RestartEditor, RestartWorker
from deltaloom_server.errors import DeltaloomError

_CONTEXT = 65_536

Command = Callable[[str], LlamaCommand]


@pytest.fixture
def command(llama_program: Path, tmp_path: Path) -> Command:
    """A command with a model that behaves as it says."""

    def make(behaviour: str) -> LlamaCommand:
        model = tmp_path / "model.gguf"
        model.write_text(behaviour)
        return LlamaCommand(llama_program, model)

    return make


@pytest.fixture
def day(forty_files: Mapping[str, str]) -> Day:
    return write_day(forty_files, {path: len(text) // 3 for path, text in forty_files.items()})


def _rows(run: SizeRun) -> dict[str, Row]:
    return {row.scenario: row for row in run.rows}


def _processes(command: LlamaCommand) -> list[int]:
    """The process numbers of all servers that were started with this model."""
    pids = Path(f"{command.model}.pids")
    return [int(line) for line in pids.read_text().split()] if pids.exists() else []


def _shared(one: str, other: str) -> int:
    """How many characters two texts have in common at their beginning."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (left, right) in pairs if left != right), min(len(one), len(other)))


def _silent(_what: str) -> None:
    pass


async def test_each_row_is_what_the_prompt_before_did_not_share(command: Command, day: Day) -> None:
    run = await drive_llama(command("healthy"), _CONTEXT, day, "in_place", _silent)

    expected: dict[str, int] = {}
    held = ""
    for step in day.steps:
        if any(isinstance(action, RestartWorker | RestartEditor) for action in step.actions):
            held = ""
        prompt = prompt_text(day, step, "in_place")
        expected[step.name] = max(1, len(prompt) - _shared(held, prompt))
        held = prompt
    assert run.system == LLAMA_IN_PLACE
    assert run.cold.tokens == len(prompt_text(day, day.steps[0], "in_place"))
    assert {name: row.tokens for name, row in _rows(run).items()} == {
        step.name: expected[step.name] for step in day.steps[1:] if step.measured
    }


async def test_our_layout_reads_about_the_edit_where_edits_in_place_read_what_stands_behind(
    command: Command, day: Day
) -> None:
    healthy = command("healthy")
    in_place = _rows(await drive_llama(healthy, _CONTEXT, day, "in_place", _silent))
    log_run = await drive_llama(healthy, _CONTEXT, day, "log", _silent)
    log = _rows(log_run)

    behind = sum(len(text) for text in list(day.files.values())[12:])
    key = next(name for name in log if name.startswith("keystroke 2"))
    assert log_run.system == LLAMA_LOG
    assert in_place[key].tokens > behind
    assert log[key].tokens < 100
    assert log[key].restored_at + log[key].tokens == log[key].context_tokens
    assert log[key].bound is None
    assert log[key].held is None


async def test_a_restart_reads_everything_again_and_leaves_no_process(command: Command, day: Day) -> None:
    healthy = command("healthy")

    rows = _rows(await drive_llama(healthy, _CONTEXT, day, "log", _silent))

    restart = next(row for name, row in rows.items() if name.startswith("restart of the worker"))
    assert restart.tokens == restart.context_tokens
    assert len(_processes(healthy)) > 1
    assert not any(psutil.pid_exists(pid) for pid in _processes(healthy))


@pytest.mark.parametrize(
    ("behaviour", "sentence"),
    [
        ("dies at once", r"ended by itself \(status 1\).*the model is damaged"),
        ("dies later", r"ended by itself \(status 9\).*out of memory"),
        ("has no timings", "no timings"),
    ],
)
async def test_a_server_that_fails_is_told_in_one_sentence_and_ended(
    command: Command, day: Day, behaviour: str, sentence: str
) -> None:
    failing = command(behaviour)

    with pytest.raises(DeltaloomError, match=sentence):
        await drive_llama(failing, _CONTEXT, day, "log", _silent)

    assert _processes(failing)
    assert not any(psutil.pid_exists(pid) for pid in _processes(failing))


async def test_a_server_that_never_gets_ready_is_ended(command: Command, day: Day) -> None:
    stuck = command("never ready")

    with pytest.raises(DeltaloomError, match=r"wasn't ready after 2 seconds.*loading"):
        await drive_llama(stuck, _CONTEXT, day, "log", _silent, health_seconds=2)

    assert _processes(stuck)
    assert not any(psutil.pid_exists(pid) for pid in _processes(stuck))


async def test_a_prompt_that_is_refused_says_why(command: Command, day: Day) -> None:
    with pytest.raises(DeltaloomError, match="the prompt exceeds the context"):
        await drive_llama(command("healthy"), 4096, day, "log", _silent)


async def test_breaking_off_ends_the_server(command: Command) -> None:
    stuck = command("never ready")
    started = asyncio.Event()

    async def use() -> None:
        started.set()
        async with start_llama_server(stuck, 4096):
            pytest.fail("it never gets ready")

    task = asyncio.create_task(use())
    await started.wait()
    async with asyncio.timeout(30):
        while not _processes(stuck):  # the child says so itself, by a file
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert not any(psutil.pid_exists(pid) for pid in _processes(stuck))


def test_missing_files_are_named(llama_program: Path, tmp_path: Path) -> None:
    with pytest.raises(DeltaloomError, match="--llama-server"):
        LlamaCommand(tmp_path / "nothing", llama_program).require_files()
    with pytest.raises(DeltaloomError, match="--gguf"):
        LlamaCommand(llama_program, tmp_path / "nothing").require_files()


async def test_a_program_that_cannot_be_run_is_told_in_one_sentence(tmp_path: Path) -> None:
    program = tmp_path / "llama-server"
    program.write_bytes(b"\x7fnot a program")
    program.chmod(0o700)

    with pytest.raises(DeltaloomError, match="can't be started"):
        async with start_llama_server(LlamaCommand(program, program), 4096):
            pytest.fail("it can't be started")


def test_the_open_file_stands_last_in_both_orders_and_live_only_where_edits_are_in_place(day: Day) -> None:
    step = next(step for step in day.steps if step.name.startswith("keystroke 1"))
    in_place, log = (prompt_text(day, step, order) for order in ("in_place", "log"))

    assert in_place.endswith(open_file_text(step.ask))
    assert log.endswith(open_file_text(step.ask))
    assert step.ask.text in in_place
    assert step.ask.text not in log
    assert day.files[step.ask.path] in log


def test_a_long_file_is_bounded_at_line_starts_that_a_keystroke_does_not_move() -> None:
    lines = "".join(f"line {number}\n" for number in range(5000))
    one, other = (open_file_text(Ask("a.py", lines + more, len(lines + more))) for more in ("x", "xy"))

    assert len(one) < 8_000
    assert other == one + "y"
    assert "<|fim_prefix|>line " in one
