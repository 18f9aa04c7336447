"""Which files stand in the base, in which order: pure functions of names, sizes, evidence and token counts.

Invariant: equal inputs give the equal layout, and no decision looks at a file's text, so an edit never
reshuffles the files around it.

    |<------------------------------ total ------------------------------>|
    |  base (cold first, hot last)  |  log: total/8  |  open file: ≤ total/4 |
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from .kinds import kind_of
from .reasons import LeftOut, WorkspaceFile

Form = Literal["full", "outline", "names"]
"""How a file stands in the base."""

_OPEN_FILE_TOKENS = 4096
_MISSES = 32
_SMALLEST = 16
_MOST_BYTES_PER_TOKEN = 32
_IMPORT_LINE = re.compile(
    r"^[ \t]*(?:from|import|use|using|mod|require|require_relative|include|#[ \t]*include|package"
    r"|export[^\n]*from|(?:const|let|var)[^\n]*require)\b[^\n]*",
    re.MULTILINE,
)
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_FOLDER_STEMS = frozenset({"__init__", "index", "mod", "main", "lib"})


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


@dataclass(frozen=True)
class Evidence:
    """What is known of the work at hand. Paths are shown paths; `changed` in the order of change, `previous`
    the base's order at the last layout, `open_texts` path to live text. `previous_forms` says how the paths
    of `previous` stood (`BaseFile.form`); one that it lacks stood in full."""

    open_texts: Mapping[str, str] = field(default_factory=dict)
    changed: tuple[str, ...] = ()
    previous: tuple[str, ...] = ()
    previous_forms: Mapping[str, Form] = field(default_factory=dict)


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
    def source_digest(self) -> str:
        """The digest of the disk's text."""
        return self.source or self.digest


@dataclass(frozen=True)
class BasePlan:
    """A layout, made from the state at `revision`. `set_aside` are unsaved documents that find no room."""

    revision: int
    files: tuple[BaseFile, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
    set_aside: frozenset[str] = frozenset()


def imported_words(text: str) -> frozenset[str]:
    """Words of a text's import lines (Python, JavaScript, Rust, Go, C, Ruby, …), as far as a line tells."""
    return frozenset(word for line in _IMPORT_LINE.findall(text) for word in _WORD.findall(line))


def _stem(path: str) -> str:
    folder, _, name = path.rpartition("/")
    stem = name.split(".", 1)[0]
    return folder.rpartition("/")[2] if stem in _FOLDER_STEMS and folder else stem


def folder_distance(a: str, b: str) -> int:
    """Steps in the folder tree between the folders of two paths (0: the same folder)."""
    left, right = a.split("/")[:-1], b.split("/")[:-1]
    shared = 0
    for one, other in zip(left, right, strict=False):
        if one != other:
            break
        shared += 1
    return len(left) + len(right) - 2 * shared


def value_order(files: Iterable[WorkspaceFile], evidence: Evidence) -> list[WorkspaceFile]:
    """Most valuable first: open or changed files, then what they import, then what stood in the base before,
    then the rest; within each, source before documents before data, near before far, hot before cold."""
    at_hand = frozenset(evidence.open_texts) | frozenset(evidence.changed)
    previous = frozenset(evidence.previous)
    words: frozenset[str] = frozenset().union(
        *(imported_words(text) for text in evidence.open_texts.values())
    )
    places = {path.rpartition("/")[0] for path in evidence.open_texts}
    distances: dict[str, int] = {}

    def distance(path: str) -> int:
        folder = path.rpartition("/")[0]
        if folder not in distances:
            steps = (folder_distance(f"{folder}/x".lstrip("/"), f"{place}/x".lstrip("/")) for place in places)
            distances[folder] = min(steps, default=0)
        return distances[folder]

    def key(file: WorkspaceFile) -> tuple[int, int, int, int, str]:
        if file.path in at_hand:
            tier = 0
        elif _stem(file.path) in words:
            tier = 1
        else:
            tier = 2 if file.path in previous else 3
        return tier, kind_of(file.path), distance(file.path), -file.heat, file.path

    return sorted(files, key=key)


def base_order(files: Iterable[WorkspaceFile], evidence: Evidence) -> list[WorkspaceFile]:
    """The order in which chosen files stand: what stood before in its old order, then new files, cold before
    hot, then open documents and changed files in their order, so that the next compaction begins late."""
    old = {path: index for index, path in enumerate(evidence.previous)}
    last = dict.fromkeys([*(() if evidence.previous else evidence.open_texts), *evidence.changed])
    hot = {path: index for index, path in enumerate(last)}

    def key(file: WorkspaceFile) -> tuple[int, int, str]:
        if file.path in hot:
            return 2, hot[file.path], file.path
        if file.path in old:
            return 0, old[file.path], file.path
        return 1, file.heat, file.path

    return sorted(files, key=key)


class BaseFill:
    """Fills a room of `room` tokens with whole files, offered in value order."""

    def __init__(self, room: int) -> None:
        self.left = room
        self._misses = 0

    @property
    def done(self) -> bool:
        """Is it pointless to offer more: no room worth filling, or the last 32 files all too large?"""
        return self.left < _SMALLEST or self._misses >= _MISSES

    def surely_over(self, file: WorkspaceFile) -> bool:
        """Can the file be passed by without counting its tokens (no token is 32 bytes long on average)?"""
        return file.size > _MOST_BYTES_PER_TOKEN * max(self.left, 0)

    def offer(self, tokens: int) -> bool:
        """Take a file of so many tokens if it fits."""
        if tokens > self.left:
            self._misses += 1
            return False
        self.left -= tokens
        self._misses = 0
        return True


def choose_base(
    ordered: Sequence[WorkspaceFile], tokens: Mapping[str, int], room: int
) -> list[WorkspaceFile]:
    """The files of `ordered` (most valuable first) that fit, whole, into `room` tokens; `tokens` by path."""
    fill = BaseFill(room)
    chosen: list[WorkspaceFile] = []
    for file in ordered:
        if fill.done:
            break
        if not fill.surely_over(file) and fill.offer(tokens[file.path]):
            chosen.append(file)
    return chosen
