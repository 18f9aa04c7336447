"""Base and log of one context, and the earlier states that they can go back to.

Invariant: between layouts the base is unchanged and the log only grows at its end, but for what the active
document takes back from there, and for going back to an earlier version as a whole.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence

from deltaloom_model.api import Segment, text_digest

from .compaction import LogState
from .layout import BaseFile
from .log import EMPTY_DIGEST, Log, LogEntry, estimated_tokens
from .versions import (
    MODULUS,
    Key,
    Version,
    Versions,
    base_hash,
    base_part,
    live_hash,
    shown_hash,
)

Change = tuple[str, str | None]
"""A path, and the text that it has to show from now on; None where it is gone."""


class Layers:
    """What stands before the open file. Paths are shown paths."""

    def __init__(self) -> None:
        self.base: Mapping[str, BaseFile] = {}
        self.log = Log()
        self.active: str | None = None
        self._versions = Versions()
        self._base_hash = 0
        self._segments: tuple[Segment, ...] | None = None

    def copy(self) -> Layers:
        """One that changes on its own."""
        twin = copy.copy(self)
        twin.log, twin._versions = self.log.copy(), self._versions.copy()
        return twin

    # -- what is shown -----------------------------------------------------------------------------------

    def shown_digest(self, path: str) -> str | None:
        """The digest of the text that is shown for `path` (of an outline: of what it was taken from)."""
        entry = self.log.newest(path)
        if entry is not None:
            return entry.shown_digest
        file = self.base.get(path)
        return file.source_digest if file is not None and file.is_file else None

    def paths(self) -> set[str]:
        """Every path of base and log."""
        files = {path for path, file in self.base.items() if file.is_file}
        return files.union(entry.segment.path for entry in self.log)

    def known_paths(self) -> set[str]:
        """The same, and those of earlier versions."""
        return self.paths() | self._versions.paths()

    def segments(self) -> tuple[Segment, ...]:
        """Base, then log; the same object until one of them changes."""
        if self._segments is None:
            base = (Segment(file.path, file.digest, weight=file.weight) for file in self.base.values())
            self._segments = (*base, *(entry.segment for entry in self.log))
        return self._segments

    def locate(self, digests: Iterable[str]) -> tuple[dict[str, str], list[tuple[str, str, str]]]:
        """Texts held in memory, and for the others (path, absolute, digest) as `reread` takes them."""
        held = {entry.segment.digest: entry.text for entry in self.log if not entry.is_lost}
        held |= {file.digest: file.text for file in self.base.values() if file.form != "full"}
        held[EMPTY_DIGEST] = ""
        base = {file.digest: file for file in self.base.values()}
        wanted = dict.fromkeys(digests)
        found = {digest: held[digest] for digest in wanted if digest in held}
        on_disk = [base[digest] for digest in wanted if digest not in held and digest in base]
        return found, [(file.path, file.absolute, file.digest) for file in on_disk]

    # -- changes -----------------------------------------------------------------------------------------

    def show(self, changes: Sequence[Change], revision: int, activated: str | None = None) -> None:
        """Show these texts from now on: an earlier version that does, or each appended. The copies of a
        document that was just `activated` no longer matter."""
        if self._go_back({path: None if text is None else text_digest(text) for path, text in changes}):
            return
        if activated is not None:
            self.log.take_back(activated)
        for path, text in changes:
            self.log.append(path, text, revision)
        self._changed()

    def purge(self, path: str) -> bool:
        """`path` leaves base, log and all earlier versions; False if it stood in none of them."""
        known = path in self.known_paths()
        if path in self.base:
            self.base = {name: file for name, file in self.base.items() if name != path}
            self._base_hash = base_hash(self.base)
        self.log.purge(path)
        if known:
            self._versions.clear()
            self._segments = None
        return known

    def set_base(self, files: Iterable[BaseFile], *, keep_versions: bool) -> None:
        """A new layout, with an empty log that remembers the counts."""
        self.base = {file.path: file for file in files}
        self._base_hash = base_hash(self.base)
        self.log = self.log.successor()
        if not keep_versions:
            self._versions.clear()
        self._segments = None

    def settle(self) -> None:
        """A new layout is complete: what stands in the log now, the next compaction can't remove either."""
        self.log.mark_kept()
        self._changed()

    def recall(self, files: Iterable[BaseFile], entries: Sequence[LogEntry], kept: int) -> None:
        """Stand as an earlier session left it."""
        self.set_base(files, keep_versions=False)
        self.log.restore(entries, kept)
        self._changed()

    def go_back_to(self, live: Mapping[str, str]) -> bool:
        """Take up the version that shows exactly these live digests by path, the active path's excepted.

        For when many files changed at once: the versions may stand on another base, with other paths.
        """
        digests = {path: live.get(path) for path in self.known_paths()}
        if self._go_back(digests):
            return True
        for base in self._versions.bases():
            key = self._key(base, {path: live.get(path) for path in {*base, *digests}})
            if (version := self._versions.find(key)) is not None:
                self._take_up(version)
                return True
        return False

    def _go_back(self, digests: Mapping[str, str | None]) -> bool:
        wanted = self._key(self.base, {**self.log.newest_digests(), **digests})
        if (version := self._versions.find(wanted)) is not None:
            self._take_up(version)
            return True
        # The log as it stood at some earlier moment may show the same, with another document active then.
        total, shown = self._key(self.base, {})[1], dict[str, int]()
        for count, entry in enumerate(self.log.entries):
            if total == wanted[1]:
                self.log.cut(count)
                self._changed()
                return True
            path, digest = entry.segment.path, entry.shown_digest
            if path == self.active:
                continue
            before = shown.get(path, base_part(self.base, path))
            after = 0 if digest is None else shown_hash(path, digest)
            shown[path] = after
            total = (total - before + after) % MODULUS
        return False

    def _take_up(self, version: Version) -> None:
        if self.base is not version.base:
            self.base = version.base
            self._base_hash = base_hash(version.base)
        self.log.restore(version.log, version.kept)
        self._segments = None

    def _key(self, base: Mapping[str, BaseFile], newest: Mapping[str, str | None]) -> Key:
        total = self._base_hash if base is self.base else base_hash(base)
        return self.active, live_hash(total, base, newest, self.active)

    def _changed(self) -> None:
        self._segments = None
        key = self._key(self.base, self.log.newest_digests())
        self._versions.remember(key, Version(self.base, self.log.entries, self.log.kept))

    # -- figures -----------------------------------------------------------------------------------------

    @property
    def base_tokens(self) -> int:
        """Tokens of the base."""
        return sum(file.tokens for file in self.base.values())

    def tokens_to_show(self, texts: Mapping[str, str]) -> int:
        """About how much the log would grow if it had to show these texts by path."""
        changed = (text for path, text in texts.items() if self.shown_digest(path) != text_digest(text))
        return sum(estimated_tokens(text) for text in changed)

    def log_state(self, room: int) -> LogState:
        """What a compaction is weighed by."""
        lasting = self.log.kept_paths()  # what a compaction has left there before, it would leave again
        stale_base = [path for path in self.base if self.log.newest(path) is not None and path not in lasting]
        stale = sum(self.base[path].tokens for path in stale_base)
        stale_entries = sum(self.log.tokens_of(entry) for entry in self.log.stale_entries())
        reread, touched = 0, set(stale_base)
        for path, file in self.base.items():
            if reread or path in touched:
                reread += file.tokens
        return LogState(stale + stale_entries, self.log.new_tokens, room, reread + self.log.tokens)
