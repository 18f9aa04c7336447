from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from deltaloom_server.context.reading import load_text
from deltaloom_server.context.reasons import Reason, ScanResult
from deltaloom_server.context.roots import name_roots
from deltaloom_server.context.scan import ScanCancelled, check_paths, scan_workspace
from deltaloom_server.settings import ContextSettings

Write = Callable[[Path, Mapping[str, str | bytes]], None]
SETTINGS = ContextSettings()


def scan(*folders: Path, settings: ContextSettings = SETTINGS) -> ScanResult:
    return scan_workspace(name_roots(map(str, folders)), settings)


def names(result: ScanResult) -> list[str]:
    return [file.path for file in result.files]


def reasons(result: ScanResult) -> dict[str, Reason]:
    return {entry.path: entry.reason for entry in result.left_out}


TREE: dict[str, str | bytes] = {
    ".gitignore": "*.log\n/build/\n!keep.log\n",
    "main.py": "print()\n",
    "keep.log": "kept\n",
    "drop.log": "dropped\n",
    "build/out.py": "x = 1\n",
    "src/build/in.py": "x = 1\n",
    "src/.gitignore": "secret_plans/\n*.tmp\n!important.tmp\n",
    "src/a.tmp": "a\n",
    "src/important.tmp": "a\n",
    "src/secret_plans/a.py": "a\n",
    "src/deep/.gitignore": "!*.log\nlocal.py\n",
    "src/deep/x.log": "x\n",
    "src/deep/local.py": "x\n",
    ".env": "TOKEN=x\n",
    "assets/logo.png": b"\x89PNG\r\n\x1a\n\0",
    "package-lock.json": "{}\n",
    "empty.py": "",
    "node_modules/left/index.js": "x\n",
}


@pytest.mark.parametrize("commit", [False, True])
def test_git_and_no_git_give_the_same_files_and_reasons(
    tmp_path: Path, write: Write, git: Callable[..., None], commit: bool
) -> None:
    plain, repository = tmp_path / "plain", tmp_path / "repository"
    write(plain, TREE)
    write(repository, TREE)
    git(repository, "init")
    if commit:
        git(repository, "add", ".")
        git(repository, "commit", "-m", "first")
    without, within = scan(plain), scan(repository)
    assert names(without) == names(within)
    assert names(within) == [
        ".gitignore",
        "keep.log",
        "main.py",
        "src/.gitignore",
        "src/build/in.py",
        "src/deep/.gitignore",
        "src/deep/x.log",
        "src/important.tmp",
    ]
    assert reasons(without) == reasons(within)
    assert reasons(within) == {
        ".env": Reason.SECRET,
        "assets/logo.png": Reason.BINARY,
        "build/": Reason.IGNORED,
        "drop.log": Reason.IGNORED,
        "empty.py": Reason.EMPTY,
        "node_modules/": Reason.DEPENDENCY,
        "package-lock.json": Reason.GENERATED,
        "src/a.tmp": Reason.IGNORED,
        "src/deep/local.py": Reason.IGNORED,
        "src/secret_plans/": Reason.IGNORED,
    }
    assert without.notes == within.notes == ()


def test_own_ignore_file_and_setting_leave_tracked_files_out(
    tmp_path: Path, write: Write, git: Callable[..., None]
) -> None:
    write(
        tmp_path,
        {".deltaloomignore": "docs/\n", "docs/a.md": "a", "a.sql": "a", "b.py": "b", "sub/c.sql": "c"},
    )
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    result = scan(tmp_path, settings=ContextSettings(exclude=("*.sql",)))
    assert names(result) == [".deltaloomignore", "b.py"]
    assert reasons(result) == {
        "docs/": Reason.IGNORED,
        "a.sql": Reason.EXCLUDED,
        "sub/c.sql": Reason.EXCLUDED,
    }


def test_special_files_and_links_are_told_apart(tmp_path: Path, write: Write) -> None:
    outside = tmp_path / "outside"
    root = tmp_path / "root"
    write(outside, {"x.py": "outside"})
    write(root, {"a.py": "a", "pkg/b.py": "b"})
    os.mkfifo(root / "pipe")
    (root / "loop").symlink_to("loop2")
    (root / "loop2").symlink_to("loop")
    (root / "pkg" / "up").symlink_to(root)
    (root / "away").symlink_to(outside)
    (root / "away.py").symlink_to(outside / "x.py")
    (root / "alias.py").symlink_to("a.py")
    (root / "dangling").symlink_to("nothing")
    result = scan(root)
    assert names(result) == ["a.py", "pkg/b.py"]
    assert reasons(result) == {
        "pipe": Reason.NOT_A_FILE,
        "loop": Reason.SYMLINK_LOOP,
        "loop2": Reason.SYMLINK_LOOP,
        "pkg/up": Reason.SYMLINK_LOOP,
        "away": Reason.SYMLINK_OUTSIDE,
        "away.py": Reason.SYMLINK_OUTSIDE,
        "alias.py": Reason.SYMLINK,
        "dangling": Reason.UNREADABLE,
    }


