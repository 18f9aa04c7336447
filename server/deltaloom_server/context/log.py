"""The log: live copies of files that changed since the base was laid out.

Invariant: entries are only ever appended at the end; `take_back` removes from the end; `purge`, a new layout
and going back to an earlier version are the only other ways out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from deltaloom_model.api import Segment, text_digest

_HEADER_TOKENS = 8
_BYTES_PER_TOKEN = 3
EMPTY_DIGEST = text_digest("")


@dataclass(frozen=True)
class LogEntry:
    """One copy or tombstone, appended at `revision`. `is_lost`: an earlier session's copy, superseded since,
    whose text no file holds any more; only the worker may still know its tokens."""

    segment: Segment
    text: str
    revision: int
    is_lost: bool = False

    @property
    def shown_digest(self) -> str | None:
        """The digest of the text that it shows; None where it says that the file is gone."""
        return None if self.segment.tombstone else self.segment.digest


def estimated_tokens(text: str) -> int:
    """A careful guess until the worker has counted (code takes 3 to 4 bytes a token)."""
    return len(text) // _BYTES_PER_TOKEN + _HEADER_TOKENS


class Log:
    """Entries in order, the newest by path, and the tokens that were counted for them."""

    def __init__(self) -> None:
        self._entries: list[LogEntry] = []
        self._newest: dict[str, LogEntry] = {}
        self._tokens: dict[tuple[str, str], int] = {}
        self._kept = 0

    def __iter__(self) -> Iterator[LogEntry]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def newest(self, path: str) -> LogEntry | None:
        """The copy or tombstone that holds for `path`."""
        return self._newest.get(path)

    def newest_in_order(self) -> list[LogEntry]:
        """The newest entry of each path, in log order."""
        return sorted(self._newest.values(), key=lambda entry: entry.revision)

    def append(self, path: str, text: str | None, revision: int) -> None:
        """Append a live copy, or with None a tombstone."""
        if text is None:
            segment = Segment(path, EMPTY_DIGEST, kind="log", tombstone=True)
        else:
            segment = Segment(path, text_digest(text), kind="log")
        entry = LogEntry(segment, text or "", revision)
        self._entries.append(entry)
        self._newest[path] = entry

    def take_back(self, path: str) -> None:
        """Remove the entries of `path` that stand at the very end, as nothing has been read after them."""
        left = len(self._entries)
        while left and self._entries[left - 1].segment.path == path:
            left -= 1
        self.cut(left)

    def cut(self, count: int) -> None:
        """Have the first `count` entries only."""
        self.restore(self._entries[:count], min(self._kept, count))

    @property
    def entries(self) -> tuple[LogEntry, ...]:
        """All entries, in order."""
        return tuple(self._entries)

    @property
    def kept(self) -> int:
        """How many entries at the front outlived a compaction."""
        return self._kept

    def restore(self, entries: Iterable[LogEntry], kept: int) -> None:
        """Have these entries again, as they stood earlier."""
        self._entries = list(entries)
        self._newest = {entry.segment.path: entry for entry in self._entries}
        self._kept = kept

    def copy(self) -> Log:
        """One that changes on its own, counts excepted."""
        twin = Log()
        twin._tokens = self._tokens
        twin.restore(self._entries, self._kept)
        return twin

    def newest_digests(self) -> dict[str, str | None]:
        """The digest that holds for each path in the log; None for what is gone."""
        return {path: entry.shown_digest for path, entry in self._newest.items()}

    def kept_paths(self) -> set[str]:
        """Paths whose newest entry outlived a compaction."""
        kept = self._entries[: self._kept]
        return {e.segment.path for e in kept if self._newest[e.segment.path] is e}

    def stale_entries(self) -> list[LogEntry]:
        """Copies that a later one supersedes."""
        return [entry for entry in self._entries if self._newest[entry.segment.path] is not entry]

    def purge(self, path: str) -> None:
        """Remove every entry of `path`, wherever it stands."""
        left = [entry for entry in self._entries if entry.segment.path != path]
        self.restore(left, min(self._kept, len(left)))

    def record_tokens(self, segment: Segment, tokens: int) -> None:
        """Remember the worker's count for a segment."""
        self._tokens[segment.path, segment.digest] = tokens

    def tokens_of(self, entry: LogEntry) -> int:
        """The counted tokens, or an estimate."""
        counted = self._tokens.get((entry.segment.path, entry.segment.digest))
        return estimated_tokens(entry.text) if counted is None else counted

    def uncounted(self) -> list[LogEntry]:
        """Entries whose tokens are only estimated."""
        return [e for e in self._entries if (e.segment.path, e.segment.digest) not in self._tokens]

    @property
    def tokens(self) -> int:
        """Tokens of all entries."""
        return sum(self.tokens_of(entry) for entry in self._entries)

    def successor(self) -> Log:
        """An empty log that remembers the counts."""
        log = Log()
        log._tokens = dict(self._tokens)
        return log

    def mark_kept(self) -> None:
        """What stands here now outlived a compaction: the next one can't remove it either."""
        self._kept = len(self._entries)

    @property
    def new_tokens(self) -> int:
        """Tokens appended since the last compaction."""
        return sum(self.tokens_of(entry) for entry in self._entries[self._kept :])
