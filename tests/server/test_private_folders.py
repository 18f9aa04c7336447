"""Folders for copies of source: they go with their owner, and nothing else goes with them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deltaloom_server import private_folders

ELSEWHERE = 7


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The temporary folder."""
    monkeypatch.setattr(tempfile, "tempdir", os.fspath(tmp_path))
    private_folders.sweep_once.cache_clear()
    yield tmp_path
    private_folders.sweep_once.cache_clear()


@pytest.fixture
def namespace(place: Path) -> str:
    return Path(private_folders.make("eval")).name.split("-")[3]


@pytest.fixture
def ended() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def left(place: Path, name: str) -> Path:
    folder = place / name
    folder.mkdir()
    (folder / "source.py").write_text("secret = 1\n")
    return folder


def test_a_folder_is_its_owners_alone_and_gone_afterwards(place: Path) -> None:
    with private_folders.folder("semgrep") as path:
        Path(path, "source.py").write_text("x = 1\n")
        assert os.stat(path).st_mode & 0o777 == 0o700
    assert list(place.iterdir()) == []


def test_a_folder_of_a_killed_process_is_removed_by_the_next(place: Path) -> None:
    code = (
        "import os, signal\n"
        "from deltaloom_server import private_folders\n"
        "with private_folders.folder('semgrep') as path:\n"
        "    open(os.path.join(path, 'source.py'), 'w').close()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = os.environ | {"TMPDIR": os.fspath(place)}
    subprocess.run([sys.executable, "-P", "-c", code], env=environment, check=False)
    (abandoned,) = place.iterdir()
    assert list(abandoned.iterdir())
    with private_folders.folder("semgrep"):
        assert not abandoned.exists()


def test_only_folders_of_owners_that_have_ended_are_removed(place: Path, namespace: str, ended: int) -> None:
    kept = [
        left(place, f"deltaloom-semgrep-{os.getpid()}-{namespace}-abcdefgh"),
        left(place, f"deltaloom-semgrep-{os.getppid()}-{namespace}-abcdefgh"),
        left(place, f"deltaloom-sandbox-{ended}-{namespace}-abcdefgh"),
        left(place, f"deltaloom-semgrep-{ended}-{namespace}-abcdefgh-notes"),
        left(place, f"my-deltaloom-semgrep-{ended}-{namespace}-abcdefgh"),
        left(place, f"deltaloom-semgrep-{ended}-{ELSEWHERE}-abcdefgh"),
    ]
    gone = left(place, f"deltaloom-semgrep-{ended}-{namespace}-abcdefgh")
    private_folders.sweep("semgrep")
    assert not gone.exists()
    assert all((one / "source.py").exists() for one in kept)


def test_a_folder_from_another_container_is_removed_when_it_is_old(place: Path, ended: int) -> None:
    old = left(place, f"deltaloom-semgrep-{ended}-{ELSEWHERE}-abcdefgh")
    os.utime(old, (0, time.time() - 2 * 24 * 3600))
    private_folders.sweep("semgrep")
    assert not old.exists()


def test_no_link_is_followed_and_no_file_taken_for_a_folder(place: Path, namespace: str, ended: int) -> None:
    mine = left(place, "mine")
    link = place / f"deltaloom-semgrep-{ended}-{namespace}-aaaaaaaa"
    link.symlink_to(mine)
    inside = left(place, f"deltaloom-semgrep-{ended}-{namespace}-bbbbbbbb")
    (inside / "link").symlink_to(mine)
    file = place / f"deltaloom-semgrep-{ended}-{namespace}-cccccccc"
    file.write_text("")
    private_folders.sweep("semgrep")
    assert link.is_symlink()
    assert file.exists()
    assert not inside.exists()
    assert (mine / "source.py").exists()


def test_another_users_folder_is_left_alone(
    place: Path, namespace: str, ended: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = left(place, f"deltaloom-semgrep-{ended}-{namespace}-abcdefgh")
    own = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: own + 1)
    private_folders.sweep("semgrep")
    assert theirs.exists()


def test_one_owners_folders_can_be_removed_alone(place: Path, namespace: str, ended: int) -> None:
    other = left(place, f"deltaloom-semgrep-{2**22 + 5}-{namespace}-abcdefgh")
    its = left(place, f"deltaloom-semgrep-{ended}-{namespace}-abcdefgh")
    private_folders.sweep("semgrep", ended)
    assert not its.exists()
    assert other.exists()


def test_folders_that_a_program_has_closed_are_removed_and_their_parent_stays_as_it_was(place: Path) -> None:
    path = Path(private_folders.make("sandbox"))
    inner = path / "one" / "two"
    inner.mkdir(parents=True)
    (inner / "file").write_text("")
    for one in (inner, inner.parent):
        one.chmod(0)
    place.chmod(0o755)
    private_folders.remove(os.fspath(path))
    private_folders.remove(os.fspath(path))  # there is nothing left to do
    assert list(place.iterdir()) == []
    assert place.stat().st_mode & 0o777 == 0o755
