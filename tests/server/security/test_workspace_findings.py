"""Passes over a workspace: every file once, open ones from their buffers."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from deltaloom_server.context.roots import name_roots
from deltaloom_server.security.workspace_findings import FileFindings, WorkspaceFindings
from deltaloom_server.settings import SecuritySettings, Settings

EVAL = "x = eval(y)\n"
KEY = "AKIA" + "IOSFODNN7" + "EXAMPLQ"


@pytest.fixture
def folder(server: Any, tmp_path: Path) -> Path:
    server.session.roots = name_roots([os.fspath(tmp_path)])
    return tmp_path


@pytest.fixture
def workspace(server: Any, folder: Path) -> WorkspaceFindings:
    found: WorkspaceFindings = server.security.workspace
    return found


async def _pass(workspace: WorkspaceFindings, *paths: str) -> dict[str, FileFindings]:
    found = [file async for file in workspace.run(paths or None)]
    assert len({file.path for file in found}) == len(found)
    return {file.path: file for file in found}


def _rules(file: FileFindings) -> list[str]:
    return [one.rule for one in file.inspection.findings]


async def test_an_open_file_is_told_from_its_buffer_and_every_other_from_disk(
    server: Any, folder: Path, workspace: WorkspaceFindings
) -> None:
    for name in ("a.py", "b.py"):
        (folder / name).write_text(EVAL)
    uri = (folder / "a.py").as_uri()
    server.session.open_document(uri, "python", 7, "z = 1\n" + EVAL)
    found = await _pass(workspace)
    assert list(found) == ["a.py", "b.py"]
    assert (found["a.py"].version, found["b.py"].version) == (7, None)
    assert [one.inspection.findings[0].span.start_line for one in found.values()] == [1, 0]
    report = workspace.report
    assert report.complete
    assert sorted(report.paths) == ["a.py", "b.py"]
    assert report.lines[uri] == {1: "x = eval(y)"}
    assert found["b.py"].uri == (folder / "b.py").as_uri()


async def test_a_file_that_is_opened_while_a_pass_runs_is_told_from_its_buffer(
    server: Any, folder: Path, workspace: WorkspaceFindings
) -> None:
    for name in ("a.py", "b.py", "c.py"):
        (folder / name).write_text(EVAL + f"# {name}\n")
    told: list[tuple[str, list[str], int | None]] = []
    async for file in workspace.run():
        if not told:
            for name in {"a.py", "b.py", "c.py"} - {file.path}:
                server.session.open_document((folder / name).as_uri(), "python", 3, "y = 1\n")
        told.append((file.path, _rules(file), file.version))
    assert sorted(path for path, _, _ in told) == ["a.py", "b.py", "c.py"]
    assert [(rules, version) for _, rules, version in told] == [(["S307"], None), ([], 3), ([], 3)]


async def test_only_what_is_asked_for_is_looked_at(folder: Path, workspace: WorkspaceFindings) -> None:
    for name in ("a.py", "b.py", "c.py"):
        (folder / name).write_text(EVAL)
    assert list(await _pass(workspace, "b.py", "gone.py")) == ["b.py"]
    workspace.scope = lambda path: path != "a.py"
    assert sorted(await _pass(workspace)) == ["b.py", "c.py"]


async def test_a_pass_that_is_broken_off_is_not_complete(folder: Path, workspace: WorkspaceFindings) -> None:
    for number in range(8):
        (folder / f"m{number}.py").write_text(EVAL + f"# {number}\n")
    passing = workspace.run()
    first = await anext(aiter(passing))
    await passing.aclose()  # type: ignore[attr-defined]
    assert _rules(first) == ["S307"]
    assert not workspace.report.complete
    assert workspace.report.paths == [first.path]
    assert len(await _pass(workspace)) == 8
    assert workspace.report.complete


async def test_news_are_waited_for_and_every_pass_begins_without(
    folder: Path, workspace: WorkspaceFindings
) -> None:
    await workspace.wait_for_news()  # nobody has looked yet
    await _pass(workspace)
    waiting = asyncio.create_task(workspace.wait_for_news())
    await asyncio.sleep(0)
    assert not waiting.done()
    workspace.note_change()
    await waiting


async def test_several_folders_are_one_workspace(
    server: Any, tmp_path: Path, workspace: WorkspaceFindings
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.py").write_text(EVAL)
    server.session.roots = name_roots([os.fspath(tmp_path / "one"), os.fspath(tmp_path / "two")])
    found = await _pass(workspace)
    assert sorted(found) == ["one/a.py", "two/a.py"]
    assert {one.path for file in found.values() for one in file.inspection.findings} == set(found)


async def test_credentials_in_new_lines_are_told_in_files_of_every_encoding(
    folder: Path, workspace: WorkspaceFindings
) -> None:
    def git(*arguments: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True)

    old = f"# coding: latin-1\nname = 'é'\nkey = '{KEY}'\n"
    git("init", "-q")
    (folder / "old.py").write_bytes(old.encode("latin-1"))
    (folder / "changed.py").write_bytes(b"\xef\xbb\xbf" + f"key = '{KEY}'\n".encode())
    git("add", ".")
    git("commit", "-q", "-m", "x")
    with (folder / "changed.py").open("a") as file:
        file.write(f"other = '{KEY[:-1]}R'\n")
    (folder / "new.py").write_text(f"key = '{KEY}'\n")
    found = {path: file for path, file in (await _pass(workspace)).items() if file.inspection.findings}
    assert {
        path: [one.span.start_line for one in file.inspection.findings] for path, file in found.items()
    } == {
        "changed.py": [1],
        "new.py": [0],
    }


async def test_what_settings_leave_out_or_call_too_large_is_left_out_or_said(
    server: Any, folder: Path, workspace: WorkspaceFindings
) -> None:
    (folder / "large.py").write_text("x = 1\n" * 100)
    (folder / "skip.py").write_text(EVAL)
    server.session.settings = Settings(security=SecuritySettings(max_file_bytes=50, exclude=("skip.py",)))
    found = await _pass(workspace)
    assert list(found) == ["large.py"]
    assert "over 50 bytes" in found["large.py"].inspection.unscanned[0].reason
