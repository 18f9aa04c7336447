"""The disk tier: blocks of state in the user's cache folder, so that a restart reads next to nothing again.

Invariant: the folder never holds more than its budget for long, holds nothing of a purged file once `purge`
has returned, and no failure here (full disk, damage, another process's deletion) is more than a miss.

Blocks form chains by key: a block can be used only with all before it. So what is evicted are ends of chains,
the least recently used first. Files are written and removed on one thread of their own.
"""

from __future__ import annotations

import contextlib
import heapq
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from deltaloom_model.api import TierInfo
from deltaloom_model.checkpoint import PrefixHash
from deltaloom_model.tiers.block_file import (
    SUFFIX,
    Arrays,
    BlockRef,
    RefusedFile,
    read_facts,
    read_file,
    write_file,
)
from deltaloom_model.token_sequence import TokenIds

_MOST_PENDING_BYTES = 1 << 30
_OLD_TEMPORARY_SECONDS = 3600.0

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Entry:
    """One file on disk. `size` in bytes, `used` a file time in seconds."""

    size: int
    used: float


@dataclass(slots=True)
class _Shelf:
    """The files of one salt, in a folder of their own."""

    folder: Path
    blocks: dict[bytes, BlockRef] = field(default_factory=dict)
    entries: dict[str, _Entry] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Salt:
    """What state depends on beside its tokens; `text` names all of it, the workspace first."""

    workspace: str
    text: bytes

    @property
    def folder_name(self) -> str:
        return f"{_hashed(self.workspace)}-{blake2b(self.text, digest_size=16).hexdigest()}"

    def path_hash(self, path: str) -> str:
        """What a file's name is written as: enough to find it again, not to read it."""
        return _hashed(f"{self.workspace}\0{path}")


