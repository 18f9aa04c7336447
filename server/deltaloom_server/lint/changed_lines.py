"""Which lines changed since a commit, as git sees it, nothing of the repository's configuration being run.

Invariant: a line counts as unchanged only where git says so; a file that git doesn't know counts as changed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from deltaloom_server.context.git import GitUnavailable, git_output
from deltaloom_server.errors import WorkspaceError
from deltaloom_server.security.finding import Span

_HUNK = re.compile(rb"@@ -\d+(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_ESCAPE = re.compile(rb"\\([0-7]{3}|.)")
_ESCAPES = {b"a": b"\a", b"b": b"\b", b"t": b"\t", b"n": b"\n", b"v": b"\v", b"f": b"\f", b"r": b"\r"}
_DEFAULT_BRANCHES = ("refs/remotes/origin/HEAD", "origin/main", "origin/master", "main", "master")


@dataclass(frozen=True)
class Changes:
    """What changed since the commit `base`, below the folder that was asked about.

    `lines`: for each changed file the ranges [first, last) of its changed lines, from 0, in order. A file in
    `new` is changed in every line.
    """

    base: str
    lines: Mapping[str, tuple[tuple[int, int], ...]]
    new: frozenset[str]

    @property
    def files(self) -> frozenset[str]:
        """The files in which a line changed or was added."""
        return self.new | frozenset(path for path, ranges in self.lines.items() if ranges)

    def touch(self, path: str, span: Span) -> bool:
        """Does a changed line lie in `span`?"""
        return path in self.new or any(
            first <= span.end_line and span.start_line < last for first, last in self.lines.get(path, ())
        )


def changes_since(root: str, revision: str = "") -> Changes:
    """What changed in the work tree below `root` since HEAD left `revision` ("": the default branch).

    Raises `WorkspaceError` where git can't tell.
    """
    try:
        base = _merge_base(root, revision)
        off = _filters(root)
        diff = git_output(
            root, "diff-index", "--patch", "--unified=0", "--inter-hunk-context=0", "--find-renames",
            "--no-color", "--no-ext-diff", "--no-textconv", "--ignore-submodules=all", "--relative",
            "--src-prefix=a/", "--dst-prefix=b/", base, doing="compare with " + base, switched_off=off,
        )  # fmt: skip
        others = git_output(
            root, "ls-files", "-z", "--others", "--exclude-standard", doing="list the new files"
        )
    except GitUnavailable as error:
        why = str(error) or f"{root} is in no git repository"
        raise WorkspaceError(
            f"{why}, so what changed isn't known: leave out --changed-lines and --diff-base."
        ) from None
    new = frozenset(os.fsdecode(path) for path in others.split(b"\0") if path)
    return Changes(base, {os.fsdecode(path): ranges for path, ranges in parse_diff(diff)}, new)


def parse_diff(diff: bytes) -> Iterator[tuple[bytes, tuple[tuple[int, int], ...]]]:
    """The changed ranges of each file that a diff without context leaves behind."""
    path = b""
    ranges: list[tuple[int, int]] = []
    inside = 0  # lines of the hunk that are still to come: they may look like anything
    for line in diff.split(b"\n"):
        if inside:
            inside -= not line.startswith(b"\\")
        elif line.startswith(b"diff --git "):
            if path:
                yield path, tuple(ranges)
            path, ranges = b"", []
        elif line.startswith(b"+++ "):
            path = _path(line[4:])
        elif match := _HUNK.match(line):
            start, count = int(match[2]), int(match[3] or b"1")
            inside = int(match[1] or b"1") + count
            if count:
                ranges.append((start - 1, start - 1 + count))
    if path:
        yield path, tuple(ranges)


def _path(word: bytes) -> bytes:
    """A path as git writes it after `+++`; empty for /dev/null."""
    word = word.removesuffix(b"\t")
    if word.startswith(b'"') and word.endswith(b'"'):
        word = _ESCAPE.sub(_unescape, word[1:-1])
    return word[2:] if word.startswith(b"b/") else b""


def _unescape(match: re.Match[bytes]) -> bytes:
    code = match[1]
    return bytes([int(code, 8) & 0xFF]) if len(code) == 3 else _ESCAPES.get(code, code)


def _merge_base(root: str, revision: str) -> str:
    wanted = revision or next((one for one in _DEFAULT_BRANCHES if _commit(root, one)), "")
    if not wanted:
        raise WorkspaceError("The default branch isn't known here: name a commit with --diff-base.")
    git_output(root, "rev-parse", "--git-dir", doing="find the repository")
    if not (commit := _commit(root, wanted)):
        raise WorkspaceError(f"git knows no commit {wanted!r} here: fetch it first, or name another one.")
    if not (head := _commit(root, "HEAD")):
        raise WorkspaceError("The repository has no commit yet, so there is nothing to compare with.")
    try:
        return git_output(root, "merge-base", commit, head, doing="find a common commit").decode().split()[0]
    except (GitUnavailable, IndexError):
        raise WorkspaceError(
            f"HEAD and {wanted} have no common commit here: fetch more of the history (a shallow clone has "
            "only its end)."
        ) from None


def _commit(root: str, revision: str) -> str:
    """The commit that a revision names; "" where there is none."""
    try:
        word = f"{revision}^{{commit}}"
        return (
            git_output(root, "rev-parse", "--verify", "--quiet", word, doing="read a name").decode().strip()
        )
    except GitUnavailable as error:
        if "installed" in str(error) or not str(error):
            raise
        return ""


def _filters(root: str) -> tuple[str, ...]:
    """Keys that name programs which git would run over changed files: the repository may have set them."""
    try:
        keys = git_output(
            root, "config", "-z", "--name-only", "--get-regexp", r"^filter\.", doing="read its settings"
        )
    except GitUnavailable:
        return ()  # exit status 1: there are none
    names = {key.rpartition(".")[0] for key in os.fsdecode(keys).split("\0") if key}
    return tuple(f"{name}.{what}" for name in sorted(names) for what in ("clean", "process", "required"))
