"""What each editor session's workspaces are held as.

Invariant: the checkpoint that a context stands on, its end, stays pinned until another takes its place.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from deltaloom_model.api import ContextInfo
from deltaloom_model.checkpoint import Checkpoint, PrefixHash
from deltaloom_model.keeper import Line
from deltaloom_model.token_sequence import TokenIds, TokenSequence

ContextKey = tuple[str, str]
"""(session, workspace)."""
PartKey = tuple[str, str, bool]
"""(path, digest, tombstone) of a segment."""


@dataclass(slots=True)
class Context:
    """One workspace in one session. `end` is the checkpoint after its last token, None until the first sync.

    `hash` has hashed all of `sequence`. `parts` are its segments' tokens. `done` of `target` positions are in
    place. `anchor` holds the ids of the open file's part as last read, `conversation` those of the last one.
    """

    sequence: TokenSequence = field(default_factory=lambda: TokenSequence.of([]))
    line: Line | None = None
    end: Checkpoint | None = None
    hash: PrefixHash = field(default_factory=lambda: PrefixHash(b""))
    parts: dict[PartKey, TokenIds] = field(default_factory=dict)
    revision: int = -1
    segments: int = 0
    target: int = 0
    done: int = 0
    anchor: TokenIds | None = None
    conversation: TokenIds | None = None
    unwritten: dict[str, tuple[Line, Checkpoint]] = field(default_factory=dict)

    @property
    def base_end(self) -> int:
        """Where the log begins."""
        return next((span.start for span in self.sequence.spans if span.kind == "log"), len(self.sequence))

    def switch(self, revision: int, sequence: TokenSequence, line: Line, end: Checkpoint) -> None:
        """The context now is `sequence`, whose end stays pinned until the next switch."""
        end.pins += 1
        self.release()
        self.revision, self.sequence, self.line, self.end = revision, sequence, line, end
        self.hash = line.hash_at(line.end)
        self.target = self.done = len(sequence)
        self.anchor = self.conversation = None  # what was read behind the old one diverges at once
        self.unwritten = {"context": (line, end)}

    def release(self) -> None:
        """Let go of what is pinned."""
        if self.end is not None:
            self.end.pins -= 1
        self.end = None


class Contexts:
    """All contexts of a worker."""

    def __init__(self) -> None:
        self._held: dict[ContextKey, Context] = {}

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[Context]:
        return iter(self._held.values())

    def get(self, session: str, workspace: str) -> Context | None:
        return self._held.get((session, workspace))

    def put(self, session: str, workspace: str, context: Context) -> None:
        """From now on this is the context of this session and workspace."""
        self._held[session, workspace] = context

    def forget(self, session: str) -> None:
        """Drop a session's contexts; their checkpoints stay until they are evicted (they are content)."""
        self._drop([key for key in self._held if key[0] == session])

    def forget_files(self, workspace: str, paths: Collection[str]) -> set[str]:
        """Drop the contexts that show one of these files, and what others remember of them; returns the
        digests of the files' texts."""
        digests: set[str] = set()
        for key, context in list(self._held.items()):
            if key[1] != workspace:
                continue
            digests.update(part[1] for part in context.parts if part[0] in paths)
            if any(span.path in paths for span in context.sequence.spans):
                self._drop([key])
            else:
                context.anchor = context.conversation = None
                context.unwritten.pop("anchor", None)
                context.parts = {part: ids for part, ids in context.parts.items() if part[0] not in paths}
        return digests

    def report(self) -> list[ContextInfo]:
        """What `status` shows."""
        return [
            ContextInfo(session, workspace, c.revision, c.target, c.done, c.segments)
            for (session, workspace), c in self._held.items()
        ]

    def _drop(self, keys: list[ContextKey]) -> None:
        for key in keys:
            self._held.pop(key).release()
