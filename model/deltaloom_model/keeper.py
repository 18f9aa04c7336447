"""Finding, reading and keeping state for lines of tokens, over all tiers.

Invariant: what is returned for a line has read exactly that line's tokens, whichever tier it came from; what
is kept was read from tokens that somebody asked to be held.

    device  CheckpointStore    found first; evicts to
    host    HostTier           pinned memory beside a GPU
    disk    DiskTier           written behind, read after a restart
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs
import torch

from deltaloom_model.api import Cause, ModelSpec, PurgeResult, TierInfo
from deltaloom_model.checkpoint import Checkpoint, CheckpointStore, Contents, PrefixHash
from deltaloom_model.hybrid_cache import HybridState
from deltaloom_model.prefill import Reader, passes
from deltaloom_model.tiers.block_file import BlockRef
from deltaloom_model.tiers.blocks import block_arrays, put_block, state_of_block
from deltaloom_model.tiers.disk import DiskTier
from deltaloom_model.tiers.host import HostTier
from deltaloom_model.tiers.shelf import Salt
from deltaloom_model.token_sequence import TokenIds

_LEAST_BLOCK = 1024
_BLOCKS_BEHIND = 8
"""A long line goes to disk every so many blocks while it is read: a killed worker resumes there."""


@dataclass(frozen=True, slots=True)
class Line:
    """Tokens to be held: `at` tokens that `start` has hashed and `root` holds (None for 0), then `ids`."""

    salt: Salt
    start: PrefixHash
    at: int
    ids: TokenIds
    contents: Contents
    root: Checkpoint | None = None

    @property
    def end(self) -> int:
        return self.at + len(self.ids)

    def between(self, start: int, end: int) -> TokenIds:
        """The ids at positions [start, end), none before `at`."""
        assert self.at <= start <= end <= self.end
        return self.ids[start - self.at : end - self.at]

    def hash_at(self, position: int) -> PrefixHash:
        """A hash of the first `position` tokens that can go on."""
        prefix = self.start.copy()
        prefix.update(self.ids[: position - self.at])
        return prefix


class Keeper:
    """All state of one worker. One thread uses it."""

    def __init__(self, reader: Reader, spec: ModelSpec) -> None:
        model = reader.model
        self.reader = reader
        # On the CPU the model runs in the host's memory already.
        self.host = HostTier(spec.host_bytes if model.device.type != "cpu" else 0, model.device)
        self.store = CheckpointStore(spec.checkpoint_bytes, spec.kv_bytes, reader.cost, self._demote)
        self.disk = DiskTier(_cache_folder(spec), spec.disk_bytes) if spec.disk_bytes else None
        state = model.new_state()
        self.state_bytes = state.save().nbytes
        per_token = state.kv_bytes_per_token
        self._block = max(_LEAST_BLOCK, self.state_bytes // max(per_token, 1))

    # --- finding ----------------------------------------------------------------------------------------

    def find(self, line: Line) -> Generator[int, None, Checkpoint | None]:
        """The deepest kept checkpoint on this line, brought to the device; yields positions as it loads."""
        found = self.store.nearest(line.start, line.ids, line.at) or line.root
        deepest = found.position if found else 0
        host = self.host.nearest(line.start, line.ids, line.at)
        if host is not None and host[1] > deepest:
            state, hidden, contents = self.host.bring_back(host[0])
            found = self.store.add(host[0], state, hidden, found, contents)
            deepest = found.position
        if self.disk is None:
            return found
        chain = self.disk.find(line.salt, line.start, line.ids, line.at, self._is_held)
        if chain and chain[-1].end > deepest:
            loaded = yield from self._load(line, chain)
            found = loaded or found
        return found

    def _is_held(self, key: bytes) -> bool:
        return self.store.get(key) is not None

    def _load(self, line: Line, chain: list[BlockRef]) -> Generator[int, None, Checkpoint | None]:
        """Take up blocks one after the other; what a refused one would have led to is read again."""
        assert self.disk is not None
        state, newest = self.reader.model.new_state(), None
        if chain[0].start:
            newest = self.store.get(chain[0].parent)
            assert newest is not None
            state.restore(newest.state)
        for ref in chain:
            arrays = self.disk.read(line.salt, ref)
            if arrays is None or not put_block(state, arrays, ref, chain[-1].end):
                break
            if ref.has_state:
                saved, hidden = state_of_block(state, arrays)
                newest = self.store.add(ref.key, saved, hidden, newest, line.contents)
            yield ref.end
        return newest

    # --- reading ----------------------------------------------------------------------------------------

    def read(
        self,
        state: HybridState,
        line: Line,
        found: Checkpoint | None,
        cause_at: Callable[[int], Cause],
        *,
        edges: Collection[int] = (),
        captures: Collection[int] = (),
        tally: dict[str, int] | None = None,
        write_behind: bool = False,
    ) -> Generator[int, None, Checkpoint]:
        """Take up `found` in `state` and read on to the line's end, keeping checkpoints at `edges`,
        `captures` and the end. Yields the position after every pass; returns the end's checkpoint.

        Closed in between, it keeps the state that it has come to.
        """
        newest, written = found, found.position if found else 0
        if found is not None:
            state.restore(found.state)
        if state.position < line.end:
            state.reserve(line.end - state.position)
        prefix = line.hash_at(state.position)
        hidden = None
        try:
            for step in passes(state.position, line.end, self.reader.grid_at, edges, captures):
                ids = line.between(step.start, step.end)
                offsets = [place - step.start for place in step.captures]
                hidden, inner = self.reader.read_with_captures(
                    state, ids, cause_at(step.start), offsets, tally
                )
                for saved, last in inner:
                    part = line.between(step.start, saved.position)
                    digest = next(prefix.digests(part, step.start, (saved.position,)))[1]
                    newest = self.store.add(digest, saved, last, newest, line.contents)
                prefix.update(ids)
                if step.end == line.end or step.end in edges or step.end in captures:
                    newest = self.store.add(prefix.digest(), state.save(), hidden, newest, line.contents)
                    hidden = None
                if write_behind and newest and newest.position - written >= _BLOCKS_BEHIND * self._block:
                    written = newest.position
                    self.write(line, newest)
                if step.end < line.end:  # what comes after the last pass belongs to its step
                    yield state.position
        except GeneratorExit:
            since = state.position - (newest.position if newest else 0)
            if hidden is not None and since >= self.reader.grid:
                self.store.add(prefix.digest(), state.save(), hidden, newest, line.contents)
            raise
        assert newest is not None, "a line is never empty"
        assert newest.position == line.end, "reading ends on a checkpoint of its own"
        return newest

    # --- keeping ----------------------------------------------------------------------------------------

    def write(self, line: Line, end: Checkpoint, wanted: Collection[int] = ()) -> bool:
        """Have what leads to `end` on this line written to disk, in blocks that end at checkpoints: where one
        is long enough, at the positions `wanted`, and at `end` itself. False when it is to be tried again."""
        if self.disk is None or self.store.get(end.key) is not end:
            return True
        there = self.disk.find(line.salt, line.start, line.ids, line.at, lambda key: False)
        key, start = (there[-1].key, there[-1].end) if there else (b"", 0)
        for checkpoint in end.chain():
            at = checkpoint.position
            if at <= start:
                continue
            if not self.disk.holds(line.salt, checkpoint.key):
                if at - start < self._block and at not in wanted and checkpoint is not end:
                    continue
                ref = BlockRef(checkpoint.key, key, start, at, has_state=True)
                paths = paths_between(checkpoint.contents, start, at)
                if not self.disk.write(line.salt, ref, block_arrays(checkpoint, start), paths):
                    return False
            key, start = checkpoint.key, at
        return True

    def purge(self, workspace: str, paths: Collection[str]) -> PurgeResult:
        """Drop all state that has read these files, from every tier."""
        dropped = self.store.purge(workspace, paths) + self.host.purge(workspace, paths)
        files = self.disk.purge(workspace, paths) if self.disk else 0
        return PurgeResult(dropped, files)

    def tiers(self) -> list[TierInfo]:
        """What `status` shows."""
        device = TierInfo(
            "device",
            self.store.state_budget + self.store.kv_budget,
            self.store.state_bytes + self.store.kv_bytes,
            len(self.store),
        )
        disk = self.disk.info() if self.disk else TierInfo("disk", 0, 0, 0)
        return [device, self.host.info(), disk]

    def _demote(self, checkpoint: Checkpoint) -> None:
        self.host.take(checkpoint)


def paths_between(contents: Contents, start: int, end: int) -> set[str]:
    """The files that tokens [start, end) belong to."""
    found: set[str] = set()
    at: Contents | None = contents
    while at is not None:
        found.update(span.path for span in at.spans if span.start < end and span.end > start and span.path)
        at = at.before
    return found


def _cache_folder(spec: ModelSpec) -> Path:
    base = Path(spec.cache_folder) if spec.cache_folder else platformdirs.user_cache_path("deltaloom")
    return base / "state"


def kernel_set(device: torch.device) -> str:
    """What computes: states of one build are not taken up by another."""
    return f"torch {torch.__version__}, numpy {np.__version__}, {device.type}"
