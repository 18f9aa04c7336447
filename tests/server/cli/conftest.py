"""A home of its own for every command, so that no test meets another's, or the user's, worker and logs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Home:
    """Folders of one pretended user."""

    root: Path
    environment: dict[str, str]

    def run(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run `deltaloom` in a process of its own, stdout and stderr apart."""
        return subprocess.run(
            [sys.executable, "-P", "-m", "deltaloom_server", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=self.environment,
            cwd=cwd or self.root,
            timeout=150,
            check=False,
        )


@pytest.fixture
def home() -> Iterator[Home]:
    # Not tmp_path: a Unix socket's path may hold about a hundred bytes.
    root = Path(tempfile.mkdtemp(prefix="dl-"))
    folders = {name: root / name for name in ("run", "cache", "state", "data", "home")}
    for folder in folders.values():
        folder.mkdir(mode=0o700)
    environment = {
        **os.environ,
        "HOME": str(folders["home"]),
        "XDG_RUNTIME_DIR": str(folders["run"]),
        "XDG_CACHE_HOME": str(folders["cache"]),
        "XDG_STATE_HOME": str(folders["state"]),
        "XDG_DATA_HOME": str(folders["data"]),
        "OMP_NUM_THREADS": "1",
        "NO_COLOR": "1",
    }
    yield Home(root, environment)
    shutil.rmtree(root, ignore_errors=True)
