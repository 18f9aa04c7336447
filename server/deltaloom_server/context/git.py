"""Asking git which files a workspace has, without letting the repository's configuration run anything.

Invariant: no call here writes to the repository, runs a hook, filter, pager, file system monitor or signature
check, reaches the network, or outlives its time limit.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

_SAFE = (
    "--no-pager", "--literal-pathspecs", "--no-optional-locks",
    "-c", "core.fsmonitor=false",
    "-c", "core.hooksPath=/dev/null",
    "-c", "core.untrackedCache=false",
    "-c", "safe.bareRepository=explicit",
    "-c", "protocol.allow=never",
    "-c", "log.showSignature=false",
    "-c", "diff.external=",
)  # fmt: skip

_SECONDS = 60.0
_HISTORY = 200
_BATCH = 500
_WHOLE = "./"  # how git lists the folder that it runs in
_WITHOUT = "so .gitignore files are read without it."
_OUTER = "An outer git repository ignores this folder, so its files are listed without git."


class GitUnavailable(Exception):
    """git can't answer for this folder: one sentence, or empty when it simply isn't a work tree."""


@dataclass(frozen=True)
class GitListing:
    """Relative paths with forward slashes. `ignored` has folders ignored as a whole, with a slash."""

    files: tuple[str, ...]
    ignored: tuple[str, ...]


def find_git(root: str) -> str | None:
    """The git program on PATH, unless it lies in the workspace: that may not name an executable."""
    found = shutil.which("git")
    if found is None or not os.path.isabs(found):
        return None
    real = os.path.realpath(found)
    return None if real.startswith(os.path.realpath(root) + os.sep) else real


def _environment() -> dict[str, str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    environment |= {
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "LC_ALL": "C",
    }
    return environment


def git_output(
    root: str, *arguments: str, paths: tuple[str, ...] = (), doing: str, switched_off: tuple[str, ...] = ()
) -> bytes:
    """What one git command says in `root`. Keys in `switched_off` count as empty in its configuration.

    Raises `GitUnavailable`, whose sentence has no full stop yet ("git can't <doing> (why)").
    """
    program = find_git(root)
    if program is None:
        raise GitUnavailable("git isn't installed")
    command = [program, *_SAFE, *arguments, *(("--", *paths) if paths else ())]
    environment = _environment()
    if switched_off:
        # Not with -c: a key that holds an equals sign would be cut there.
        environment["GIT_CONFIG_COUNT"] = str(len(switched_off))
        for number, key in enumerate(switched_off):
            environment |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": ""}
    try:
        done = subprocess.run(
            command, cwd=root, env=environment, stdin=subprocess.DEVNULL, capture_output=True,
            timeout=_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise GitUnavailable(f"git took over {_SECONDS:.0f} s") from None
    except (OSError, ValueError) as error:
        raise GitUnavailable(f"git can't be run ({error})") from None
    if done.returncode != 0:
        message = done.stderr.decode("utf-8", "replace").strip().splitlines()
        if any("not a git repository" in line for line in message):
            raise GitUnavailable("")
        detail = message[0] if message else f"exit status {done.returncode}"
        raise GitUnavailable(f"git can't {doing} ({detail})")
    return done.stdout


def _run(root: str, *arguments: str, paths: tuple[str, ...] = ()) -> list[str]:
    """Run one git command in `root` and split its output at NUL. Raises `GitUnavailable`."""
    try:
        output = git_output(root, *arguments, paths=paths, doing="list the files")
    except GitUnavailable as error:
        raise GitUnavailable(f"{error}, {_WITHOUT}" if str(error) else "") from None
    return [os.fsdecode(entry) for entry in output.split(b"\0") if entry]


def blobs_at(root: str, revision: str) -> dict[str, str]:
    """The object names of all files below `root` in a revision, by relative path.

    Raises `GitUnavailable` where there is no repository or no such revision.
    """
    _check_revision(revision)
    blobs: dict[str, str] = {}
    for entry in _run(root, "ls-tree", "-r", "-z", revision):
        about, _, path = entry.partition("\t")
        _mode, kind, name = about.split(" ")
        if kind == "blob":
            blobs[path] = name
    return blobs


def file_at(root: str, relative: str, revision: str) -> bytes | None:
    """What a file below `root` holds in a revision; None where the revision doesn't have it.

    Raises `GitUnavailable` where there is no repository or no such revision.
    """
    _check_revision(revision)
    try:
        return git_output(root, "cat-file", "blob", f"{revision}:./{relative}", doing="read a former text")
    except GitUnavailable as error:
        if "does not exist in" in str(error) or "but not in" in str(error):
            return None
        raise


def _check_revision(revision: str) -> None:
    if revision.startswith("-") or ":" in revision or not revision.isprintable():
        raise GitUnavailable(f"{revision[:40]!r} can't be a git revision; set security.base to one.")


def list_files(root: str) -> GitListing:
    """Tracked and untracked files below `root` that git doesn't ignore, and what it ignores.

    Raises `GitUnavailable`, also when the folder as a whole is ignored by an outer repository: someone who
    opens it means its files, not the outer repository's view of them.
    """
    files = _run(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    ignored = _ignored_listing(root)
    if not files and _WHOLE in ignored:
        raise GitUnavailable(_OUTER)
    return GitListing(tuple(sorted(set(files))), tuple(sorted(set(ignored) - {_WHOLE})))


def _ignored_listing(root: str) -> list[str]:
    return _run(root, "ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory")


def among_listed(root: str, relative: Sequence[str]) -> frozenset[str]:
    """Which of these relative paths git lists as files of the work tree. Raises `GitUnavailable`."""
    listed: set[str] = set()
    for start in range(0, len(relative), _BATCH):
        batch = tuple(relative[start : start + _BATCH])
        listed.update(_run(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard", paths=batch))
    if relative and not listed and _WHOLE in _ignored_listing(root):
        raise GitUnavailable(_OUTER)
    return frozenset(listed)


def commits_touching(root: str) -> dict[str, int]:
    """How many of the newest 200 commits touch each path below `root`; empty where there is no history."""
    try:
        names = _run(
            root, "log", "-z", f"--max-count={_HISTORY}", "--no-merges", "--format=", "--name-only",
            "--no-renames", "--relative", "--no-ext-diff", "--no-textconv", "--no-show-signature",
            paths=(".",),
        )  # fmt: skip
    except GitUnavailable:
        return {}
    return dict(Counter(name.lstrip("\n") for name in names))
