"""Ignore files of one workspace root, read without git: `.gitignore` and `.deltaloomignore`, nested.

Invariant: a path is ignored exactly when the last matching pattern, deepest ignore file first, says so, or
when a folder above it is ignored (gitignore(5)).
"""

from __future__ import annotations

import os

from pathspec import GitIgnoreSpec

from .reading import read_bytes
from .reasons import Reason

GIT_IGNORE = ".gitignore"
OWN_IGNORE = ".deltaloomignore"
IGNORE_FILE_BYTES = 1 << 20


def _spec_of(lines: list[str]) -> GitIgnoreSpec | None:
    try:
        spec = GitIgnoreSpec.from_lines(lines)
    except ValueError:
        # One pattern that can't be parsed must not switch the others off.
        spec = GitIgnoreSpec([])
        for line in lines:
            try:
                spec += GitIgnoreSpec.from_lines([line])
            except ValueError:
                continue
    return spec if len(spec.patterns) else None


def read_patterns(absolute: str) -> GitIgnoreSpec | None:
    """The patterns of one ignore file; None where there is none, or it isn't a small regular file."""
    data = read_bytes(absolute, IGNORE_FILE_BYTES)
    return None if isinstance(data, Reason) else _spec_of(data.decode("utf-8", "replace").splitlines())


class IgnoreRules:
    """All ignore files called `name` below `root`, read when first needed.

    `first` are patterns of lower precedence than any file (`.git/info/exclude`, or a setting).
    """

    def __init__(self, root: str, name: str | None, first: GitIgnoreSpec | None = None) -> None:
        self._root = root
        self._name = name
        self._first = first
        self._specs: dict[str, GitIgnoreSpec | None] = {}
        self._folders: dict[str, bool] = {"": False}

    def ignores(self, relative: str, *, is_folder: bool = False) -> bool:
        """Is this path (relative to the root, forward slashes, no slash at the end) ignored?"""
        folder, _, _ = relative.rpartition("/")
        if self._folder_ignored(folder):
            return True
        return self._folder_ignored(relative) if is_folder else self._matches(relative, folder, "")

    def _folder_ignored(self, relative: str) -> bool:
        known = self._folders.get(relative)
        if known is None:
            parent, _, _ = relative.rpartition("/")
            known = self._folder_ignored(parent) or self._matches(relative, parent, "/")
            self._folders[relative] = known
        return known

    def _matches(self, relative: str, folder: str, mark: str) -> bool:
        while True:
            spec = self._spec(folder)
            if spec is not None:
                below = relative[len(folder) + 1 :] if folder else relative
                verdict = spec.check_file(below + mark).include
                if verdict is not None:
                    return verdict
            if not folder:
                break
            folder, _, _ = folder.rpartition("/")
        return self._first is not None and self._first.check_file(relative + mark).include is True

    def _spec(self, folder: str) -> GitIgnoreSpec | None:
        if self._name is None:
            return None
        if folder not in self._specs:
            self._specs[folder] = read_patterns(os.path.join(self._root, folder, self._name))
        return self._specs[folder]


def git_rules(root: str) -> IgnoreRules:
    """`.gitignore` files and `.git/info/exclude`, for a folder where git itself can't be asked."""
    return IgnoreRules(root, GIT_IGNORE, read_patterns(os.path.join(root, ".git", "info", "exclude")))


def own_rules(root: str) -> IgnoreRules:
    """`.deltaloomignore` files."""
    return IgnoreRules(root, OWN_IGNORE)


def setting_rules(root: str, patterns: tuple[str, ...]) -> IgnoreRules:
    """The `context.exclude` setting, relative to each root."""
    return IgnoreRules(root, None, _spec_of(list(patterns)) if patterns else None)
