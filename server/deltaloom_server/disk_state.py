"""What the disk says of a workspace now, beside what its context shows: for a first reading and a rescan.

Invariant: blocking functions for an executor thread; nothing here touches the context.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from .context.reading import load_text
from .context.reasons import FORBIDDEN, Reason, ScanResult, reason_of_folders
from .context.repository import Content


def read_disk(
    scan: ScanResult,
    known: Collection[str],
    is_passed_over: Callable[[str], bool],
    max_bytes: int,
) -> dict[str, Content]:
    """The content of all `known` paths and of files that are new, those passed over excepted."""
    files = {file.path: file for file in scan.files}
    reasons = {entry.path: entry.reason for entry in scan.left_out}
    contents: dict[str, Content] = {}
    for path in known:
        if path not in files:
            contents[path] = _reason(path, reasons)
    for path, file in files.items():
        if path in known or not is_passed_over(path):
            contents[path] = load_text(file.absolute, max_bytes)
    return contents


def forbidden_among(scan: ScanResult, paths: Collection[str]) -> dict[str, Reason]:
    """Which of these paths may not be shown, whatever their text, and why."""
    reasons = {entry.path: entry.reason for entry in scan.left_out}
    found = {path: _reason(path, reasons) for path in paths}
    return {path: reason for path, reason in found.items() if reason in FORBIDDEN and reason is not None}


def _reason(path: str, reasons: dict[str, Reason]) -> Reason | None:
    """Why a path isn't among the files: its own reason, a folder's above it, or None where it is gone."""
    return reasons.get(path) or reason_of_folders(path, reasons)
