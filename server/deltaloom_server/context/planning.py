"""Makes a layout: full texts by value, then outlines of what doesn't fit, then names.

Invariant: what stood before keeps its form while it fits, unless it became more relevant by a whole tier, so
that a small edit moves nothing but itself. No file is read twice, and none once nothing more can be used.

    |<---------------------------- room of the base ----------------------------->|
    |  what stood before  |  new in full: 3/4 of the rest  |  outlines  | 2% spare | names: 2% |
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

from deltaloom_model.api import Segment, text_digest

from .candidates import CandidateReader, Count, batches
from .evidence import Evidence, Form
from .layout import BaseFile, BasePlan, Budget
from .names import list_path, listing_order, names_text
from .outline import has_grammar
from .packing import SMALLEST, Candidate, Packing, probably_fit
from .reading import load_text
from .reasons import LeftOut, Reason, ScanResult, WorkspaceFile
from .relevance import NAMES_WEIGHT, Relevance, Tier

_SHARE_OF_NAMES = 50
_SHARE_OF_SPARE = 50
_SHARE_OF_OUTLINES = 4
_ROOM_FOR_MORE = 8
"""With an eighth of the room free, files that were in by name only get another chance."""
_TOKENS_PER_OUTLINE = 32
_TINY = 64
"""Tokens of a file that is as small as an outline."""
_BYTES_PER_TOKEN = 3
_FITTING_ROUNDS = 6


@dataclass(frozen=True)
class PlanRequest:
    """A snapshot of what a layout is made from. `unsaved` are open documents that the log shows, as (path,
    live text), the one left last first; those that have been saved meanwhile count as disk text."""

    budget: Budget
    revision: int
    max_file_bytes: int
    evidence: Evidence = field(default_factory=Evidence)
    unsaved: tuple[tuple[str, str], ...] = ()


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
    carried, set_aside = await _carry(scan, request, count, executor)
    candidates = [file for file in scan.files if file.path not in set_aside]
    reader = CandidateReader(request.max_file_bytes, count, executor)
    planner = _Planner(candidates, request, request.budget.base(carried), reader)
    await planner.keep()
    await planner.add()
    names = await _list_names(planner, reader, {file.path for file in scan.files}, count)
    files = planner.base_files()
    listed: frozenset[str] = frozenset()
    if names is not None:
        files, listed = (*files, names[0]), names[1]
    outside = [LeftOut(path, reason) for path, reason in reader.refused.items() if reason is not None]
    outside += [
        LeftOut(path, Reason.NAME_ONLY if path in listed else Reason.OVER_BUDGET)
        for path in (*planner.outside(), *set_aside)
    ]
    left_out = tuple(sorted((*scan.left_out, *outside), key=lambda entry: entry.path))
    return BasePlan(request.revision, files, left_out, scan.notes, frozenset(set_aside), planner.forms())


class _Planner:
    """One layout in the making. First `keep`, then `add`."""

    def __init__(
        self, files: Sequence[WorkspaceFile], request: PlanRequest, room: int, reader: CandidateReader
    ) -> None:
        self._files = {file.path: file for file in files}
        self._evidence = request.evidence
        self._relevance = Relevance(request.evidence)
        self._stood = frozenset(request.evidence.previous)
        self._reader = reader
        self._read: set[str] = set()
        self._full_share_used = False
        self.room = room
        self.for_names = 0
        if not probably_fit(files, room):
            all_names = sum(len(path) for path in self._files) // _BYTES_PER_TOKEN + SMALLEST
            self.for_names = min(room // _SHARE_OF_NAMES, all_names)
        self.packing = Packing(room - self.for_names)

    # -- what is decided beforehand ----------------------------------------------------------------------

    def _form_before(self, path: str) -> Form | None:
        form = self._evidence.previous_forms.get(path)
        return form or ("full" if path in self._stood else None)

    def _wanted_form(self, path: str) -> Form | None:
        """The form that a file is to have whatever else there is; None for one not thought of yet."""
        return "full" if self._relevance.tier(path) <= Tier.IMPORTED else self._form_before(path)

    def _is_tight(self) -> bool:
        """Was there not room for all in full the last time?"""
        return any(self._form_before(path) in ("outline", "names") for path in self._files)

    # -- reading and packing -----------------------------------------------------------------------------

    async def _take(
        self, files: Sequence[WorkspaceFile], form_of: Callable[[str], Form | None], keep_free: int = 0
    ) -> None:
        """Read these in order and pack each in its form, or as its outline where only that fits."""
        packing = self.packing
        for batch in batches(files):
            if packing.done:
                return
            in_doubt = not probably_fit(batch, packing.left - keep_free)
            outlined = frozenset(
                file.path
                for file in batch
                if has_grammar(file.path) and (in_doubt or form_of(file.path) == "outline")
            )
            wanted = [file for file in batch if file.path in outlined or not packing.surely_over(file)]
            followed = frozenset(f.path for f in wanted if self._relevance.tier(f.path) <= Tier.IMPORTED)
            self._read.update(file.path for file in wanted)
            for candidate in await self._reader.read(wanted, outlined, followed):
                self._pack(candidate, form_of(candidate.file.path), keep_free)

    def _pack(self, candidate: Candidate, form: Form | None, keep_free: int) -> None:
        packing, path = self.packing, candidate.file.path
        lost_outline = not candidate.outline and self._form_before(path) == "outline"
        is_tiny = not candidate.outline and candidate.tokens <= _TINY
        if (form == "full" or lost_outline or is_tiny) and not (keep_free and self._full_share_used):
            if packing.offer(candidate, "full", keep_free):
                return
            # A file that would fit into the outlines' share: what comes after it is worth less and must wait.
            self._full_share_used = candidate.tokens <= keep_free
        if not packing.offer(candidate, "outline"):
            packing.waiting[path] = candidate.without_outline()

    def _unread(self, files: Iterable[WorkspaceFile]) -> list[WorkspaceFile]:
        return [file for file in files if file.path not in self._read]

    async def keep(self) -> None:
        """What is at hand in full, and what stood before as it stood, most valuable first."""
        await self._take(await self._reader.apart(self._kept), self._wanted_form)
        self.packing.misses = 0

    def _kept(self) -> list[WorkspaceFile]:
        wanted = (f for f in self._files.values() if self._wanted_form(f.path) in ("full", "outline"))
        return self._relevance.value_order(wanted)

    async def add(self) -> None:
        """Files that are new, and with much room left all others: in full, as outlines, and whatever fills
        the rest best."""
        near = Relevance(self._evidence, frozenset(self._reader.imported))
        ordered = await self._reader.apart(lambda: near.value_order(self._files.values()))
        packing = self.packing
        if self._is_tight() and packing.left < self.room // _ROOM_FOR_MORE:
            new = [file for file in self._unread(ordered) if self._form_before(file.path) is None]
            await self._take(new, lambda _: "full")
            return
        rest = self._unread(ordered)
        spare, for_outlines = 0, 0
        if not probably_fit(rest, packing.left):
            spare = min(packing.left, self.room // _SHARE_OF_SPARE)
            for_outlines = (packing.left - spare) // _SHARE_OF_OUTLINES
        packing.left -= spare
        await self._take_while_room(rest, for_outlines)
        known = [packing.waiting.get(file.path) or self._upgradable(file.path) for file in ordered]
        upgrades = [candidate for candidate in known if candidate is not None]
        if not self._unread(ordered) and packing.take_all(upgrades, spare + self.for_names):
            return
        packing.fill_up(upgrades)
        packing.misses = 0
        await self._take(self._unread(ordered), lambda _: "full")
        packing.left += spare

    async def _take_while_room(self, rest: Sequence[WorkspaceFile], for_outlines: int) -> None:
        """Full texts until only the outlines' share is left, then outlines."""
        packing = self.packing
        for batch in batches(rest):
            if packing.left - for_outlines < SMALLEST or packing.done or self._full_share_used:
                break
            await self._take(batch, lambda _: "full", keep_free=for_outlines)
        packing.misses = 0
        outlines = [file for file in self._unread(rest) if has_grammar(file.path)]
        if for_outlines:
            await self._take(outlines[: packing.left // _TOKENS_PER_OUTLINE], lambda _: "outline")
            packing.misses = 0

    def _upgradable(self, path: str) -> Candidate | None:
        held = self.packing.taken.get(path)
        return held[0] if held is not None and held[1] == "outline" else None

    # -- the outcome -------------------------------------------------------------------------------------

    def outside(self) -> list[str]:
        """Candidates that are in no more than by name."""
        inside = self.packing.taken.keys() | self._reader.refused.keys()
        return [path for path in self._files if path not in inside]

    def forms(self) -> dict[str, Form]:
        """How each candidate stands."""
        taken = {path: form for path, (_, form) in self.packing.taken.items()}
        return taken | dict.fromkeys(self.outside(), "names")

    def base_files(self) -> tuple[BaseFile, ...]:
        """The chosen files in the order in which they stand."""
        near = Relevance(self._evidence, frozenset(self._reader.imported))
        taken = self.packing.taken
        moved = frozenset(
            path for path, (_, form) in taken.items() if form == "full" and self._form_before(path) != "full"
        )
        ordered = near.base_order([entry[0].file for entry in taken.values()], self._evidence, moved)
        return tuple(
            _base_file(*taken[file.path], weight=near.weight(file.path, file.heat)) for file in ordered
        )


def _base_file(candidate: Candidate, form: Form, weight: float) -> BaseFile:
    file = candidate.file
    if form == "full":
        return BaseFile(file.path, file.absolute, candidate.digest, candidate.tokens, weight=weight)
    return BaseFile(
        file.path,
        file.absolute,
        candidate.outline_digest,
        candidate.outline_tokens,
        form,
        candidate.digest,
        candidate.outline,
        weight,
    )


async def _list_names(
    planner: _Planner, reader: CandidateReader, paths: set[str], count: Count
) -> tuple[BaseFile, frozenset[str]] | None:
    """The list of names of what is outside, and the paths that it names; None where there's no room."""
    ordered = await reader.apart(lambda: listing_order(planner.outside()))
    room = min(planner.packing.left + planner.for_names, planner.room // _SHARE_OF_NAMES)
    listed = len(ordered)
    path = list_path(paths)
    bytes_left = room * _BYTES_PER_TOKEN
    for index, name in enumerate(ordered):
        bytes_left -= len(name.rpartition("/")[2]) + 1
        if bytes_left < 0:
            listed = index
            break
    for _ in range(_FITTING_ROUNDS):
        if room < SMALLEST or listed == 0:
            return None
        text = names_text(ordered[:listed], len(ordered) - listed)
        segment = Segment(path, text_digest(text))
        tokens = (await count([segment], {segment.digest: text}))[0]
        if 0 < tokens <= room:
            names = BaseFile(path, "", segment.digest, tokens, "names", "", text, NAMES_WEIGHT)
            return names, frozenset(ordered[:listed])
        listed = min(listed - 1, listed * room * 9 // (max(tokens, 1) * 10))
    return None
