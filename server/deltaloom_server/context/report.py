"""What `status` shows of a context. Invariant: plain data; nothing here can change the context."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from .evidence import Form
from .reasons import LeftOut

if TYPE_CHECKING:
    from .layers import Layers

Region = Literal["base", "log", "open"]


@dataclass(frozen=True)
class ReportedFile:
    """One segment as it stands. `current` is False for a stale copy that a later one supersedes; `form` tells
    how the file stands: in full, as its outline, or (`names`) a list of files that don't fit."""

    path: str
    region: Region
    tokens: int
    current: bool = True
    form: Form = "full"


@dataclass(frozen=True)
class ContextReport:
    """The segments in order, the paths left out, and sentences for the user."""

    revision: int
    files: tuple[ReportedFile, ...]
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]
    base_tokens: int
    log_tokens: int

    def left_out_by_reason(self) -> dict[str, int]:
        """How many paths each reason keeps out, the most frequent first."""
        return dict(Counter(entry.reason.value for entry in self.left_out).most_common())


def reported_files(layers: Layers, open_tokens: int) -> tuple[ReportedFile, ...]:
    """Base, log and the open file in order; `open_tokens` are the active document's."""
    files: list[ReportedFile] = []
    active, log = layers.active, layers.log
    for file in layers.base.values():
        current = log.newest(file.path) is None and file.path != active
        files.append(ReportedFile(file.path, "base", file.tokens, current, file.form))
    for entry in log:
        path = entry.segment.path
        current = log.newest(path) is entry and path != active
        files.append(ReportedFile(path, "log", log.tokens_of(entry), current))
    if active is not None:
        files.append(ReportedFile(active, "open", open_tokens))
    return tuple(files)