def test_tracked_file_behind_a_folder_that_became_a_link_stays_out(
    tmp_path: Path, write: Write, git: Callable[..., None]
) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    write(root, {"a.py": "a", "lib/b.py": "b"})
    write(outside, {"b.py": "not yours"})
    git(root, "init")
    git(root, "add", ".")
    (root / "lib" / "b.py").unlink()
    (root / "lib").rmdir()
    (root / "lib").symlink_to(outside)
    result = scan(root)
    assert names(result) == ["a.py"]
    assert reasons(result) == {"lib": Reason.SYMLINK_OUTSIDE}


def test_huge_sparse_file_is_left_out_unread(tmp_path: Path, write: Write) -> None:
    write(tmp_path, {"a.py": "a"})
    with open(tmp_path / "dump.sql", "wb") as file:
        file.truncate(50 << 20)
    assert reasons(scan(tmp_path)) == {"dump.sql": Reason.OVERSIZE}
    assert load_text(str(tmp_path / "dump.sql"), 1000) is Reason.OVERSIZE


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_files_and_folders_are_left_out(tmp_path: Path, write: Write) -> None:
    write(tmp_path, {"a.py": "a", "b.py": "b", "closed/c.py": "c"})
    (tmp_path / "b.py").chmod(0)
    (tmp_path / "closed").chmod(0)
    result = scan(tmp_path)
    (tmp_path / "closed").chmod(stat.S_IRWXU)
    assert names(result) == ["a.py"]
    assert reasons(result) == {"b.py": Reason.UNREADABLE, "closed/": Reason.UNREADABLE}


def test_names_that_a_prompt_cannot_show_are_left_out(tmp_path: Path, write: Write) -> None:
    write(tmp_path, {"a\nb.py": "x", "ok – ä.py": "x"})
    (tmp_path / os.fsdecode(b"bad\xff.py")).write_text("x")
    result = scan(tmp_path)
    assert names(result) == ["ok – ä.py"]
    assert set(reasons(result).values()) == {Reason.INVALID_NAME}
    assert len(result.left_out) == 2


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\xef\xbb\xbfx = 1\r\n", "x = 1\r\n"),
        (b"x = '\xff'\n", Reason.INVALID_UTF8),
        (b"x\0y", Reason.BINARY),
        (b"", Reason.EMPTY),
        (b"\xef\xbb\xbf", Reason.EMPTY),
        (b"# Code generated by protoc. DO NOT EDIT.\nx = 1\n", Reason.GENERATED),
        (b"x=1;" * 5000, Reason.GENERATED),
        (b"key = '" + b"AKIA" + b"Q4SD7XYZ2345ABCD'\n", Reason.SECRET),
    ],
)
def test_content_decides_when_a_file_is_read(tmp_path: Path, content: bytes, expected: str | Reason) -> None:
    path = tmp_path / "f.py"
    path.write_bytes(content)
    assert load_text(str(path), 100_000) == expected


def test_reading_never_blocks_or_follows(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "x.py").write_text("x")
    (tmp_path / "link.py").symlink_to("x.py")
    assert load_text(str(tmp_path / "pipe"), 100) is Reason.NOT_A_FILE
    assert load_text(str(tmp_path / "link.py"), 100) is Reason.SYMLINK
    assert load_text(str(tmp_path / "gone.py"), 100) is None
    assert load_text("/dev/zero", 100) is Reason.NOT_A_FILE


def test_two_scans_and_any_listing_order_give_one_result(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {f"d{i % 3}/f{i}.py": "x" for i in range(30)} | {f"f{i}.log": "x" for i in range(5)})
    write(tmp_path, {".gitignore": "*.log\n"})
    first = scan(tmp_path)
    real = os.scandir

    class Backwards:
        def __init__(self, path: str) -> None:
            with real(path) as entries:
                self.entries = sorted(entries, key=lambda entry: entry.name, reverse=True)

        def __enter__(self) -> list[os.DirEntry[str]]:
            return self.entries

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(os, "scandir", Backwards)
    assert scan(tmp_path) == first
    assert len(first.files) == 31


def test_history_makes_files_hot(tmp_path: Path, write: Write, git: Callable[..., None]) -> None:
    write(tmp_path, {"cold.py": "x", "hot.py": "0"})
    git(tmp_path, "init")
    for version in range(5):
        write(tmp_path, {"hot.py": str(version)})
        git(tmp_path, "add", ".")
        git(tmp_path, "commit", "-m", str(version))
    heat = {file.path: file.heat for file in scan(tmp_path).files}
    assert heat["cold.py"] < heat["hot.py"]


