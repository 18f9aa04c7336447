"""Which files of a workspace the scanners look at.

Invariant: what git ignores, what belongs to dependencies, and what the settings exclude is left out; no other
configuration in the workspace counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from deltaloom_server.context.reasons import Reason, WorkspaceFile
from deltaloom_server.context.roots import Root
from deltaloom_server.context.scan import check_paths, scan_workspace
from deltaloom_server.security.languages import scanners_for
from deltaloom_server.settings import ContextSettings, SecuritySettings

_ANY_SIZE = 1 << 62


@dataclass(frozen=True, slots=True)
class Target:
    """One file to look at: its path as it is shown, and where it lies."""

    path: str
    absolute: str


@dataclass(frozen=True, slots=True)
class Targets:
    """All of them, in the order of their paths, and sentences about folders that can't be read."""

    files: tuple[Target, ...]
    notes: tuple[str, ...] = ()


def list_targets(
    roots: Sequence[Root], settings: SecuritySettings, cancelled: Callable[[], bool] = lambda: False
) -> Targets:
    """Every file of the workspace that some scanner looks at. Blocking. Raises ScanCancelled."""
    found = scan_workspace(roots, _as_scan_settings(settings), cancelled=cancelled)
    return Targets(_looked_at(found.files), found.notes)


def check_targets(roots: Sequence[Root], settings: SecuritySettings, paths: Iterable[str]) -> Targets:
    """Those of these shown paths that are to be looked at. Blocking."""
    answers = check_paths(roots, _as_scan_settings(settings), paths)
    return Targets(_looked_at(entry for entry in answers.values() if isinstance(entry, WorkspaceFile)))


def why_left_out(roots: Sequence[Root], settings: SecuritySettings, path: str) -> Reason | None:
    """Why a path isn't looked at; None where it is, or is no file. Blocking."""
    answer = check_paths(roots, _as_scan_settings(settings), [path]).get(path)
    return answer if isinstance(answer, Reason) else None


def _looked_at(files: Iterable[WorkspaceFile]) -> tuple[Target, ...]:
    return tuple(Target(file.path, file.absolute) for file in files if scanners_for(file.path))


def _as_scan_settings(settings: SecuritySettings) -> ContextSettings:
    # A file over the limit isn't left out here: that it wasn't scanned is said.
    return ContextSettings(max_file_bytes=_ANY_SIZE, exclude=settings.exclude)
