"""Makes a layout: reads candidate files in value order, has them counted, stops when the budget is full.

Invariant: at most one batch of texts is held at a time, and what the base gets is disk text, never an
editor's unsaved text.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

from deltaloom_model.api import Segment, text_digest

from .layout import BaseFile, BaseFill, BasePlan, Budget, Evidence, base_order, value_order
from .reading import load_text
from .reasons import LeftOut, Reason, ScanResult, WorkspaceFile

Count = Callable[[Sequence[Segment], Mapping[str, str]], Awaitable[list[int]]]
"""Asks the worker for the tokens of segments, given the texts by digest (`api.CountRequest`)."""

_BATCH_FILES = 64
_BATCH_BYTES = 1 << 20


@dataclass(frozen=True)
class PlanRequest:
    """A snapshot of what a layout is made from. `unsaved` are open documents that the log shows, as (path,
    live text), the one left last first; those that have been saved meanwhile count as disk text."""

    budget: Budget
    revision: int
    max_file_bytes: int
    evidence: Evidence = field(default_factory=Evidence)
    unsaved: tuple[tuple[str, str], ...] = ()


def _batches(files: Sequence[WorkspaceFile]) -> list[list[WorkspaceFile]]:
    batches: list[list[WorkspaceFile]] = []
    size = _BATCH_BYTES
    for file in files:
        if size + file.size > _BATCH_BYTES or len(batches[-1]) >= _BATCH_FILES:
            batches.append([])
            size = 0
        batches[-1].append(file)
        size += file.size
    return batches


def _load(files: Sequence[WorkspaceFile], max_bytes: int) -> list[tuple[WorkspaceFile, str | Reason | None]]:
    return [(file, load_text(file.absolute, max_bytes)) for file in files]


async def _carry(
    scan: ScanResult, request: PlanRequest, count: Count, executor: Executor | None
) -> tuple[int, set[str]]:
    """Tokens that unsaved documents take in the new log, and those that don't fit there."""
    loop = asyncio.get_running_loop()
    disk = {file.path: file for file in scan.files}
    carried, set_aside = 0, set[str]()
    for path, text in request.unsaved:
        if path in disk:
            saved = await loop.run_in_executor(
                executor, load_text, disk[path].absolute, request.max_file_bytes
            )
            if saved == text:
                continue
        segment = Segment(path, text_digest(text), kind="log")
        tokens = (await count([segment], {segment.digest: text}))[0]
        if carried + tokens > request.budget.carried:
            set_aside.add(path)
        else:
            carried += tokens
    return carried, set_aside


async def plan_base(
    scan: ScanResult, request: PlanRequest, count: Count, executor: Executor | None = None
) -> BasePlan:
    """Choose and order the base. Files are read in `executor`; cancelling the task leaves nothing behind."""
    loop = asyncio.get_running_loop()
    carried, set_aside = await _carry(scan, request, count, executor)
    fill = BaseFill(request.budget.base(carried))
    left_out = [*scan.left_out, *(LeftOut(path, Reason.OVER_BUDGET) for path in sorted(set_aside))]
    candidates = [file for file in scan.files if file.path not in set_aside]
    chosen: dict[str, tuple[WorkspaceFile, str, int]] = {}
    for batch in _batches(value_order(candidates, request.evidence)):
        wanted = [] if fill.done else [file for file in batch if not fill.surely_over(file)]
        unread = {file.path for file in batch} - {file.path for file in wanted}
        loaded = await loop.run_in_executor(executor, _load, wanted, request.max_file_bytes) if wanted else []
        left_out += [LeftOut(file.path, text) for file, text in loaded if isinstance(text, Reason)]
        readable = [(file, text, text_digest(text)) for file, text in loaded if isinstance(text, str)]
        segments = [Segment(file.path, digest) for file, _, digest in readable]
        tokens = await count(segments, {digest: text for _, text, digest in readable}) if segments else []
        for (file, _, digest), size in zip(readable, tokens, strict=True):
            if not fill.done and fill.offer(size):
                chosen[file.path] = (file, digest, size)
            else:
                unread.add(file.path)
        left_out += [LeftOut(path, Reason.OVER_BUDGET) for path in sorted(unread)]
    ordered = base_order((file for file, _, _ in chosen.values()), request.evidence)
    files = tuple(BaseFile(file.path, file.absolute, *chosen[file.path][1:]) for file in ordered)
    left_out.sort(key=lambda entry: entry.path)
    return BasePlan(request.revision, files, tuple(left_out), scan.notes, frozenset(set_aside))
