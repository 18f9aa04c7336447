"""Keeps the worker's kept state equal to the session's context.

Invariant: at most one layout or sync is under way; what is believed to be in place (`_held`) is the very
segments that a sync of the present worker confirmed, so a new worker, a new layout and a changed file are
all the same case: held and wanted differ.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Literal

from deltaloom_model.api import (
    CountRequest,
    Segment,
    SyncProgress,
    SyncRequest,
    SyncResult,
)
from deltaloom_model.errors import DeltaloomModelError

from .context.layout import Budget
from .context.repository import RepositoryContext
from .logs import describe, get_logger
from .model_client import ModelClient
from .notices import Notices
from .session import Session
from .work_progress import ProgressBoard, WorkProgress

DEBOUNCE_SECONDS = 0.075
IDLE_SECONDS = 2.0
RETRY_SECONDS = 1.0
MAX_TEXT_BYTES = 8 << 20
"""Of texts in one request: the worker answers other requests in between."""
FALLBACK_TOKENS = 4096
_ROUNDS = 6

SyncState = Literal["idle", "scanning", "indexing", "ready", "cancelled", "unavailable"]

_LOG = get_logger("sync")


class TextsStale(Exception):
    """The disk no longer holds what the layout says: a new layout is due."""


@dataclass(frozen=True, slots=True)
class _Held:
    generation: int
    context: RepositoryContext
    segments: tuple[Segment, ...]


class WorkspaceSync:
    """One session's sync. All methods belong to the event loop."""

    def __init__(
        self,
        session: Session,
        client: ModelClient,
        notices: Notices,
        board: ProgressBoard,
        executor: Executor,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.state: SyncState = "idle"
        self.detail = ""
        self.done = 0
        self.total = 0
        self.budget = 0
        self.last: SyncResult | None = None
        self._session = session
        self._client = client
        self._notices = notices
        self._board = board
        self._executor = executor
        self._on_change = on_change
        self._layout_due = True
        self.held_number = 0
        """Rises whenever the worker has confirmed another context."""
        self._held: _Held | None = None
        self._revision = 0
        self._failures = 0
        self._trouble = ""
        self._working: asyncio.Task[None] | None = None
        self._again = False
        self._reads_anew = False
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._closed = False

    # -- what others say ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin the first layout; called once the client is ready to be told about it."""
        self._begin()

    def request_layout(self, delay: float = 0.0) -> None:
        """Something changed that only a new scan can tell: roots, settings, a branch, an ignore file."""
        self._layout_due = True
        if self.state == "cancelled":
            self._set_state("idle")
        self._later("sync", delay, self._begin)

    def note_change(self) -> None:
        """The context changed: sync soon, and think of compaction when it has been quiet for a while."""
        self._later("sync", DEBOUNCE_SECONDS, self._begin)
        self.note_edit()

    def note_edit(self) -> None:
        """The user types: not now."""
        self._later("idle", IDLE_SECONDS, self._when_idle)

    def worker_changed(self) -> None:
        """The client's state changed: a worker that came up new has to be given everything again."""
        if self.state == "ready" and (self._client.state != "ready" or self._held_is_lost()):
            self._set_state("unavailable", self._client.detail or "The model worker is being replaced.")
        if self._client.state == "ready" and (self._held_is_lost() or self.state == "unavailable"):
            self._later("sync", 0.0, self._begin)

    @property
    def is_current(self) -> bool:
        """Does the worker hold the very segments that the context has now?"""
        held, context = self._held, self._session.context
        return (
            held is not None
            and context is held.context
            and not self._layout_due
            and not self._held_is_lost()
            and context.segments() == held.segments
        )

    async def flush(self) -> None:
        """Before a completion: bring a small pending change across; don't wait for a first reading."""
        context = self._session.context
        if context is None or self._layout_due or self._held is None or self._held_is_lost():
            return
        if self.is_current:
            return
        if self._working is None:
            self._begin()
        # What is held while everything is read anew is older, but whole: better than waiting for all of it.
        if self._working is not None and self.state == "ready" and not self._reads_anew:
            # Neither does a superseded completion stop the sync, nor a cancelled sync the completion.
            await asyncio.wait([self._working])

    async def close(self) -> None:
        """Stop at once; nothing is awaited but the cancelled work's own end."""
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        if self._working is not None:
            self._working.cancel()
            await asyncio.wait([self._working])

    # -- turns -------------------------------------------------------------------------------------------

    def _later(self, name: str, delay: float, call: Callable[[], None]) -> None:
        if self._closed:
            return
        if (pending := self._timers.get(name)) is not None:
            pending.cancel()
        self._timers[name] = asyncio.get_running_loop().call_later(delay, call)

    def _begin(self) -> None:
        self._start_turn(self._bring_up_to_date)

    def _when_idle(self) -> None:
        context = self._session.context
        if self.state == "ready" and context is not None and context.needs_compaction(Budget(self.budget)):
            self._start_turn(self._compact)

    def _start_turn(self, turn: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if self._closed or self.state == "cancelled":
            return
        if self._working is not None:
            self._again = True
            return
        self._again = False
        self._working = asyncio.get_running_loop().create_task(self._guarded(turn))
        self._working.add_done_callback(self._turn_done)

    def _turn_done(self, task: asyncio.Task[None]) -> None:
        self._working = None
        if task.cancelled() and not self._closed:
            if self._held is None:
                self._set_state("cancelled", "Reading the repository was cancelled.")
            else:  # what was held goes on holding, and the next change reads what this turn would have
                self._layout_due = True
                self._set_state("ready")
        elif self._again:
            self._later("sync", 0.0, self._begin)

    async def _guarded(self, turn: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await turn()
        except DeltaloomModelError as error:
            self._failed(str(error))
        except Exception as error:
            _LOG.error("A sync failed: %s", describe(error))
            self._failed("Reading the repository failed; see `deltaloom logs`.")
        else:
            self._failures = 0
            self._notices.forget(self._trouble)
            self._set_state("ready" if self._session.context is not None else "idle")

    def _failed(self, sentence: str) -> None:
        self._held = None
        self._failures += 1
        self._trouble = sentence
        self._set_state("unavailable", sentence)
        self._notices.tell(sentence)
        # The client starts a worker that crashed again, and says itself when that has become pointless.
        if self._failures <= 3 and self._client.state != "failed":
            self._later("sync", RETRY_SECONDS * self._failures, self._begin)

    def _set_state(self, state: SyncState, detail: str = "") -> None:
        self.state, self.detail = state, detail
        self._on_change()

    def _held_is_lost(self) -> bool:
        return self._held is not None and self._held.generation != self._client.generation

    # -- one turn ----------------------------------------------------------------------------------------

    async def _bring_up_to_date(self) -> None:
        for _ in range(_ROUNDS):
            context = self._session.context
            if context is None:
                return
            try:
                if self._layout_due or (self.budget and context.overflows(Budget(self.budget))):
                    await self._read_anew(context, compaction=False)
                elif self._held is None or self._held_is_lost() or self._held.context is not context:
                    with self._board.work("Deltaloom", self._cancel) as progress:
                        await self._sync(context, progress)
                else:
                    await self._sync(context)
            except TextsStale:
                self._layout_due = True
                continue
            if self._session.context is context and not self._layout_due:
                return
        _LOG.warning("The files change faster than they can be read; the next change tries again.")

    async def _compact(self) -> None:
        context = self._session.context
        if context is None:
            return
        try:
            await self._read_anew(context, compaction=True)
        except TextsStale:
            self._layout_due = self._again = True

    async def _read_anew(self, context: RepositoryContext, *, compaction: bool) -> None:
        """A new layout, and the worker's state brought to it."""
        cancelled = threading.Event()
        self._reads_anew = True
        try:
            with self._board.work("Deltaloom", self._cancel) as progress:
                try:
                    await self._lay_out(context, progress, cancelled)
                except BaseException:
                    self._layout_due = True  # whatever ended it: the layout is still to be made
                    raise
                finally:
                    cancelled.set()
                if self._session.context is context:
                    await self._sync(context, progress, compaction=compaction)
        finally:
            self._reads_anew = False

    def _cancel(self) -> None:
        if self._working is not None:
            self._working.cancel()

    async def _lay_out(
        self, context: RepositoryContext, progress: WorkProgress, cancelled: threading.Event
    ) -> None:
        # Imported here: reading folders has no part in the start of the server.
        from .context.planning import plan_base
        from .context.scan import scan_workspace

        self._layout_due = False
        if self.state != "ready":
            self._set_state("scanning")
        progress.report("looking at the files")
        loop = asyncio.get_running_loop()
        scan = await loop.run_in_executor(
            self._executor,
            lambda: scan_workspace(context.roots, context.settings, cancelled=cancelled.is_set),
        )
        for note in scan.notes:
            self._notices.tell(note)
        budget = await self._find_budget()
        self._session.publish_text()
        plan = await plan_base(scan, context.plan_request(budget), self._count, self._executor)
        if self._session.context is context:
            self._session.publish_text()
            context.set_base(plan)

    async def _find_budget(self) -> Budget:
        """The setting, or the model's trained length. Waits for the model to be loaded."""
        await self._client.count(CountRequest([]))
        model = (await self._client.status()).model
        trained = model.context_limit if model is not None and model.context_limit else FALLBACK_TOKENS
        wanted = self._session.settings.context.max_tokens
        if wanted > trained:
            self._notices.tell(
                f"context.max_tokens is {wanted:,}, but the model was trained on {trained:,} tokens at most; "
                "expect weaker suggestions."
            )
        self.budget = wanted or trained
        return Budget(self.budget)

    async def _sync(
        self, context: RepositoryContext, progress: WorkProgress | None = None, *, compaction: bool = False
    ) -> None:
        """Until the worker confirms the context's segments as they are at the end of it."""
        first = self._held is None or progress is not None
        for _ in range(_ROUNDS):
            await self._client.start()
            await self._count_log(context)
            segments = context.segments()
            held = _Held(self._client.generation, context, segments)
            if self._held == held or self._session.context is not context:
                return
            if first and self.state != "ready":
                self._set_state("indexing")
            self._revision += 1
            request = SyncRequest(
                self._session.id,
                self._session.workspace,
                self._session.repository,
                self._revision,
                list(segments),
                compaction=compaction,
            )
            result = await self._client.sync(request, lambda done: self._show(done, progress))
            if result.missing:
                await self._supply(context, segments, result.missing)
            elif not result.superseded and self._client.generation == held.generation:
                self._held, self.last = held, result
                self.held_number += 1
                self.done = self.total = result.tokens

    def _show(self, update: SyncProgress, progress: WorkProgress | None) -> None:
        self.done, self.total = update.done, update.total
        if progress is not None and update.total:
            percentage = min(100, 100 * update.done // update.total)
            progress.report(f"indexing {percentage}%", percentage)

    async def _count_log(self, context: RepositoryContext) -> None:
        segments, texts = context.uncounted()
        if segments:
            context.record_tokens(segments, await self._count(segments, texts))

    async def _supply(
        self, context: RepositoryContext, segments: Sequence[Segment], missing: Sequence[str]
    ) -> None:
        """Give the worker texts it lacks. Raises TextsStale when the disk no longer holds one of them."""
        from .context.reading import reread

        found, on_disk = context.locate(missing)
        texts = await asyncio.get_running_loop().run_in_executor(
            self._executor, reread, on_disk, context.settings.max_file_bytes
        )
        found |= texts.found
        if texts.stale or any(digest not in found for digest in missing):
            raise TextsStale
        by_digest = {segment.digest: segment for segment in segments}
        await self._count([by_digest[digest] for digest in missing], found)

    async def _count(self, segments: Sequence[Segment], texts: Mapping[str, str]) -> list[int]:
        """The worker's counts, asked for in requests of a bounded size."""
        counts: list[int] = []
        batch: list[Segment] = []
        size = 0
        for segment in segments:
            length = len(texts.get(segment.digest, ""))
            if batch and size + length > MAX_TEXT_BYTES:
                counts += await self._count_batch(batch, texts)
                batch, size = [], 0
            batch.append(segment)
            size += length
        return counts + (await self._count_batch(batch, texts) if batch else [])

    async def _count_batch(self, batch: list[Segment], texts: Mapping[str, str]) -> list[int]:
        wanted = {segment.digest: texts[segment.digest] for segment in batch if segment.digest in texts}
        return (await self._client.count(CountRequest(batch, wanted))).tokens
