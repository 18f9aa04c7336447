"""The regions of a context, what stands in its base, and in which order.

Invariant: equal inputs give the equal layout, and no decision looks at a file's text, so an edit never
reshuffles the files around it.

    |<------------------------------ total ------------------------------>|
    |  base (cold first, hot last)  |  log: total/8  |  open file: ≤ total/4 |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .evidence import Evidence as Evidence
from .evidence import Form as Form
from .reasons import LeftOut, WorkspaceFile
from .relevance import Relevance

_OPEN_FILE_TOKENS = 4096


@dataclass(frozen=True)
class Budget:
    """Tokens of one context. `total` is the model's limit or the `context.max_tokens` setting."""

    total: int

    @property
    def log(self) -> int:
        """Room kept for copies of files that change until the next compaction."""
        return self.total // 8

    @property
    def open_file(self) -> int:
        """Room kept for the open file's part and what is decoded after it."""
        return min(self.total // 4, _OPEN_FILE_TOKENS)

    @property
    def carried(self) -> int:
        """The most that unsaved documents may take from the base at a compaction."""
        return max(0, self.total - self.log - self.open_file) // 2

    def base(self, carried: int = 0) -> int:
        """Room for the base beside `carried` tokens of unsaved documents."""
        return max(0, self.total - self.log - self.open_file - carried)


@dataclass(frozen=True, slots=True)
class BaseFile:
    """A segment of the base, `tokens` long, header included; `digest` is that of the text it shows.

    `full`: the disk's text. `outline`: the file's signatures, held in `text`; `source` is the digest of the
    disk's text that they were taken from. `names`: a list of files that don't fit, held in `text`; `path` is
    no file then. `weight`: how likely it is, beside the others, to change first (`api.Segment.weight`).
    """

    path: str
    absolute: str
    digest: str
    tokens: int
    form: Form = "full"
    source: str = ""
    text: str = ""
    weight: float = 1.0

    @property
    def is_file(self) -> bool:
        """Is this a file's own segment, not a list of names?"""
        return self.form != "names"

    @property
    def source_digest(self) -> str:
        """The digest of the disk's text."""
        return self.source or self.digest


@dataclass(frozen=True)
class BasePlan:
    """A layout, made from the state at `revision`. `set_aside` are unsaved documents that find no room.
    `forms` says how each candidate stands, "names" for one that is in by its name only or not at all: the
    next layout's `Evidence.previous_forms`."""

    revision: int
    files: tuple[BaseFile, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
    set_aside: frozenset[str] = frozenset()
    forms: Mapping[str, Form] = field(default_factory=dict)


def base_order(
    files: Iterable[WorkspaceFile], evidence: Evidence, moved: frozenset[str] = frozenset()
) -> list[WorkspaceFile]:
    """The order in which chosen files stand: what stood before in its old order, then new files and those
    `moved` into another form, cold before hot, then open documents and changed files in their order, so that
    the next compaction begins late."""
    return Relevance(evidence).base_order(files, evidence, moved)