class DiskTier:
    """`folder` is made when it is first needed. `clock` gives the time in seconds (tests)."""

    def __init__(self, folder: Path, budget: int, clock: Callable[[], float] = time.time) -> None:
        self._folder, self._budget, self._clock = folder, budget, clock
        self._shelves: dict[str, _Shelf] = {}
        self._lock = threading.Lock()
        self._used = 0
        self._jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._pending: set[tuple[str, str]] = set()
        self._pending_bytes = 0
        self._idle = threading.Event()
        self._idle.set()
        self._purges = 0
        self._hits = 0
        self._refused = 0
        self._refusal = ""
        self._broken = ""
        self._list_folder()
        self._enforce_budget()
        threading.Thread(target=self._write, name="deltaloom-disk", daemon=True).start()

    # --- reading (forward thread) -----------------------------------------------------------------------

    def find(
        self, salt: Salt, prefix: PrefixHash, ids: TokenIds, at: int, is_held: Callable[[bytes], bool]
    ) -> list[BlockRef]:
        """The blocks that lead deepest into this line, each going on where the one before it ends.

        The first begins at 0 or at a key that `is_held`; the last has a state. Empty where there are none.
        `prefix` has read `at` tokens, `ids` come next.
        """
        with self._lock:
            shelf = self._shelves.get(salt.folder_name)
            blocks = dict(shelf.blocks) if shelf else {}
        positions = sorted({ref.end for ref in blocks.values() if at < ref.end <= at + len(ids)})
        met = [digest for _, digest in prefix.digests(ids, at, positions) if digest in blocks]
        for key in reversed(met):
            if not blocks[key].has_state:
                continue
            chain = [blocks[key]]
            while chain[-1].start > 0 and not is_held(chain[-1].parent) and chain[-1].parent in blocks:
                chain.append(blocks[chain[-1].parent])
            if chain[-1].start == 0 or is_held(chain[-1].parent):
                return chain[::-1]
        return []

    def read(self, salt: Salt, ref: BlockRef) -> Arrays | None:
        """The block's arrays, verified; None (and it is removed) where it can't be used."""
        expected = {"salt": salt.text.hex(), "key": ref.key.hex(), "start": ref.start, "end": ref.end}
        return self._read(salt, ref.name, expected)

    def token_ids(self, salt: Salt, path: str, digest: str) -> TokenIds | None:
        """The ids of a text that stood in a context before (its file may hold another by now), if kept."""
        name = _ids_name(salt, path, digest)
        with self._lock:
            shelf = self._shelves.get(salt.folder_name)
            if shelf is None or name not in shelf.entries:
                return None
        arrays = self._read(salt, name, {"salt": salt.text.hex(), "digest": digest})
        return None if arrays is None else arrays["ids"].astype(np.int32)

    def holds(self, salt: Salt, key: bytes) -> bool:
        """Is a block that ends at this key on disk, or on its way there?"""
        with self._lock:
            shelf = self._shelves.get(salt.folder_name)
            return shelf is not None and (
                key in shelf.blocks or (salt.folder_name, key.hex()) in self._pending
            )

    def _read(self, salt: Salt, name: str, expected: Mapping[str, Any]) -> Arrays | None:
        shelf = self._shelves[salt.folder_name]
        path = shelf.folder / name
        try:
            arrays = read_file(path, expected)
        except FileNotFoundError:  # another worker's eviction
            self._forget(shelf, name)
            return None
        except RefusedFile as refused:
            _log.warning("a cache file was refused: %s", refused)
            self._refused += 1
            self._refusal = str(refused)
            self._remove(shelf, name)
            return None
        now = self._clock()
        with self._lock:
            if (entry := shelf.entries.get(name)) is not None:
                entry.used = now
        with contextlib.suppress(OSError):
            os.utime(path, (now, now))
        self._hits += 1
        return arrays

    # --- writing ----------------------------------------------------------------------------------------

    def write(self, salt: Salt, ref: BlockRef, arrays: Arrays, paths: Collection[str]) -> bool:
        """Have a block written soon; `paths` are the files it holds tokens of. The arrays must never change.

        False when it can't be taken now: the disk can't be written to, or is too far behind.
        """
        facts = {
            "key": ref.key.hex(),
            "start": ref.start,
            "end": ref.end,
            "paths": sorted(salt.path_hash(path) for path in paths),
        }
        return self._enqueue(salt, ref.name, ref.key.hex(), arrays, facts, ref)

    def write_ids(self, salt: Salt, path: str, digest: str, ids: TokenIds) -> bool:
        """Have the ids of a text written that may have no file to be read from later."""
        facts = {"digest": digest, "paths": [salt.path_hash(path)]}
        name = _ids_name(salt, path, digest)
        shelf = self._shelf(salt)
        with self._lock:
            if name in shelf.entries:
                return True
        return self._enqueue(salt, name, name, {"ids": ids}, facts, None)

    def purge(self, workspace: str, paths: Collection[str]) -> int:
        """Remove everything of this workspace that holds tokens of these files; returns how many files.

        Waits for writes under way: what is written later is the business of those who purge first.
        """
        self._purges += 1
        self.flush(30.0)
        salt = Salt(workspace, b"")
        hashes = {salt.path_hash(path) for path in paths}
        removed = 0
        for name, shelf in list(self._shelves.items()):
            if not name.startswith(_hashed(workspace) + "-"):
                continue
            doomed = [
                entry
                for entry in list(shelf.entries)
                if hashes & set(read_facts(shelf.folder / entry).get("paths", ()))
            ]
            keys = {ref.key for entry in doomed if (ref := BlockRef.parse(entry)) is not None}
            doomed += [ref.name for ref in _descendants(shelf.blocks, keys)]
            for entry in dict.fromkeys(doomed):
                self._remove(shelf, entry)
                removed += 1
        return removed

    def flush(self, seconds: float) -> bool:
        """Wait until everything taken has been written, at most so long; False when it hasn't."""
        return self._idle.wait(seconds)

    def info(self) -> TierInfo:
        """What `status` shows."""
        with self._lock:
            states = sum(ref.has_state for shelf in self._shelves.values() for ref in shelf.blocks.values())
            reason = self._broken or self._refusal
            return TierInfo("disk", self._budget, self._used, states, self._hits, self._refused, reason)

    def _enqueue(
        self, salt: Salt, name: str, mark: str, arrays: Arrays, facts: dict[str, Any], ref: BlockRef | None
    ) -> bool:
        size = sum(array.nbytes for array in arrays.values())
        shelf = self._shelf(salt)
        pending = (salt.folder_name, mark)
        with self._lock:
            if self._broken or size > self._budget or self._pending_bytes + size > _MOST_PENDING_BYTES:
                return False
            if pending in self._pending:
                return True
            self._pending.add(pending)
            self._pending_bytes += size
            self._idle.clear()
        purges = self._purges

        def job() -> None:
            try:
                if purges == self._purges:
                    self._write_now(shelf, name, arrays, facts | {"salt": salt.text.hex()}, ref)
            finally:
                with self._lock:
                    self._pending.discard(pending)
                    self._pending_bytes -= size
                    if not self._pending:
                        self._idle.set()

        self._jobs.put(job)
        return True

    def _write(self) -> None:
        while True:
            job = self._jobs.get()
            try:
                job()
            except OSError as error:
                self._broken = f"can't be written to ({error.strerror})"
                _log.warning("the cache folder %s; state is kept in memory only", self._broken)
                with contextlib.suppress(Empty):
                    while True:  # nothing further will fit either
                        self._jobs.get_nowait()
                with self._lock:
                    self._pending.clear()
                    self._pending_bytes = 0
                    self._idle.set()
            except Exception:
                _log.exception("writing a cache file failed")

    def _write_now(
        self, shelf: _Shelf, name: str, arrays: Arrays, facts: dict[str, Any], ref: BlockRef | None
    ) -> None:
        _private(self._folder)
        _private(shelf.folder)
        size = write_file(shelf.folder / name, arrays, facts)
        with self._lock:
            old = shelf.entries.get(name)
            self._used += size - (old.size if old else 0)
            shelf.entries[name] = _Entry(size, self._clock())
            if ref is not None:
                shelf.blocks[ref.key] = ref
        self._enforce_budget()

    # --- the budget -------------------------------------------------------------------------------------

    def _enforce_budget(self) -> None:
        if self._used <= self._budget:
            return
        with self._lock:
            children = Counter(
                (shelf.folder.name, ref.parent)
                for shelf in self._shelves.values()
                for ref in shelf.blocks.values()
            )
            heap = [
                (entry.used, shelf.folder.name, name)
                for shelf in self._shelves.values()
                for name, entry in shelf.entries.items()
                if not _has_children(children, shelf, name)
            ]
        heapq.heapify(heap)
        while heap and self._used > self._budget:
            _, folder, name = heapq.heappop(heap)
            shelf = self._shelves[folder]
            ref = BlockRef.parse(name)
            self._remove(shelf, name)
            if ref is None or not ref.parent:
                continue
            children[folder, ref.parent] -= 1
            parent = shelf.blocks.get(ref.parent)
            if parent is not None and not children[folder, ref.parent]:
                heapq.heappush(heap, (shelf.entries[parent.name].used, folder, parent.name))

    def _remove(self, shelf: _Shelf, name: str) -> None:
        with contextlib.suppress(OSError):
            (shelf.folder / name).unlink()
        self._forget(shelf, name)

    def _forget(self, shelf: _Shelf, name: str) -> None:
        ref = BlockRef.parse(name)
        with self._lock:
            entry = shelf.entries.pop(name, None)
            self._used -= entry.size if entry else 0
            if ref is not None and shelf.blocks.get(ref.key) == ref:
                del shelf.blocks[ref.key]

    # --- the folder -------------------------------------------------------------------------------------

    def _shelf(self, salt: Salt) -> _Shelf:
        with self._lock:
            return self._shelves.setdefault(salt.folder_name, _Shelf(self._folder / salt.folder_name))

    def _list_folder(self) -> None:
        try:
            if self._folder.is_symlink() or (self._folder.exists() and not _is_private(self._folder)):
                self._broken = "isn't a private folder of yours"
                return
            folders = [entry for entry in os.scandir(self._folder) if entry.is_dir(follow_symlinks=False)]
            for folder in folders:
                self._list_shelf(Path(folder.path))
        except FileNotFoundError:
            return
        except OSError as error:
            self._broken = f"can't be read ({error.strerror})"

    def _list_shelf(self, folder: Path) -> None:
        shelf = self._shelves[folder.name] = _Shelf(folder)
        for entry in os.scandir(folder):
            info = entry.stat(follow_symlinks=False)
            if entry.name.startswith("tmp-"):
                if self._clock() - info.st_mtime > _OLD_TEMPORARY_SECONDS:  # its writer was killed
                    Path(entry.path).unlink(missing_ok=True)
            elif entry.name.endswith(SUFFIX) and entry.is_file(follow_symlinks=False):
                shelf.entries[entry.name] = _Entry(info.st_size, info.st_mtime)
                self._used += info.st_size
                if (ref := BlockRef.parse(entry.name)) is not None:
                    shelf.blocks[ref.key] = ref


def _has_children(children: Counter[tuple[str, bytes]], shelf: _Shelf, name: str) -> bool:
    ref = BlockRef.parse(name)
    return ref is not None and children[shelf.folder.name, ref.key] > 0


def _descendants(blocks: Mapping[bytes, BlockRef], keys: set[bytes]) -> list[BlockRef]:
    """All blocks that can be used only with one of these."""
    found: list[BlockRef] = []
    doomed = set(keys)
    for ref in sorted(blocks.values(), key=lambda ref: ref.start):
        if ref.parent in doomed and ref.key not in keys:
            doomed.add(ref.key)
            found.append(ref)
    return found


def _ids_name(salt: Salt, path: str, digest: str) -> str:
    return f"ids.{digest}.{salt.path_hash(path)}{SUFFIX}"


def _hashed(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _is_private(folder: Path) -> bool:
    info = folder.stat()
    return info.st_uid == os.getuid() and not info.st_mode & 0o077


def _private(folder: Path) -> None:
    """Make the folder, mode 0700. Raises OSError, also when it is not this user's alone."""
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.mkdir(mode=0o700, exist_ok=True)
    if not _is_private(folder):
        raise PermissionError(13, "others can enter it")
