"""How much a file matters to the work at hand, and how likely it is to change: told from names and evidence.

Invariant: equal inputs give equal answers, and no answer depends on a file's own text or size, so an edit
never changes what is thought of the files around it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import IntEnum

from .evidence import Evidence
from .kinds import kind_of
from .reasons import WorkspaceFile

_IMPORT_LINE = re.compile(
    r"^[ \t]*(?:from|import|use|using|mod|require|require_relative|include|#[ \t]*include|package"
    r"|export[^\n]*from|(?:const|let|var)[^\n]*require)\b[^\n]*",
    re.MULTILINE,
)
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_FOLDER_STEMS = frozenset({"__init__", "index", "mod", "main", "lib"})
_BY_HEAT = (0.02, 0.04, 0.08, 0.15, 0.25)
_IMPORTED_WEIGHT = 0.12
_NEAR_WEIGHT = 0.05
_OPEN_WEIGHT = 0.8
_LEAST_CHANGED_WEIGHT = 0.3
NAMES_WEIGHT = 0.2
"""Of the list of names, which changes when a file comes or goes."""


class Tier(IntEnum):
    """The coarse part of a file's value; only a change of tier changes the form in which a file stands."""

    AT_HAND = 0
    IMPORTED = 1
    STOOD = 2
    NEAR = 3
    REST = 4


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


class Relevance:
    """What the evidence says of each file. `near` are words imported by files that the open ones import."""

    def __init__(self, evidence: Evidence, near: frozenset[str] = frozenset()) -> None:
        self._open = frozenset(evidence.open_texts)
        self._changed = {path: index for index, path in enumerate(evidence.changed)}
        self._stood = frozenset(evidence.previous)
        self._imported: frozenset[str] = frozenset().union(
            *(imported_words(text) for text in evidence.open_texts.values())
        )
        self._near = near
        self._places = {path.rpartition("/")[0] for path in evidence.open_texts}
        self._distances: dict[str, int] = {}

    def tier(self, path: str) -> Tier:
        """Open or changed; imported by an open file; in the base before; imported by an import; the rest."""
        if path in self._open or path in self._changed:
            return Tier.AT_HAND
        stem = _stem(path)
        if stem in self._imported:
            return Tier.IMPORTED
        if path in self._stood:
            return Tier.STOOD
        return Tier.NEAR if stem in self._near else Tier.REST

    def distance(self, path: str) -> int:
        """Steps to the nearest folder with an open file."""
        folder = path.rpartition("/")[0]
        if folder not in self._distances:
            steps = (
                folder_distance(f"{folder}/x".lstrip("/"), f"{place}/x".lstrip("/")) for place in self._places
            )
            self._distances[folder] = min(steps, default=0)
        return self._distances[folder]

    def weight(self, path: str, heat: int) -> float:
        """How likely the file is, beside the others, to change first: from 0.02 (cold) to 1.0 (the file
        changed last). From being open, the order of changes, git's history and the distance by imports."""
        stem = _stem(path)
        weights = [_BY_HEAT[max(0, min(heat, len(_BY_HEAT) - 1))]]
        if path in self._changed:
            share = (self._changed[path] + 1) / len(self._changed)
            weights.append(_LEAST_CHANGED_WEIGHT + (1.0 - _LEAST_CHANGED_WEIGHT) * share)
        if path in self._open:
            weights.append(_OPEN_WEIGHT)
        if stem in self._imported:
            weights.append(_IMPORTED_WEIGHT)
        elif stem in self._near:
            weights.append(_NEAR_WEIGHT)
        return max(weights)

    def value_order(self, files: Iterable[WorkspaceFile]) -> list[WorkspaceFile]:
        """Most valuable first: by tier; within each, source before documents before data, near before far,
        hot before cold."""

        def key(file: WorkspaceFile) -> tuple[int, int, int, int, str]:
            return self.tier(file.path), kind_of(file.path), self.distance(file.path), -file.heat, file.path

        return sorted(files, key=key)

    def base_order(
        self, files: Iterable[WorkspaceFile], evidence: Evidence, moved: frozenset[str] = frozenset()
    ) -> list[WorkspaceFile]:
        """See `layout.base_order`."""
        old = {path: index for index, path in enumerate(evidence.previous) if path not in moved}
        last = dict.fromkeys([*(() if evidence.previous else evidence.open_texts), *evidence.changed])
        hot = {path: index for index, path in enumerate(last)}

        def key(file: WorkspaceFile) -> tuple[int, float, str]:
            if file.path in hot:
                return 2, hot[file.path], file.path
            if file.path in old:
                return 0, old[file.path], file.path
            return 1, self.weight(file.path, file.heat), file.path

        return sorted(files, key=key)


def value_order(files: Iterable[WorkspaceFile], evidence: Evidence) -> list[WorkspaceFile]:
    """`Relevance.value_order` for one use."""
    return Relevance(evidence).value_order(files)
