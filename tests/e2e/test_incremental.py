"""After an edit, the edit is read; after a restart, next to nothing; what is purged is read by nobody."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest

KEYSTROKE = 64
DRAWN = 12


def source(number: int, lines: int = 14) -> str:
    body = "".join(f"    value_{line} = {number} * {line} + offset\n" for line in range(lines))
    return f"def part_{number}(offset):\n{body}    return value_0\n"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "parts"
    root.mkdir()
    for number in range(DRAWN):
        (root / f"part_{number:02}.py").write_text(source(number))
    (root / "use.py").write_text("from part_03 import part_3\n\n\ndef use():\n    return part_3(\n")
    return root


def git(root: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=T", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main")
    subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True)


def prompt_tokens(report: Any) -> int:
    """Tokens of the prompt that the present worker has read since it started."""
    return sum(count for cause, count in report.counters.items() if cause != "decode")


async def written(server: Any) -> None:
    """Wait until the worker has written down what a restart needs (it does so when it is idle)."""
    last = -1
    while True:
        report = await server.report()
        disk = next(tier for tier in report.worker.tiers if tier.name == "disk")
        if disk.checkpoints and disk.used_bytes == last:
            return
        last = disk.used_bytes
        await asyncio.sleep(1.2)


async def revived(server: Any, path: Path, after: int) -> Any:
    """The answer and the report once another worker than this pid has everything: asking starts it."""
    while True:
        answer, report = await server.ask(path, "return part_3(")
        another = report.worker is not None and report.worker.pid != after
        if another and report.context.state == "ready" and report.last_completion.repository_context:
            return answer, report
        await asyncio.sleep(0.05)


async def settled(server: Any, path: str, region: str) -> Any:
    """Wait until this file stands in this region."""
    return await server.until(
        lambda report: (
            report.context.state == "ready"
            and any(
                (file.path, file.region, file.current) == (path, region, True)
                for file in report.context.files
            )
        )
    )


async def test_a_killed_worker_costs_next_to_nothing(start: Any, repository: Path) -> None:
    use = repository / "use.py"
    async with start(repository, completion={"reuse": False}) as server:
        await server.ready()
        server.editor.open(use)
        first, before = await server.ask(use, "return part_3(")
        held = before.last_completion.context_tokens
        assert prompt_tokens(before) >= held > 2000
        await written(server)
        os.kill(before.worker.pid, signal.SIGKILL)
        again, after = await revived(server, use, before.worker.pid)
        typed = after.counters["typed"]  # the line so far, once for each time that was asked
        assert prompt_tokens(after) - typed <= held // 100
        assert again.text == first.text
        assert after.last_completion.context_tokens == held


async def test_an_editor_that_starts_again_finds_its_context_with_the_log(
    start: Any, repository: Path
) -> None:
    use, other = repository / "use.py", repository / "part_03.py"
    async with start(repository, completion={"reuse": False}) as server:
        await server.ready()
        server.editor.open(other)
        server.editor.insert(other, 0, 0, "# changed, saved and left\n")
        server.editor.save(other)
        server.editor.open(use)
        first, before = await server.ask(use, "return part_3(")
        assert [file.path for file in before.context.files if file.region == "log"] == ["part_03.py"]
        await written(server)
    assert not psutil.pid_exists(server.pid) or psutil.Process(server.pid).status() == psutil.STATUS_ZOMBIE
    psutil.wait_procs([psutil.Process(before.worker.pid)] if psutil.pid_exists(before.worker.pid) else [], 20)
    async with start(repository, completion={"reuse": False}) as server:
        await server.ready()
        server.editor.open(use)
        again, after = await server.ask(use, "return part_3(")
        assert after.worker.pid != before.worker.pid
        assert prompt_tokens(after) <= before.last_completion.context_tokens // 100
        assert after.last_completion.context_tokens == before.last_completion.context_tokens
        assert again.text == first.text
        assert [file.path for file in after.context.files if file.region == "log"] == ["part_03.py"]


async def test_a_damaged_cache_is_refused_said_and_made_again(
    start: Any, repository: Path, environment: dict[str, str]
) -> None:
    use = repository / "use.py"
    async with start(repository, completion={"reuse": False}) as server:
        await server.ready()
        server.editor.open(use)
        first, before = await server.ask(use, "return part_3(")
        await written(server)
        os.kill(before.worker.pid, signal.SIGKILL)
        blocks = list(Path(environment["XDG_CACHE_HOME"]).rglob("*.s.safetensors"))
        assert blocks
        for block in blocks:
            os.truncate(block, block.stat().st_size - 8)
        again, after = await revived(server, use, before.worker.pid)
        disk = next(tier for tier in after.worker.tiers if tier.name == "disk")
        assert disk.refused >= 1
        assert "damaged" in disk.refusal
        assert prompt_tokens(after) >= before.context.total
        assert again.text == first.text


async def test_a_branch_switched_and_switched_back_is_a_look_up(start: Any, repository: Path) -> None:
    use = repository / "use.py"
    git(repository, "init")
    git(repository, "add", ".")
    git(repository, "commit", "-m", "one")
    git(repository, "switch", "-c", "other")
    (repository / "part_05.py").write_text(source(50, 9))
    (repository / "part_07.py").unlink()
    (repository / "new.py").write_text("NEW = 1\n")
    git(repository, "add", ".")
    git(repository, "commit", "-m", "two")
    git(repository, "switch", "main")
    async with start(repository, completion={"reuse": False}) as server:
        await server.ready()
        server.editor.open(use)
        first, before = await server.ask(use, "return part_3(")
        git(repository, "switch", "other")
        switched = await settled(server, "new.py", "log")
        await server.until(lambda report: report.context.total > before.context.total)
        _, there = await server.ask(use, "return part_3(")
        added = sum(file.tokens for file in switched.context.files if file.region == "log")
        assert prompt_tokens(there) - prompt_tokens(before) < added + 600, (
            "the changed files and the open one"
        )
        git(repository, "switch", "main")
        await server.until(
            lambda report: (
                report.context.state == "ready"
                and report.context.total == before.context.total
                and not any(file.region == "log" for file in report.context.files)
            )
        )
        again, back = await server.ask(use, "return part_3(")
        assert prompt_tokens(back) - prompt_tokens(there) <= KEYSTROKE
        assert again.text == first.text


async def test_compaction_leaves_stale_copies_behind_and_edits_as_cheap(start: Any, repository: Path) -> None:
    use, other = repository / "use.py", repository / "part_02.py"
    async with start(repository, completion={"reuse": False}) as server:
        await server.ready()
        server.editor.open(other)
        server.editor.replace_all(other, source(2, 12))
        server.editor.save(other)
        server.editor.open(use)
        await server.ask(use, "return part_3(")
        assert any(not file.current for file in (await server.report()).context.files)
        answer = await server.client.request("deltaloom/compact", None)
        assert answer == {"compacted": True, "reason": ""}
        report = await server.ready()
        assert all(file.current or file.path == "use.py" for file in report.context.files)
        assert report.counters["compaction"] > 0
        assert [file.path for file in report.context.files if file.region == "base"][-1] == "part_02.py"
        _, before = await server.ask(use, "return part_3(")
        line = server.editor.text(use).count("\n") - 1
        server.editor.insert(use, line, len("    return part_3("), "o")
        _, after = await server.ask(use, "return part_3(o")
        assert prompt_tokens(after) - prompt_tokens(before) <= KEYSTROKE
        nothing = await server.client.request("deltaloom/compact", None)
        assert nothing["compacted"] is False
        assert nothing["reason"].endswith(".")


async def test_a_file_that_becomes_ignored_is_forgotten_on_disk_as_well(
    start: Any, repository: Path, environment: dict[str, str]
) -> None:
    use = repository / "use.py"
    async with start(repository, completion={"reuse": False}) as server:
        before = await server.ready()
        server.editor.open(use)
        await server.ask(use, "return part_3(")
        await written(server)
        blocks = set(Path(environment["XDG_CACHE_HOME"]).rglob("*.s.safetensors"))
        (repository / ".deltaloomignore").write_text("part_04.py\n")
        report = await server.until(
            lambda report: (
                report.context.state == "ready"
                and "part_04.py" in {entry.path for entry in report.context.left_out}
                and report.context.total < before.context.total
            )
        )
        assert "part_04.py" not in {file.path for file in report.context.files}
        left = set(Path(environment["XDG_CACHE_HOME"]).rglob("*.s.safetensors"))
        assert not blocks & left, "every block had read it, or stood behind one that had"
        answer, after = await server.ask(use, "return part_3(")
        assert after.last_completion.repository_context
        assert isinstance(answer.text, str)
