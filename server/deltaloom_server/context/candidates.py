"""Reading candidates for the base: each file once, a batch at a time.

Invariant: no text outlives its batch but outlines, and what is counted is disk text, never an editor's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TypeVar

from deltaloom_model.api import Segment, text_digest

from .outline import outline
from .packing import Candidate
from .reading import load_text
from .reasons import Reason, WorkspaceFile
from .relevance import imported_words

Count = Callable[[Sequence[Segment], Mapping[str, str]], Awaitable[list[int]]]
"""Asks the worker for the tokens of segments, given the texts by digest (`api.CountRequest`)."""

T = TypeVar("T")

_BATCH_FILES = 64
_BATCH_BYTES = 1 << 20


def batches(files: Sequence[WorkspaceFile], most: int = _BATCH_FILES) -> Iterator[list[WorkspaceFile]]:
    """The files in order, at most `most` and about 1 MiB together at a time."""
    batch: list[WorkspaceFile] = []
    size = 0
    for file in files:
        if batch and (size + file.size > _BATCH_BYTES or len(batch) >= most):
            yield batch
            batch, size = [], 0
        batch.append(file)
        size += file.size
    if batch:
        yield batch


@dataclass(frozen=True, slots=True)
class _Loaded:
    file: WorkspaceFile
    text: str | Reason | None
    outline: str


def _load(files: Sequence[WorkspaceFile], max_bytes: int, outlined: frozenset[str]) -> list[_Loaded]:
    loaded: list[_Loaded] = []
    for file in files:
        text = load_text(file.absolute, max_bytes)
        wanted = isinstance(text, str) and file.path in outlined
        loaded.append(_Loaded(file, text, (outline(file.path, text) or "") if wanted else ""))  # type: ignore[arg-type]
    return loaded


class CandidateReader:
    """Reads and has counted. `refused` says of each file read why it may not be shown, None where it's gone;
    `imported` are the words of import lines in the files that were to be followed."""

    def __init__(self, max_bytes: int, count: Count, executor: Executor | None) -> None:
        self.refused: dict[str, Reason | None] = {}
        self.imported: set[str] = set()
        self._max_bytes = max_bytes
        self._count = count
        self._executor = executor

    async def apart(self, call: Callable[[], T]) -> T:
        """Sorting tens of thousands of names takes long enough to be felt while typing: not on the loop."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    async def read(
        self,
        files: Sequence[WorkspaceFile],
        outlined: frozenset[str] = frozenset(),
        followed: frozenset[str] = frozenset(),
    ) -> list[Candidate]:
        """Candidates for those files of one batch that may be shown; the `outlined` ones with their outline.
        Cancelling leaves nothing behind."""
        loop = asyncio.get_running_loop()
        loaded = await loop.run_in_executor(self._executor, _load, files, self._max_bytes, outlined)
        segments: list[Segment] = []
        texts: dict[str, str] = {}
        shown: list[tuple[WorkspaceFile, str, str]] = []
        for found in loaded:
            if not isinstance(found.text, str):
                self.refused[found.file.path] = found.text
                continue
            if found.file.path in followed:
                self.imported |= imported_words(found.text)
            shown.append((found.file, text_digest(found.text), found.outline))
            for text in (found.text, found.outline) if found.outline else (found.text,):
                segments.append(Segment(found.file.path, text_digest(text)))
                texts[segments[-1].digest] = text
        counts = iter([max(0, tokens) for tokens in await self._count(segments, texts)] if segments else ())
        return [
            Candidate(file, digest, next(counts), signatures, text_digest(signatures), next(counts))
            if signatures
            else Candidate(file, digest, next(counts))
            for file, digest, signatures in shown
        ]
