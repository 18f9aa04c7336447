"""Changed lines: what git says of a real repository, and what it isn't let do."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from deltaloom_server.errors import WorkspaceError
from deltaloom_server.lint.changed_lines import changes_since, parse_diff
from deltaloom_server.security.finding import Span

Git = Callable[..., None]
BASE = "".join(f"line {number}\n" for number in range(10))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    root.mkdir()
    return root


@pytest.fixture
def git(repository: Path) -> Git:
    def run(*words: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *identity, *words], cwd=repository, check=True, capture_output=True)

    run("init", "-q", "-b", "main")
    (repository / "a.py").write_text(BASE)
    (repository / "old name.py").write_text(BASE)
    run("add", ".")
    run("commit", "-qm", "base")
    return run


def test_a_changed_and_an_added_line_count_and_a_removed_one_does_not(repository: Path, git: Git) -> None:
    lines = BASE.splitlines(keepends=True)
    lines[2] = "changed\n"
    del lines[5]
    lines.append("added\n")
    (repository / "a.py").write_text("".join(lines))
    changes = changes_since(str(repository))
    assert changes.lines["a.py"] == ((2, 3), (9, 10))
    assert changes.files == {"a.py"}
    assert changes.touch("a.py", Span(1, 0, 2, 3))
    assert not changes.touch("a.py", Span(3, 0, 8, 3))
    assert not changes.touch("old name.py", Span(0, 0, 0, 1))


def test_what_a_branch_committed_counts_and_what_the_other_did_since_does_not(
    repository: Path, git: Git
) -> None:
    git("checkout", "-qb", "topic")
    (repository / "a.py").write_text(BASE + "mine\n")
    git("commit", "-qam", "mine")
    git("checkout", "-q", "main")
    (repository / "old name.py").write_text("theirs\n" + BASE)
    git("commit", "-qam", "theirs")
    git("checkout", "-q", "topic")
    assert changes_since(str(repository)).lines == {"a.py": ((10, 11),)}
    assert changes_since(str(repository), "main").lines == {"a.py": ((10, 11),)}


def test_a_file_that_git_does_not_know_is_changed_in_every_line(repository: Path, git: Git) -> None:
    (repository / "é new\n.py").write_text("x\n")
    (repository / ".gitignore").write_text("ignored.py\n")
    (repository / "ignored.py").write_text("x\n")
    changes = changes_since(str(repository))
    assert changes.new == {"é new\n.py", ".gitignore"}
    assert changes.touch("é new\n.py", Span(0, 0, 0, 1))


def test_a_renamed_file_has_only_its_changed_lines(repository: Path, git: Git) -> None:
    git("mv", "old name.py", 'n"é\t.py')
    lines = BASE.splitlines(keepends=True)
    lines[4] = "changed\n"
    (repository / 'n"é\t.py').write_text("".join(lines))
    assert changes_since(str(repository)).lines == {'n"é\t.py': ((4, 5),)}


def test_paths_are_relative_to_the_folder_that_is_asked_about(repository: Path, git: Git) -> None:
    (repository / "sub").mkdir()
    (repository / "sub" / "b.py").write_text("x\n")
    git("add", ".")
    (repository / "a.py").write_text("x\n")
    changes = changes_since(str(repository / "sub"))
    assert changes.files == {"b.py"}


def test_lines_that_look_like_a_diff_are_lines(repository: Path, git: Git) -> None:
    (repository / "a.py").write_text("++ b/other.py\ndiff --git a/x b/x\n@@ -1 +1,99 @@\n" + BASE)
    assert changes_since(str(repository)).lines == {"a.py": ((0, 3),)}


def test_a_last_line_without_an_end_is_counted(repository: Path, git: Git) -> None:
    (repository / "a.py").write_text(BASE.rstrip("\n"))
    (repository / "old name.py").write_text("x\n" + BASE)
    assert changes_since(str(repository)).lines == {"a.py": ((9, 10),), "old name.py": ((0, 1),)}


def test_a_deleted_file_has_no_lines() -> None:
    diff = b"diff --git a/x b/x\ndeleted file mode 100644\n--- a/x\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n"
    assert list(parse_diff(diff)) == []


def test_programs_that_the_repository_names_are_not_run(repository: Path, git: Git, tmp_path: Path) -> None:
    trap = tmp_path / "trap.sh"
    trap.write_text(f"#!/bin/sh\ntouch '{tmp_path}/sprung'\ncat\n")
    trap.chmod(0o755)
    (repository / ".gitattributes").write_text("*.py diff=trap filter=trap\na.py filter=o=dd.name\n")
    for key in (
        "core.fsmonitor", "diff.external", "diff.trap.command", "diff.trap.textconv", "filter.trap.clean",
        "filter.trap.process", "filter.o=dd.name.clean", "core.pager", "core.sshCommand", "gpg.program",
    ):  # fmt: skip
        git("config", key, str(trap))
    git("config", "filter.trap.required", "true")
    (repository / "a.py").write_text(BASE + "added\n")
    (repository / "old name.py").write_text(BASE + "added\n")
    changes = changes_since(str(repository))
    assert changes.lines == {"a.py": ((10, 11),), "old name.py": ((10, 11),)}
    assert not (tmp_path / "sprung").exists()


def test_settings_of_the_repository_do_not_change_what_is_read(repository: Path, git: Git) -> None:
    for key, value in (
        ("diff.noprefix", "true"), ("diff.context", "5"), ("diff.interHunkContext", "9"),
        ("color.ui", "always"), ("diff.mnemonicPrefix", "true"), ("core.quotePath", "true"),
    ):  # fmt: skip
        git("config", key, value)
    lines = BASE.splitlines(keepends=True)
    lines[2] = lines[5] = "changed\n"
    (repository / "a.py").write_text("".join(lines))
    assert changes_since(str(repository)).lines == {"a.py": ((2, 3), (5, 6))}


@pytest.mark.parametrize(
    ("revision", "said"),
    [("nowhere", "git knows no commit 'nowhere'"), ("HEAD:a.py", "git knows no commit")],
)
def test_a_revision_that_is_not_there_is_named(repository: Path, git: Git, revision: str, said: str) -> None:
    with pytest.raises(WorkspaceError, match=said):
        changes_since(str(repository), revision)


def test_an_unrelated_history_is_told(repository: Path, git: Git) -> None:
    git("checkout", "-q", "--orphan", "other")
    git("commit", "-qm", "apart")
    with pytest.raises(WorkspaceError, match="no common commit"):
        changes_since(str(repository), "main")


def test_a_repository_without_a_known_default_branch_asks_for_one(repository: Path, git: Git) -> None:
    git("branch", "-m", "trunk")
    with pytest.raises(WorkspaceError, match="--diff-base"):
        changes_since(str(repository))
    assert changes_since(str(repository), "trunk").files == frozenset()


def test_without_a_repository_it_says_what_to_leave_out(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="in no git repository, so what changed isn't known"):
        changes_since(str(tmp_path))


def test_without_git_it_says_so(repository: Path, git: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(repository))
    with pytest.raises(WorkspaceError, match="git isn't installed"):
        changes_since(str(repository))
