"""Copy a workspace folder to try something on.

Invariant: nothing outside the folder gets into the copy, not through a link either, and a folder larger than
the limits is refused before it fills the disk.
"""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Final

LEFT_OUT: Final = frozenset(
    {".git", ".hg", ".svn", ".venv", "venv", "node_modules", "__pycache__", ".tox", ".nox"}
    | {".mypy_cache", ".ruff_cache", ".pytest_cache"}
)
"""Folders that no copy needs: histories (their hooks run code), environments, caches."""


@dataclass(frozen=True, slots=True)
class CopyLimits:
    """How much is copied at most."""

    bytes: int = 512 << 20
    files: int = 50_000


def copy_folder(root: Path, target: Path, limits: CopyLimits, left_out: frozenset[str] = LEFT_OUT) -> None:
    """Copy `root` to `target` (which must not exist), without `left_out`, pipes, sockets and devices.

    A link to something inside stays one, to the copy of it; one that leads out is left out. Raises OSError
    for what can't be read and ValueError for a folder beyond the limits, in words a user understands.
    """
    root = root.resolve(strict=True)
    target.mkdir()
    size = files = 0
    for folder, names, file_names in os.walk(root, onerror=_raise):
        here = target / os.path.relpath(folder, root)
        links = [name for name in names if os.path.islink(os.path.join(folder, name))]
        names[:] = [name for name in names if name not in left_out and name not in links]
        for name in names:
            (here / name).mkdir()
        for name in (*file_names, *links):
            source = Path(folder, name)
            state = source.lstat()
            if stat.S_ISLNK(state.st_mode):
                _copy_link(root, source, target, here / name, left_out)
            elif stat.S_ISREG(state.st_mode) and name not in left_out:
                size, files = size + state.st_size, files + 1
                if size > limits.bytes or files > limits.files:
                    raise ValueError(f"it holds more than {limits.files} files or {limits.bytes >> 20} MiB")
                shutil.copy(source, here / name, follow_symlinks=False)


def folder_state(root: Path, left_out: frozenset[str] = LEFT_OUT) -> bytes:
    """A digest that is another one when what `copy_folder` copies has changed, as sizes and times tell.
    Blocking. Raises OSError."""
    digest = blake2b(digest_size=16)
    for folder, names, file_names in os.walk(root.resolve(strict=True), onerror=_raise):
        names[:] = sorted(name for name in names if name not in left_out)
        for name in sorted((*names, *file_names)):
            path = os.path.join(folder, name)
            state = os.lstat(path)
            told = [path, state.st_mode]
            if stat.S_ISREG(state.st_mode):
                told += [state.st_size, state.st_mtime_ns]
            elif stat.S_ISLNK(state.st_mode):
                told.append(os.readlink(path))
            digest.update(f"{told}\n".encode())
    return digest.digest()


def _copy_link(root: Path, link: Path, target: Path, here: Path, left_out: frozenset[str]) -> None:
    try:
        inside = link.resolve(strict=True).relative_to(root)
    except (OSError, RuntimeError, ValueError):
        return
    if not left_out.intersection(inside.parts):
        here.symlink_to(os.path.relpath(target / inside, here.parent))


def _raise(error: OSError) -> None:
    raise error
