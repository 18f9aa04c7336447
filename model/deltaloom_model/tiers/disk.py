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
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from deltaloom_model.api import TierInfo
from deltaloom_model.checkpoint import PrefixHash
from deltaloom_model.tiers.block_file import (
    Arrays,
    BlockRef,
    RefusedFile,
    read_facts,
    read_file,
    write_file,
)
from deltaloom_model.tiers.shelf import (
    Entry,
    Salt,
    Shelf,
    count_children,
    ids_name,
    is_ids_name,
    list_shelves,
    make_private,
    with_descendants,
    workspace_prefix,
)
from deltaloom_model.token_sequence import TokenIds

_MOST_PENDING_BYTES = 1 << 30
_RETRY_SECONDS = 60.0
_LISTING_SECONDS = 300.0

_log = logging.getLogger(__name__)


class DiskTier:
    """`folder` is made when it is first needed. `clock` gives the time in seconds (tests)."""

    def __init__(self, folder: Path, budget: int, clock: Callable[[], float] = time.time) -> None:
        self._folder, self._budget, self._clock = folder, budget, clock
        self._shelves: dict[str, Shelf] = {}
        self._lock = threading.Lock()
        self._used = 0
        self._listed_at = 0.0
        self._jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._pending: set[tuple[str, str]] = set()
        self._pending_bytes = 0
        self._last_ids: tuple[str, str, Arrays] | None = None
        self._idle = threading.Event()
        self._idle.set()
        self._purges: Counter[str] = Counter()
        self._hits = 0
        self._refused = 0
        self._refusal = ""
        self._broken = ""
        self._broken_until = 0.0
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
        with self._lock:
            shelf = self._shelves.get(salt.folder_name)
        if shelf is None:
            return None
        self._index_texts(shelf)
        found = shelf.texts.get((salt.path_hash(path), digest))
        if found is None:
            return None
        name, number = found
        if self._last_ids is None or self._last_ids[:2] != (salt.folder_name, name):
            arrays = self._read(salt, name, {"salt": salt.text.hex()})
            if arrays is None:
                return None
            self._last_ids = salt.folder_name, name, arrays
        arrays = self._last_ids[2]
        start = int(arrays["ends"][number - 1]) if number else 0
        return arrays["ids"][start : int(arrays["ends"][number])].astype(np.int32)

    def _index_texts(self, shelf: Shelf) -> None:
        """Know which file holds which text's ids, by the headers of those that aren't known yet."""
        with self._lock:
            new = [name for name in shelf.entries if is_ids_name(name) and name not in shelf.indexed]
        for name in new:
            shelf.indexed.add(name)
            for number, (path_hash, digest) in enumerate(read_facts(shelf.folder / name).get("texts", [])):
                shelf.texts[path_hash, digest] = name, number

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
        return self._enqueue(salt, ref.name, ref.key.hex(), arrays, facts)

    def write_ids(self, salt: Salt, texts: Sequence[tuple[str, str, TokenIds]]) -> bool:
        """Have the ids of texts written, each with its path and digest: what a context is laid out from may
        have no file to be read from later."""
        if not texts:
            return True
        hashes = {path: salt.path_hash(path) for path, _, _ in texts}
        marks = [[hashes[path], digest] for path, digest, _ in texts]
        name = ids_name(marks)
        shelf = self._shelf(salt)
        with self._lock:
            if name in shelf.entries:
                return True
        arrays = {
            "ids": np.concatenate([ids for _, _, ids in texts]),
            "ends": np.cumsum([len(ids) for _, _, ids in texts], dtype=np.int64),
        }
        facts = {"texts": marks, "paths": sorted(set(hashes.values()))}
        return self._enqueue(salt, name, name, arrays, facts)

    def purge(self, workspace: str, paths: Collection[str]) -> int:
        """Remove everything of this workspace that holds tokens of these files; returns how many files.

        Waits for writes under way: what is written later is the business of those who purge first.
        """
        self._purges[workspace] += 1
        self.flush(30.0)
        self._list_folder()  # another worker may have written since
        self._last_ids = None
        salt = Salt(workspace, b"")
        hashes = {salt.path_hash(path) for path in paths}
        removed = 0
        for name, shelf in list(self._shelves.items()):
            if not name.startswith(workspace_prefix(workspace)):
                continue
            doomed = [
                entry
                for entry in list(shelf.entries)
                if hashes & set(read_facts(shelf.folder / entry).get("paths", ()))
            ]
            for entry in with_descendants(shelf, doomed):
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

    def _enqueue(self, salt: Salt, name: str, mark: str, arrays: Arrays, facts: dict[str, Any]) -> bool:
        size = sum(array.nbytes for array in arrays.values())
        shelf = self._shelf(salt)
        pending = (salt.folder_name, mark)
        with self._lock:
            if self._broken and self._clock() < self._broken_until:
                return False
            self._broken = ""
            if size > self._budget or self._pending_bytes + size > _MOST_PENDING_BYTES:
                return False
            if pending in self._pending:
                return True
            self._pending.add(pending)
            self._pending_bytes += size
            self._idle.clear()
        purges = self._purges[salt.workspace]

        def job() -> None:
            try:
                if purges == self._purges[salt.workspace]:
                    self._write_now(shelf, name, arrays, facts | {"salt": salt.text.hex()})
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
                self._broken_until = self._clock() + _RETRY_SECONDS
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

    def _write_now(self, shelf: Shelf, name: str, arrays: Arrays, facts: dict[str, Any]) -> None:
        make_private(self._folder)
        make_private(shelf.folder)
        size = write_file(shelf.folder / name, arrays, facts)
        with self._lock:
            old = shelf.entries.get(name)
            self._used += size - (old.size if old else 0)
            shelf.add(name, Entry(size, self._clock()))
        self._enforce_budget()

    # --- the budget -------------------------------------------------------------------------------------

    def _enforce_budget(self) -> None:
        if self._clock() - self._listed_at > _LISTING_SECONDS:
            self._list_folder()  # other workers write there too
        if self._used <= self._budget:
            return
        with self._lock:
            children = count_children(self._shelves)
            heap = [
                (entry.used, shelf.folder.name, name)
                for shelf in self._shelves.values()
                for name, entry in shelf.entries.items()
                if (ref := BlockRef.parse(name)) is None or not children[shelf.folder.name, ref.key]
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

    def _remove(self, shelf: Shelf, name: str) -> None:
        with contextlib.suppress(OSError):
            (shelf.folder / name).unlink()
        self._forget(shelf, name)

    def _forget(self, shelf: Shelf, name: str) -> None:
        with self._lock:
            self._used -= shelf.remove(name)

    def _shelf(self, salt: Salt) -> Shelf:
        with self._lock:
            return self._shelves.setdefault(salt.folder_name, Shelf(self._folder / salt.folder_name))

    def _list_folder(self) -> None:
        try:
            found = list_shelves(self._folder, self._clock())
        except OSError as error:
            self._broken = f"can't be used ({error.strerror})"
            self._broken_until = self._clock() + _RETRY_SECONDS
            return
        with self._lock:
            for name, shelf in found.items():
                self._shelves.setdefault(name, shelf).take_over(shelf)
            sizes = (entry.size for shelf in self._shelves.values() for entry in shelf.entries.values())
            self._used = sum(sizes)
            self._listed_at = self._clock()
