"""`deltaloom logs`: show what the server and the model worker wrote.

Invariant: only files are read; following survives rotation, and a log that doesn't exist yet is not an error.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import platformdirs

from deltaloom_server.errors import DeltaloomError

_POLL_SECONDS = 0.25
_SHOWN_LINES = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--follow", action="store_true", help="go on showing what is written, until Ctrl-C")
    parser.add_argument("--path", action="store_true", help="print the log folder and nothing else")
    parser.add_argument("--lines", type=int, default=_SHOWN_LINES, help="lines of each log (default 40)")


def run(arguments: argparse.Namespace) -> int:
    folder = platformdirs.user_log_path("deltaloom")
    if arguments.path:
        print(folder)
        return 0
    if arguments.lines < 0:
        raise DeltaloomError("--lines takes a number of lines, 0 or more.")
    files = log_files(folder)
    if not files and not arguments.follow:
        print(f"There are no logs in {folder} yet.")
        return 0
    followed = {path: _Follower(path) for path in files}
    for path, follower in followed.items():
        print(f"==> {path}")
        lines = follower.read_more(unfinished=True).splitlines()
        print("\n".join(lines[len(lines) - arguments.lines :] if arguments.lines else []))
    if arguments.follow:
        _follow(folder, followed)
    return 0


def log_files(folder: Path) -> list[Path]:
    """The current logs, not the rotated ones, by name."""
    return sorted(folder.glob("*.log")) if folder.is_dir() else []


class _Follower:
    """One log that is being followed; nothing of it has been read yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0
        self._inode = 0

    def read_more(self, *, unfinished: bool = False) -> str:
        """Lines written since the last call; after a rotation, the new file from its start.

        A last line that is still being written comes with its end, or at once with `unfinished`.
        """
        try:
            file = self._path.open("rb")
        except FileNotFoundError:  # between the old file's going and the new one's coming
            return ""
        with file:
            info = os.fstat(file.fileno())
            if info.st_ino != self._inode or info.st_size < self._position:
                self._inode, self._position = info.st_ino, 0
            file.seek(self._position)
            data = file.read()
        if not unfinished:
            data = data[: data.rfind(b"\n") + 1]
        self._position += len(data)
        return data.decode("utf-8", "replace")


def _follow(folder: Path, followed: dict[Path, _Follower]) -> None:
    last_shown: Path | None = None
    while True:
        for path in log_files(folder):
            follower = followed.setdefault(path, _Follower(path))
            if more := follower.read_more():
                if path != last_shown:
                    print(f"==> {path}")
                    last_shown = path
                print(more, end="", flush=True)
        time.sleep(_POLL_SECONDS)
