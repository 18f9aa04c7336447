"""Which files of a workspace the scanners look at.

Invariant: what git ignores, what belongs to dependencies, and what the settings exclude is left out; no other
configuration in the workspace counts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from deltaloom_server.context import git, ignore
from deltaloom_server.context.reasons import LeftOut, Reason, WorkspaceFile
from deltaloom_server.context.roots import Root, prefix_of, split_shown
from deltaloom_server.context.scan import check_paths, scan_workspace
from deltaloom_server.security.languages import scanners_for
from deltaloom_server.settings import ContextSettings, SecuritySettings

_ANY_SIZE = 1 << 62
_BY_NAME = frozenset({Reason.GENERATED, Reason.SECRET})
_TOLD: Mapping[Reason, str] = MappingProxyType(
    {
        Reason.DEPENDENCY: "a folder of dependencies",
        Reason.NESTED_REPOSITORY: "a repository of its own",
        Reason.INVALID_NAME: "a name with control characters or not in UTF-8",
        Reason.UNREADABLE: "unreadable",
        Reason.SYMLINK_OUTSIDE: "a link out of the workspace",
        Reason.SYMLINK_LOOP: "a link to itself",
        Reason.NOT_A_FILE: "not a regular file",
    }
)
"""What is left out although neither git nor a setting says so. A link inside the workspace leads to a file
that is looked at anyway."""


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
    """Every file of the workspace that some scanner looks at. Blocking. Raises ScanCancelled.

    What a context leaves out for its name (as generated, as likely to hold credentials) is looked at all the
    same; what isn't looked at without anybody having said so is told in a note.
    """
    found = scan_workspace(roots, _as_scan_settings(settings), cancelled=cancelled)
    by_name = _listed(roots, [one.path for one in found.left_out if one.reason in _BY_NAME])
    files = sorted((*_looked_at(found.files), *by_name), key=lambda target: target.path)
    return Targets(tuple(files), (*found.notes, *_notes(found.left_out)))


def check_targets(roots: Sequence[Root], settings: SecuritySettings, paths: Iterable[str]) -> Targets:
    """Those of these shown paths that are to be looked at. Blocking."""
    answers = check_paths(roots, _as_scan_settings(settings), paths)
    return Targets(_looked_at(entry for entry in answers.values() if isinstance(entry, WorkspaceFile)))


def why_left_out(roots: Sequence[Root], settings: SecuritySettings, path: str) -> Reason | None:
    """Why a path isn't looked at; None where it is, or is no file. Blocking."""
    answer = check_paths(roots, _as_scan_settings(settings), [path]).get(path)
    return answer if isinstance(answer, Reason) else None


def _listed(roots: Sequence[Root], paths: Iterable[str]) -> Iterator[Target]:
    """Those of these shown paths that are regular files which git doesn't ignore."""
    by_root: dict[Root, list[str]] = {}
    for path in paths:
        found = split_shown(path, roots)
        if found is not None and not path.endswith("/") and scanners_for(path):
            by_root.setdefault(found[0], []).append(found[1])
    for root, relative in by_root.items():
        try:
            listed = git.among_listed(root.real, relative)
        except git.GitUnavailable:
            rules = ignore.git_rules(root.real)
            listed = frozenset(path for path in relative if not rules.ignores(path))
        for path in sorted(listed):
            absolute = os.path.join(root.real, path)
            if os.path.isfile(absolute) and not os.path.islink(absolute):
                yield Target(prefix_of(root, roots) + path, absolute)


def _notes(left_out: Iterable[LeftOut]) -> Iterator[str]:
    """A sentence for each reason for which something wasn't looked at, with the first of it."""
    by_reason: dict[Reason, list[str]] = {}
    for entry in left_out:
        if entry.reason in _TOLD:
            by_reason.setdefault(entry.reason, []).append(entry.path)
    for reason, paths in by_reason.items():
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        yield f"Not looked at ({_TOLD[reason]}): {ascii(paths[0])[1:-1]}{more}."


def _looked_at(files: Iterable[WorkspaceFile]) -> tuple[Target, ...]:
    return tuple(Target(file.path, file.absolute) for file in files if scanners_for(file.path))


def _as_scan_settings(settings: SecuritySettings) -> ContextSettings:
    # A file over the limit isn't left out here: that it wasn't scanned is said.
    return ContextSettings(max_file_bytes=_ANY_SIZE, exclude=settings.exclude)
