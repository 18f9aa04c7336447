"""What a running language server last reported, where `deltaloom status` finds it.

Invariant: a report holds paths, counts and times, never text of a document; only this user can read it, it is
replaced as a whole, and one whose server has gone is not shown.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import psutil

_PATTERN = "server-*.json"


class StatusFile:
    """The report of this process in `folder` (the runtime folder, which is private to the user)."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"server-{os.getpid()}.json"

    def write(self, report: dict[str, Any]) -> None:
        """Replace the report. `report` must be JSON. Raises OSError when the folder can't be written."""
        fresh = self._path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({"pid": os.getpid(), "started": _started(os.getpid()), "report": report}, file)
        fresh.replace(self._path)

    def remove(self) -> None:
        """Take the report away; called when the server leaves."""
        with contextlib.suppress(OSError):
            self._path.unlink()


def read_reports(folder: Path) -> dict[int, dict[str, Any]]:
    """The reports of servers that are running, by process id; those left by dead ones are removed."""
    reports: dict[int, dict[str, Any]] = {}
    for path in sorted(folder.glob(_PATTERN)):
        try:
            if path.lstat().st_uid != os.getuid():
                continue
            written = json.loads(path.read_bytes())
            pid, started, report = int(written["pid"]), written["started"], dict(written["report"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        # A process id is used again sooner or later: the time of its start tells the two apart.
        if _started(pid) != started:
            with contextlib.suppress(OSError):
                path.unlink()
            continue
        reports[pid] = report
    return reports


def _started(pid: int) -> float | None:
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None
