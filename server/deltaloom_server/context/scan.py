"""Which files of a workspace may stand in its context, told by names and file status alone.

Invariant: the result depends on the file system only, never on the order in which it is listed; no file's
content is read here (that happens in value order, up to the budget), and nothing but a regular file below the
root's real folder gets in.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence

from ..settings import ContextSettings
from . import git, ignore, kinds
from .reasons import LeftOut, Reason, ScanResult, WorkspaceFile
from .roots import Root, gone_sentence, prefix_of, split_shown
from .secrets import has_secret_name

Progress = Callable[[int, int], None]
"""Called with (files looked at, files to look at)."""

_EVERY = 256


class ScanCancelled(Exception):
    """The scan was told to stop; nothing it found may be used."""


class _RootScan:
    """One root: judges folders and files by name and status, remembering what it said of each folder."""

    def __init__(self, root: Root, settings: ContextSettings, inner: frozenset[str]) -> None:
        self.root = root.real
        self._max_bytes = settings.max_file_bytes
        self._inner = inner
        self._own = ignore.own_rules(root.real)
        self._setting = ignore.setting_rules(root.real, settings.exclude)
        self._folders: dict[str, LeftOut | None] = {"": None}

    def judge_folder(self, relative: str) -> LeftOut | None:
        """The outermost folder on the way to `relative` that is left out as a whole, and why."""
        if relative not in self._folders:
            parent, _, name = relative.rpartition("/")
            self._folders[relative] = self.judge_folder(parent) or self._judge_own(relative, name)
        return self._folders[relative]

    def _judge_own(self, relative: str, name: str) -> LeftOut | None:
        absolute = os.path.join(self.root, relative)
        reason: Reason | None = None
        if os.path.islink(absolute):
            return LeftOut(relative, self._judge_link(absolute))
        if kinds.is_dependency_folder(name):
            reason = Reason.DEPENDENCY
        elif self._setting.ignores(relative, is_folder=True):
            reason = Reason.EXCLUDED
        elif self._own.ignores(relative, is_folder=True):
            reason = Reason.IGNORED
        elif os.path.lexists(os.path.join(absolute, ".git")) and absolute not in self._inner:
            reason = Reason.NESTED_REPOSITORY
        return LeftOut(relative + "/", reason) if reason else None

    def judge_name(self, relative: str) -> Reason | None:
        """Why a file is left out by its name alone."""
        name = relative.rpartition("/")[2]
        if not relative.isprintable() and any(ord(c) < 32 or 0xD800 <= ord(c) < 0xE000 for c in relative):
            return Reason.INVALID_NAME
        if has_secret_name(relative):
            return Reason.SECRET
        if self._setting.ignores(relative):
            return Reason.EXCLUDED
        if self._own.ignores(relative):
            return Reason.IGNORED
        if kinds.is_generated_name(name):
            return Reason.GENERATED
        return Reason.BINARY if kinds.is_binary_name(name) else None

    def _judge_link(self, absolute: str) -> Reason:
        try:
            target = os.path.realpath(absolute, strict=True)
        except OSError as error:
            return Reason.SYMLINK_LOOP if error.errno == errno.ELOOP else Reason.UNREADABLE
        if (os.path.dirname(absolute) + os.sep).startswith(target.rstrip(os.sep) + os.sep):
            return Reason.SYMLINK_LOOP
        return Reason.SYMLINK if target.startswith(self.root + os.sep) else Reason.SYMLINK_OUTSIDE

    def judge_status(self, absolute: str, status: os.stat_result) -> Reason | None:
        """Why a file is left out by what it is on disk."""
        if stat.S_ISLNK(status.st_mode):
            return self._judge_link(absolute)
        if stat.S_ISDIR(status.st_mode):
            return Reason.NESTED_REPOSITORY
        if not stat.S_ISREG(status.st_mode):
            return Reason.NOT_A_FILE
        if status.st_size > self._max_bytes:
            return Reason.OVERSIZE
        if status.st_size == 0:
            return Reason.EMPTY
        return None if os.access(absolute, os.R_OK) else Reason.UNREADABLE

    def judge(self, relative: str) -> LeftOut | os.stat_result | None:
        """What is left out and why, or the status of a file that may stand in; None where it is gone."""
        folder = self.judge_folder(relative.rpartition("/")[0])
        if folder is not None:
            return folder
        absolute = os.path.join(self.root, relative)
        try:
            status = os.lstat(absolute)
        except (OSError, ValueError) as error:
            gone = isinstance(error, OSError) and error.errno in (errno.ENOENT, errno.ENOTDIR)
            return None if gone else LeftOut(relative, Reason.UNREADABLE)
        if stat.S_ISDIR(status.st_mode):
            return None if absolute in self._inner else LeftOut(relative + "/", Reason.NESTED_REPOSITORY)
        if not stat.S_ISREG(status.st_mode):
            return LeftOut(relative, self.judge_status(absolute, status) or Reason.NOT_A_FILE)
        reason = self.judge_name(relative) or self.judge_status(absolute, status)
        return LeftOut(relative, reason) if reason else status


class _Walk:
    """Lists a root's files without git; `left_out` fills up while `files` is read."""

    def __init__(self, scan: _RootScan, cancelled: Callable[[], bool]) -> None:
        self._scan = scan
        self._rules = ignore.git_rules(scan.root)
        self._cancelled = cancelled
        self.left_out: dict[str, Reason] = {}

    def files(self, relative: str = "") -> Iterator[str]:
        """Relative paths of the files that no `.gitignore` ignores, folder by folder."""
        if self._cancelled():
            raise ScanCancelled
        try:
            with os.scandir(os.path.join(self._scan.root, relative)) as entries:
                found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
        except OSError:
            self.left_out[relative + "/"] = Reason.UNREADABLE
            return
        for name, is_folder in found:
            path = f"{relative}/{name}" if relative else name
            if name == ".git":
                continue
            verdict = self._scan.judge_folder(path) if is_folder else None
            if verdict is not None:
                self.left_out[verdict.path] = verdict.reason
            elif self._rules.ignores(path, is_folder=is_folder):
                self.left_out[path + "/" if is_folder else path] = _ignored_reason(path)
            elif is_folder:
                yield from self.files(path)
            else:
                yield path


