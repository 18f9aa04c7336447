"""Real folders, real git repositories, and a worker stand-in that counts words instead of tokens."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from deltaloom_model.api import Segment

Git = Callable[..., None]


@pytest.fixture(autouse=True)
def own_git_configuration(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's global ignore file and the repository around the temporary folder must not matter."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))


@pytest.fixture
def git() -> Git:
    def run(folder: Path, *arguments: str) -> None:
        identity = (
            "-c",
            "user.name=Test",
            "-c",
            "user.email=test@example.com",
            "-c",
            "init.defaultBranch=main",
        )
        subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)

    return run


@pytest.fixture
def write() -> Callable[[Path, Mapping[str, str | bytes]], None]:
    def put(folder: Path, files: Mapping[str, str | bytes]) -> None:
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return put


class WordCounter:
    """Counts a segment's words, and remembers what it was asked; every text asked for must be given."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    async def __call__(self, segments: Sequence[Segment], texts: Mapping[str, str]) -> list[int]:
        self.asked.append([segment.path for segment in segments])
        return [len(texts[segment.digest].split()) + 1 for segment in segments]


@pytest.fixture
def count() -> WordCounter:
    return WordCounter()
