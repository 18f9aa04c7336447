"""What a scan says about each path: a file that may stand in the context, or the reason why it may not.

Invariant: every path that was seen is in exactly one of the two lists of a `ScanResult`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Reason(Enum):
    """Why a path is left out of the context; the value is what `status` shows."""

    IGNORED = "ignored"
    EXCLUDED = "excluded by a setting"
    DEPENDENCY = "dependency folder"
    GENERATED = "generated"
    SECRET = "secret"
    BINARY = "binary"
    OVERSIZE = "oversize"
    EMPTY = "empty"
    INVALID_UTF8 = "invalid UTF-8"
    INVALID_NAME = "name that a prompt can't show"
    UNREADABLE = "unreadable"
    NOT_A_FILE = "not a regular file"
    SYMLINK = "symlink to another path of the workspace"
    SYMLINK_OUTSIDE = "symlink out of the workspace"
    SYMLINK_LOOP = "symlink loop"
    NESTED_REPOSITORY = "nested git repository"
    NAME_ONLY = "over budget, in as a name only"
    OVER_BUDGET = "over budget"


def reason_of_folders(path: str, left_out: Mapping[str, Reason]) -> Reason | None:
    """Why a folder above this path was left out as a whole (it ends with a slash in `left_out`), or None."""
    folder = path.rpartition("/")[0]
    while folder:
        if (reason := left_out.get(folder + "/")) is not None:
            return reason
        folder = folder.rpartition("/")[0]
    return None


FORBIDDEN = frozenset(
    {Reason.IGNORED, Reason.EXCLUDED, Reason.DEPENDENCY, Reason.SECRET, Reason.SYMLINK_OUTSIDE}
)
"""Reasons that hold for the path whatever its text becomes: such a file is purged, never shown as gone."""


@dataclass(frozen=True, slots=True)
class WorkspaceFile:
    """A file that may stand in the context. Its text isn't held: `reading.load_text` reads it when needed.

    `path` is what the prompt shows, `absolute` where the file lies, `size` in bytes. `heat` says how likely
    the file is to change, on a coarse scale from 0 (cold) to 4, so that a single edit rarely moves it.
    """

    path: str
    absolute: str
    size: int
    mtime_ns: int
    heat: int = 0


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A path that isn't in the context, and why. A folder left out as a whole ends with a slash."""

    path: str
    reason: Reason


@dataclass(frozen=True)
class ScanResult:
    """Both lists sorted by path. `notes` are sentences for the user (for example: git couldn't be used)."""

    files: tuple[WorkspaceFile, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