def _ignored_reason(path: str) -> Reason:
    # The more telling reason wins: an ignored `.env` is a secret first.
    return Reason.SECRET if has_secret_name(path) else Reason.IGNORED


def _listing(
    scan: _RootScan, cancelled: Callable[[], bool]
) -> tuple[list[str], dict[str, Reason], list[str]]:
    """Relative paths to look at, paths left out already, and notes for the user."""
    try:
        listing = git.list_files(scan.root)
    except git.GitUnavailable as error:
        walk = _Walk(scan, cancelled)
        return list(walk.files()), walk.left_out, [str(error)] if str(error) else []
    left_out: dict[str, Reason] = {}
    for entry in listing.ignored:
        is_folder = entry.endswith("/")
        path = entry.rstrip("/")
        verdict = scan.judge_folder(path if is_folder else path.rpartition("/")[0])
        if verdict is not None:
            left_out[verdict.path] = verdict.reason
        else:
            left_out[entry] = _ignored_reason(path)
    return [path.rstrip("/") for path in listing.files], left_out, []


def _heats(root: str, files: Sequence[tuple[str, os.stat_result]]) -> dict[str, int]:
    """How likely each file is to change: by commits that touch it, or without history by its time stamp."""
    commits = git.commits_touching(root)
    if commits:
        return {path: min(4, commits.get(path, 0).bit_length()) for path, _ in files}
    newest = max((status.st_mtime_ns for _, status in files), default=0)
    week = 7 * 24 * 3600 * 10**9
    return {path: int(newest - status.st_mtime_ns < week) for path, status in files}


def scan_workspace(
    roots: Sequence[Root],
    settings: ContextSettings,
    progress: Progress = lambda done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> ScanResult:
    """Look at every file below the roots. Blocking: run it in an executor thread.

    Raises `ScanCancelled` soon after `cancelled()` turns true. A root that can't be read is only a note.
    """
    files: list[WorkspaceFile] = []
    left_out: list[LeftOut] = []
    notes: list[str] = []
    inner = frozenset(root.real for root in roots)
    seen: set[str] = set()
    # Innermost roots first, so that a file below two of them belongs to the deeper one.
    for root in sorted(roots, key=lambda root: (-len(root.real), root.real)):
        if not os.path.isdir(root.real):
            notes.append(gone_sentence(root.folder))
            continue
        prefix = prefix_of(root, roots)
        scan = _RootScan(root, settings, inner)
        paths, out, root_notes = _listing(scan, cancelled)
        notes += root_notes
        found: list[tuple[str, os.stat_result]] = []
        for index, relative in enumerate(paths):
            if index % _EVERY == 0:
                if cancelled():
                    raise ScanCancelled
                progress(index, len(paths))
            verdict = scan.judge(relative)
            if isinstance(verdict, LeftOut):
                out[verdict.path] = verdict.reason
            elif verdict is not None and os.path.join(root.real, relative) not in seen:
                found.append((relative, verdict))
        progress(len(paths), len(paths))
        heats = _heats(root.real, found)
        for relative, status in found:
            absolute = os.path.join(root.real, relative)
            seen.add(absolute)
            files.append(
                WorkspaceFile(
                    prefix + relative, absolute, status.st_size, status.st_mtime_ns, heats[relative]
                )
            )
        left_out += [LeftOut(prefix + path, reason) for path, reason in out.items()]
    files.sort(key=lambda file: file.path)
    left_out.sort(key=lambda entry: entry.path)
    return ScanResult(tuple(files), tuple(left_out), tuple(notes))


def check_paths(
    roots: Sequence[Root], settings: ContextSettings, paths: Iterable[str]
) -> dict[str, WorkspaceFile | Reason | None]:
    """What a scan would say of just these shown paths; None where there is no such file. Blocking."""
    answers: dict[str, WorkspaceFile | Reason | None] = {}
    by_root: dict[Root, list[tuple[str, str]]] = {}
    for path in sorted(set(paths)):
        split = split_shown(path, roots)
        if split is None:
            answers[path] = None
        else:
            by_root.setdefault(split[0], []).append((path, split[1]))
    inner = frozenset(root.real for root in roots)
    for root, wanted in by_root.items():
        scan = _RootScan(root, settings, inner)
        ignored = _ignored_among(root.real, [relative for _, relative in wanted])
        for path, relative in wanted:
            verdict = scan.judge(relative)
            if isinstance(verdict, LeftOut):
                answers[path] = verdict.reason
            elif verdict is None:
                answers[path] = None
            elif relative in ignored:
                answers[path] = Reason.IGNORED
            else:
                absolute = os.path.join(root.real, relative)
                answers[path] = WorkspaceFile(path, absolute, verdict.st_size, verdict.st_mtime_ns)
    return answers


def _ignored_among(root: str, relative: list[str]) -> frozenset[str]:
    try:
        listed = git.among_listed(root, tuple(relative))
    except git.GitUnavailable:
        rules = ignore.git_rules(root)
        return frozenset(path for path in relative if rules.ignores(path))
    return frozenset(relative) - listed