def test_folder_that_an_outer_repository_ignores_is_scanned_without_git(
    tmp_path: Path, write: Write, git: Callable[..., None]
) -> None:
    write(
        tmp_path,
        {".gitignore": "inner/\n", "inner/a.py": "a", "inner/b.log": "b", "inner/.gitignore": "*.log\n"},
    )
    git(tmp_path, "init")
    result = scan(tmp_path / "inner")
    assert names(result) == [".gitignore", "a.py"]
    assert len(result.notes) == 1
    answer = check_paths(name_roots([str(tmp_path / "inner")]), SETTINGS, ["a.py", "b.log"])
    assert answer["a.py"] is not None
    assert answer["a.py"] is not Reason.IGNORED
    assert answer["b.log"] is Reason.IGNORED


def test_a_repository_below_the_root_is_left_out_as_a_whole(
    tmp_path: Path, write: Write, git: Callable[..., None]
) -> None:
    write(tmp_path, {"a.py": "a", "inner/b.py": "b"})
    git(tmp_path / "inner", "init")
    expected = {"inner/": Reason.NESTED_REPOSITORY}
    assert reasons(scan(tmp_path)) == expected
    git(tmp_path, "init")
    assert reasons(scan(tmp_path)) == expected


def test_repository_configuration_runs_nothing(
    tmp_path: Path, write: Write, git: Callable[..., None]
) -> None:
    root, mark = tmp_path / "root", tmp_path / "ran"
    write(
        root,
        {
            "a.py": "a",
            "evil.sh": f"#!/bin/sh\ntouch {mark}\n",
            ".gitattributes": "*.py filter=evil diff=evil\n",
        },
    )
    evil = root / "evil.sh"
    evil.chmod(0o755)
    git(root, "init")
    git(root, "add", ".")
    git(root, "commit", "-m", "first")
    for key in (
        "core.fsmonitor",
        "core.pager",
        "filter.evil.clean",
        "filter.evil.smudge",
        "diff.evil.command",
        "diff.evil.textconv",
        "diff.external",
        "gpg.program",
        "core.sshCommand",
        "alias.ls-files",
    ):
        git(root, "config", key, str(evil))
    git(root, "config", "log.showSignature", "true")
    write(root, {"a.py": "changed"})
    mark.unlink(missing_ok=True)
    result = scan(root)
    check_paths(name_roots([str(root)]), SETTINGS, ["a.py"])
    assert "a.py" in names(result)
    assert result.notes == ()
    assert not mark.exists()


def test_git_program_of_the_workspace_itself_is_never_run(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "ran"
    root = tmp_path / "root"
    write(root, {"bin/git": f"#!/bin/sh\ntouch {mark}\n", "a.py": "a"})
    (root / "bin" / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(root / "bin"))
    result = scan(root)
    assert names(result) == ["a.py", "bin/git"]
    assert "git isn't installed" in result.notes[0]
    assert not mark.exists()


def test_several_roots_have_unique_names_and_deeper_roots_own_their_files(
    tmp_path: Path, write: Write
) -> None:
    write(tmp_path / "one" / "app", {"a.py": "a"})
    write(tmp_path / "two" / "app", {"b.py": "b", "lib/c.py": "c"})
    folders = [tmp_path / "one" / "app", tmp_path / "two" / "app", tmp_path / "two" / "app" / "lib"]
    assert names(scan(*folders)) == ["app-2/b.py", "app/a.py", "lib/c.py"]


def test_missing_root_is_a_note_and_an_empty_folder_is_fine(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert scan(tmp_path / "empty") == ScanResult()
    result = scan(tmp_path / "gone", tmp_path / "empty")
    assert result.files == ()
    assert "gone" in result.notes[0]


def test_progress_is_told_and_cancelling_stops(tmp_path: Path, write: Write) -> None:
    write(tmp_path, {f"f{i}.py": "x" for i in range(600)})
    told: list[tuple[int, int]] = []
    scan_workspace(name_roots([str(tmp_path)]), SETTINGS, lambda done, total: told.append((done, total)))
    assert told[0] == (0, 600)
    assert told[-1] == (600, 600)
    assert len(told) > 2
    stop = threading.Event()

    def stop_soon(done: int, total: int) -> None:
        stop.set()

    with pytest.raises(ScanCancelled):
        scan_workspace(name_roots([str(tmp_path)]), SETTINGS, stop_soon, stop.is_set)


def test_single_paths_are_judged_as_a_scan_judges_them(
    tmp_path: Path, write: Write, git: Callable[..., None]
) -> None:
    write(tmp_path, TREE)
    git(tmp_path, "init")
    whole = scan(tmp_path)
    asked = [name for name in TREE if name not in (".gitignore",)] + ["gone.py"]
    answers = check_paths(name_roots([str(tmp_path)]), SETTINGS, asked)
    assert answers["gone.py"] is None
    for path in asked[:-1]:
        answer = answers[path]
        if path in names(whole):
            assert not isinstance(answer, Reason)
            assert answer is not None
            assert answer.path == path
        else:
            assert isinstance(answer, Reason), path
