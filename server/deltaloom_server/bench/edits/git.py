"""A git repository with two branches, made with git itself.

Invariant: no configuration and no hook of the user's or the system's takes part.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

from deltaloom_server.errors import DeltaloomError

from .scenarios import MAIN_BRANCH, OTHER_BRANCH

_SETTINGS = (
    "user.name=bench",
    "user.email=bench@localhost",
    "commit.gpgsign=false",
    "core.hooksPath=/dev/null",
    "core.autocrlf=false",
    "gc.auto=0",
)


async def make_repository(root: Path, files: Mapping[str, str], branch: Mapping[str, str]) -> None:
    """Commit `files` on one branch, and those that differ on another; the first is checked out."""
    await _write(root, files)
    await _git(root, "init", "--quiet", "--template=")
    await _git(root, "checkout", "--quiet", "-b", MAIN_BRANCH)
    await _commit(root)
    await _git(root, "checkout", "--quiet", "-b", OTHER_BRANCH)
    await _write(root, branch)
    await _commit(root)
    await checkout(root, MAIN_BRANCH)


async def checkout(root: Path, branch: str) -> None:
    """Switch to a branch. Raises DeltaloomError where git can't."""
    await _git(root, "checkout", "--quiet", branch)


async def _write(root: Path, files: Mapping[str, str]) -> None:
    for path, text in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8", newline="")


async def _commit(root: Path) -> None:
    await _git(root, "add", "--all")
    await _git(root, "commit", "--quiet", "--message=Files to edit")


async def _git(root: Path, *arguments: str) -> None:
    # Variables such as GIT_DIR (git sets them for its hooks) would lead to another repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    settings = [part for setting in _SETTINGS for part in ("-c", setting)]
    try:
        process = await asyncio.create_subprocess_exec(
            "git",
            *settings,
            *arguments,
            cwd=root,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
    except FileNotFoundError:
        raise DeltaloomError("git wasn't found; install it: one of the edits is a branch switch.") from None
    _, errors = await process.communicate()
    if process.returncode:
        said = errors.decode("utf-8", "replace").strip().splitlines()
        raise DeltaloomError(f"git {arguments[0]} failed: {said[-1] if said else 'it said nothing'}.")
