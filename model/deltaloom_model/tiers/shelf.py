"""The cache folder: one subfolder for each salt, and what lies in it.

Invariant: only a folder that is this user's alone is read from or written to, and nothing in it is followed.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from deltaloom_model.tiers.block_file import SUFFIX, BlockRef

_OLD_TEMPORARY_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Salt:
    """What state depends on beside its tokens; `text` names all of it, the workspace first."""

    workspace: str
    text: bytes

    @property
    def folder_name(self) -> str:
        return f"{workspace_prefix(self.workspace)}{blake2b(self.text, digest_size=16).hexdigest()}"

    def path_hash(self, path: str) -> str:
        """What a file's name is written as: enough to find it again, not to read it."""
        return _hashed(f"{self.workspace}\0{path}")


@dataclass(slots=True)
class Entry:
    """One file on disk. `size` in bytes, `used` a file time in seconds."""

    size: int
    used: float


@dataclass(slots=True)
class Shelf:
    """The files of one salt, in a folder of their own: blocks by key, and all files by name. `texts` says in
    which file, as the how manieth, the ids of (path's hash, digest) stand, for all files `indexed`."""

    folder: Path
    blocks: dict[bytes, BlockRef] = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)
    texts: dict[tuple[str, str], tuple[str, int]] = field(default_factory=dict)
    indexed: set[str] = field(default_factory=set)

    def take_over(self, listed: Shelf) -> None:
        """This is what lies in the folder now."""
        self.blocks, self.entries = listed.blocks, listed.entries
        self._forget_texts(self.indexed - set(self.entries))

    def add(self, name: str, entry: Entry) -> None:
        """This file is there."""
        self.entries[name] = entry
        if (ref := BlockRef.parse(name)) is not None:
            self.blocks[ref.key] = ref

    def remove(self, name: str) -> int:
        """This file isn't there any more; returns the bytes it took."""
        ref = BlockRef.parse(name)
        if ref is not None and self.blocks.get(ref.key) == ref:
            del self.blocks[ref.key]
        self._forget_texts({name} & self.indexed)
        entry = self.entries.pop(name, None)
        return entry.size if entry else 0

    def _forget_texts(self, names: set[str]) -> None:
        if names:
            self.indexed -= names
            self.texts = {key: found for key, found in self.texts.items() if found[0] not in names}


def list_shelves(folder: Path, now: float) -> dict[str, Shelf]:
    """What the cache folder holds, by subfolder; what killed writers left there an hour ago is removed.

    Raises OSError when the folder can't be read, or isn't this user's alone.
    """
    if not os.path.lexists(folder):
        return {}
    if folder.is_symlink() or not is_private(folder):
        raise PermissionError(1, "it isn't a private folder of yours")
    with os.scandir(folder) as found:
        folders = [Path(entry.path) for entry in found if entry.is_dir(follow_symlinks=False)]
    shelves: dict[str, Shelf] = {}
    for path in folders:
        with contextlib.suppress(OSError):  # one that goes meanwhile, or can't be read, is none
            shelves[path.name] = _list_shelf(path, now)
    return shelves


def _list_shelf(folder: Path, now: float) -> Shelf:
    shelf = Shelf(folder)
    with os.scandir(folder) as found:
        for entry in found:
            try:
                info = entry.stat(follow_symlinks=False)
            except FileNotFoundError:  # another worker's temporary file, renamed by now
                continue
            if entry.name.startswith("tmp-"):
                if now - info.st_mtime > _OLD_TEMPORARY_SECONDS:
                    Path(entry.path).unlink(missing_ok=True)
            elif entry.name.endswith(SUFFIX) and entry.is_file(follow_symlinks=False):
                shelf.add(entry.name, Entry(info.st_size, info.st_mtime))
    return shelf


def count_children(shelves: Mapping[str, Shelf]) -> Counter[tuple[str, bytes]]:
    """How many blocks go on from each (folder, key)."""
    return Counter((name, ref.parent) for name, shelf in shelves.items() for ref in shelf.blocks.values())


def with_descendants(shelf: Shelf, names: list[str]) -> list[str]:
    """These files, and all blocks that can be used only with one of them."""
    doomed = {ref.key for name in names if (ref := BlockRef.parse(name)) is not None}
    found = dict.fromkeys(names)
    for ref in sorted(shelf.blocks.values(), key=lambda ref: ref.start):
        if ref.parent in doomed:
            doomed.add(ref.key)
            found[ref.name] = None
    return list(found)


def ids_name(texts: list[list[str]]) -> str:
    """The file that holds the token ids of these texts, each a path's hash and a digest."""
    return f"ids.{_hashed(repr(texts))}{SUFFIX}"


def is_ids_name(name: str) -> bool:
    """Is this such a file?"""
    return name.startswith("ids.") and name.endswith(SUFFIX)


def make_private(folder: Path) -> None:
    """Make the folder, mode 0700. Raises OSError, also when it is not this user's alone."""
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.mkdir(mode=0o700, exist_ok=True)
    if not is_private(folder):
        raise PermissionError(1, "it isn't a private folder of yours")


def is_private(folder: Path) -> bool:
    """Can nobody else enter this folder?"""
    info = folder.stat()
    return folder.is_dir() and info.st_uid == os.getuid() and not info.st_mode & 0o077


def workspace_prefix(workspace: str) -> str:
    """How the names of all of a workspace's subfolders begin."""
    return _hashed(workspace) + "-"


def _hashed(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
