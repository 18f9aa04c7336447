"""Whatever a workspace holds, becomes or is: the session goes on, and what is left out has its reason."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest


async def paths_of(server: Any) -> set[str]:
    report = await server.until_context()
    return {file["path"] for file in report["context"]["files"]}


async def assert_it_completes(server: Any, folder: Path) -> None:
    uri = server.open(folder / "proof.py", "alpha")
    assert await server.ghost(uri, 0, 5) == ["ALPHA"]


@pytest.fixture
async def start(home, start_server):
    async def begin(*roots: Path, **how: Any) -> Any:
        server = await start_server(home, engine="build")
        await server.initialize(roots, **how)
        return server

    return begin


async def test_an_empty_folder_is_a_context_without_files(start, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    server = await start(empty)
    assert await paths_of(server) == set()
    await assert_it_completes(server, empty)
    assert server.shown == []
    (empty / "first.py").write_text("first = 1\n")
    await server.until_journal("sync first.py")


async def test_without_a_folder_documents_are_answered_alone(start, tmp_path: Path) -> None:
    server = await start()
    await assert_it_completes(server, tmp_path)
    report = await server.status()
    assert report["context"]["state"] == "idle"
    assert report["context"]["files"] == []


@pytest.mark.parametrize("names", ["rootUri", "rootPath"])
async def test_older_clients_name_their_folder_otherwise(start, workspace: Path, names: str) -> None:
    value = workspace.as_uri() if names == "rootUri" else str(workspace)
    server = await start(**{"rootUri": None, names: value})
    assert await paths_of(server) == {"report.py", "shapes.py"}


async def test_several_folders_make_one_context_and_may_come_and_go(
    start, workspace: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other" / "workspace"  # the same name, so that one has to be told from the other
    other.mkdir(parents=True)
    (other / "tool.py").write_text("tool = 1\n")
    server = await start(workspace, other)
    both = {"workspace/report.py", "workspace/shapes.py", "workspace-2/tool.py"}
    assert await paths_of(server) == both
    gone = {"uri": workspace.as_uri(), "name": "workspace"}
    server.notify("workspace/didChangeWorkspaceFolders", {"event": {"added": [], "removed": [gone]}})
    await server.until_status(lambda report: [f["path"] for f in report["context"]["files"]] == ["tool.py"])
    server.notify("workspace/didChangeWorkspaceFolders", {"event": {"added": [gone], "removed": []}})
    await server.until_status(lambda report: len(report["context"]["files"]) == 3)
    await server.until_context()


async def test_what_cannot_be_read_is_left_out_with_its_reason(start, workspace: Path) -> None:
    """The 50 MB file is sparse: what counts is what the system says about it."""
    with (workspace / "huge.py").open("wb") as huge:
        huge.truncate(50 << 20)
    (workspace / "binary.py").write_bytes(b"\x7fELF\x00\x01" * 50)
    (workspace / "latin.py").write_bytes("name = 'café'\n".encode("latin-1"))
    (workspace / "loop").symlink_to(workspace, target_is_directory=True)
    (workspace / "self.py").symlink_to("self.py")
    (workspace / "dangling.py").symlink_to("nowhere.py")
    (workspace / "outside.py").symlink_to(workspace.parent)
    os.mkfifo(workspace / "pipe.py")
    (workspace / "folder.py").mkdir()
    (workspace / "empty.py").touch()
    (workspace / ".env").write_text("TOKEN=1\n")
    server = await start(workspace)
    assert await paths_of(server) == {"report.py", "shapes.py"}
    left_out = {entry["path"]: entry["reason"] for entry in (await server.status())["context"]["left_out"]}
    assert left_out.items() >= {
        ("huge.py", "oversize"),
        ("binary.py", "binary"),
        ("latin.py", "invalid UTF-8"),
        ("self.py", "symlink loop"),
        ("dangling.py", "unreadable"),
        ("outside.py", "symlink loop"),
        ("pipe.py", "not a regular file"),
        ("empty.py", "empty"),
        (".env", "secret"),
    }
    assert left_out.get("loop", left_out.get("loop/")) == "symlink loop"
    await assert_it_completes(server, workspace)


async def test_git_decides_what_is_ignored_and_its_lack_ends_nothing(
    start, home, start_server, workspace: Path, tmp_path: Path
) -> None:
    subprocess.run(["git", "init", "-q", str(workspace)], check=True, env=home.environment)
    (workspace / ".gitignore").write_text("*.log.py\nbuild/\n")
    (workspace / "a.log.py").write_text("x = 1\n")
    (workspace / "build").mkdir()
    (workspace / "build" / "made.py").write_text("x = 1\n")
    wanted = {".gitignore", "report.py", "shapes.py"}
    server = await start(workspace)
    assert await paths_of(server) == wanted
    reasons = (await server.status())["context"]["left_out_by_reason"]
    assert reasons["ignored"] == 2
    # The same without a git to ask.
    bare = tmp_path / "bin"
    bare.mkdir()
    without = await start_server(home, engine="build", environment={"PATH": str(bare)})
    await without.initialize([workspace])
    assert await paths_of(without) == wanted


async def test_a_folder_that_is_none_is_told_and_completions_go_on(start, tmp_path: Path) -> None:
    file = tmp_path / "file.txt"
    file.write_text("no folder\n")
    server = await start(tmp_path / "nowhere", file)
    for name in ("nowhere", "file.txt"):
        assert "open another" in await server.until_shown(str(tmp_path / name))
    await server.until_context()
    assert len(server.shown) == 2
    await assert_it_completes(server, tmp_path)


async def test_a_workspace_deleted_while_running_is_told_once(start, workspace: Path) -> None:
    server = await start(workspace)
    uri = server.open(workspace / "report.py")
    await server.until_context()
    shutil.rmtree(workspace)
    assert "restore it" in await server.until_shown(f"folder {workspace} was deleted")
    await server.until_journal("sync -shapes.py report.py shapes.py")  # the open one keeps its text
    server.insert(uri, 6, 23, "area")
    assert await server.ghost(uri, 6, 27) == ["TOTAL += SHAPE.AREA"]
    assert len(server.shown) == 1
    assert await server.leave() == 0


async def test_files_that_change_on_disk_reach_the_model_and_deleted_ones_leave_it(
    start, workspace: Path
) -> None:
    server = await start(workspace)
    await server.until_context()
    (workspace / "late.py").write_text("late = 1\n")
    await server.until_journal("sync late.py report.py shapes.py")
    (workspace / "later.py").write_text("later = 1\n")
    await server.until_journal("sync late.py later.py report.py shapes.py")
    (workspace / "late.py").unlink()
    await server.until_journal("sync -late.py late.py later.py report.py shapes.py")
    (workspace / "late.py").write_bytes(b"\0binary\0")
    await server.until_status(
        lambda report: {"path": "late.py", "reason": "binary"} in report["context"]["left_out"]
    )


async def test_what_the_editor_reports_counts_as_well(start, workspace: Path) -> None:
    server = await start(workspace)
    await server.until_context()
    (workspace / "late.py").write_text("late = 1\n")
    change = {"uri": (workspace / "late.py").as_uri(), "type": 1}
    strange = [{"uri": uri, "type": 2} for uri in ("untitled:x", "file:///elsewhere/y.py", "nonsense")]
    server.notify("workspace/didChangeWatchedFiles", {"changes": [change, *strange]})
    await server.until_journal("sync late.py report.py shapes.py")


async def test_a_client_that_never_sends_initialized_is_served_from_its_first_document(
    start, workspace: Path
) -> None:
    server = await start(workspace, initialized=False)
    assert server.home.processes() == []
    await assert_it_completes(server, workspace)
    assert await paths_of(server) == {"proof.py", "report.py", "shapes.py"}
    assert server.requests == []  # nothing may be asked of a client before it has said so


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"completion": {"multilin": True}}, 'did you mean "completion.multiline"?'),
        ({"colour": {"ink": 1}}, "Setting \"colour\" in the editor's settings doesn't exist"),
        ({"completion": {"max_new_tokens": "many"}}, "a whole number of at least 1"),
        ({"completion": {"max_new_tokens": 0}}, "a whole number of at least 1"),
        ({"completion": {"multiline": 1}}, "must be true or false"),
        ({"context": {"exclude": "*.py"}}, "must be a list of texts"),
        ({"completion": ["enabled"]}, "must be a table"),
        ({"log": {"level": "chatty"}}, '"log.level"'),
    ],
)
async def test_a_setting_that_cannot_be_used_is_named_and_the_default_holds(
    start, workspace: Path, options: dict[str, Any], sentence: str
) -> None:
    server = await start(workspace, options=options)
    await server.until_shown(sentence)
    assert await paths_of(server) == {"report.py", "shapes.py"}
    await assert_it_completes(server, workspace)
    assert len(server.shown) == 1


async def test_settings_that_are_no_table_are_named(home, start_server, workspace: Path) -> None:
    server = await start_server(home, engine="build")
    await server.initialize([workspace], initializationOptions=["a", "list"])
    await server.until_shown("must be a table of sections")
    await assert_it_completes(server, workspace)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[completion\n", "isn't valid TOML"),
        ('[model]\npath = "/elsewhere"\n', "set it in your editor instead"),
        ("[completion]\nmultiline = 7\n", "must be true or false"),
        ('[worker]\ncommand = "rm"\n', "doesn't exist"),
    ],
)
async def test_a_project_file_that_cannot_be_used_is_named(
    start, workspace: Path, text: str, sentence: str
) -> None:
    (workspace / "deltaloom.toml").write_text(text)
    server = await start(workspace)
    await server.until_shown(sentence)
    await assert_it_completes(server, workspace)


async def test_settings_follow_the_project_file_and_the_editor(start, workspace: Path) -> None:
    server = await start(workspace)
    uri = server.open(workspace / "new.py", "alpha")
    assert await server.ghost(uri, 0, 5) == ["ALPHA"]
    (workspace / "deltaloom.toml").write_text("[completion]\nenabled = false\n")
    server.notify("textDocument/didSave", {"textDocument": {"uri": (workspace / "deltaloom.toml").as_uri()}})
    assert await server.ghost(uri, 0, 5) == []
    assert "completion.enabled" in await server.reason()
    (workspace / "deltaloom.toml").write_text("[context]\nexclude = ['shapes.py']\n")
    await server.until_status(
        lambda report: (
            {"path": "shapes.py", "reason": "excluded by a setting"} in report["context"]["left_out"]
        )
    )
    assert await server.ghost(uri, 0, 5) == ["ALPHA"]
    server.notify(
        "workspace/didChangeConfiguration", {"settings": {"deltaloom": {"completion": {"enabled": 0}}}}
    )
    await server.until_shown('"completion.enabled" in the editor\'s settings must be true or false')
    assert await server.ghost(uri, 0, 5) == ["ALPHA"]
