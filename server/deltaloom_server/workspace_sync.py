"""Keeps the worker's kept state equal to the session's context.

Invariant: at most one turn is under way; what is believed to be in place (`_held`) is the very segments that
a sync of the present worker confirmed, so a new worker, a new layout and a changed file are all the same
case: held and wanted differ. A new layout of what is held already is made beside it (`relayout.py`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Literal

from deltaloom_model.api import PurgeRequest, Segment, SyncProgress, SyncResult
from deltaloom_model.errors import DeltaloomModelError

from .context.compaction import is_worth_it
from .context.repository import RepositoryContext
from .layout_maker import LayoutMaker
from .logs import describe, get_logger
from .model_client import ModelClient
from .notices import Notices
from .relayout import Relayout
from .session import Session
from .work_progress import ProgressBoard, WorkProgress
from .worker_feed import TextsStale, WorkerFeed

DEBOUNCE_SECONDS = 0.075
IDLE_SECONDS = 2.0
LONGEST_IDLE_SECONDS = 300.0
RETRY_SECONDS = 1.0
REMEMBER_SECONDS = 2.0
_ROUNDS = 6

SyncState = Literal["idle", "scanning", "indexing", "ready", "cancelled", "unavailable"]

_LOG = get_logger("sync")


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
        self.last: SyncResult | None = None
        self._session = session
        self._client = client
        self._notices = notices
        self._board = board
        self._on_change = on_change
        self._feed = WorkerFeed(session, client, executor)
        self._maker = LayoutMaker(session, client, notices, executor, self._feed)
        self._relayout = Relayout(session, self._maker, self._feed, board, self._relayout_ended)
        self._layout_due = True
        self._rescan_due = False
        self._relayout_was_due = False
        self._relayout_failures = 0
        self._relaid: tuple[Segment, ...] | None = None
        self._laid_out: RepositoryContext | None = None
        self._memory_serves = True
        self.held_number = 0
        """Rises whenever the worker has confirmed another context."""
        self._held: _Held | None = None
        self._failures = 0
        self._trouble = ""
        self._working: asyncio.Task[None] | None = None
        self._again = False
        self._edited_at = time.monotonic()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._remembering: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def budget(self) -> int:
        """Tokens of the whole context; 0 before the model has been asked."""
        return self._maker.budget.total

    # -- what others say ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin the first layout; called once the client is ready to be told about it."""
        self._begin()

    def request_layout(self, delay: float = 0.0) -> None:
        """Something changed that only a new layout takes into account: roots, settings."""
        self._layout_due = True
        self._wake(delay)

    def request_rescan(self, delay: float = 0.0) -> None:
        """Something changed that only a new scan can tell: a branch, an ignore file, very much at once."""
        self._rescan_due = True
        self._wake(delay)

    def note_change(self) -> None:
        """The context changed: sync soon, and think of compaction when it has been quiet for a while."""
        self._later("sync", DEBOUNCE_SECONDS, self._begin)
        self.note_edit()

    def note_edit(self) -> None:
        """The user types: not now."""
        self._edited_at = time.monotonic()
        self._later("idle", IDLE_SECONDS, self._when_idle)

    def worker_changed(self) -> None:
        """The client's state changed: a worker that came up new has to be given everything again."""
        if self.state == "ready" and (self._client.state != "ready" or self._held_is_lost()):
            self._set_state("unavailable", self._client.detail or "The model worker is being replaced.")
        if self._client.state == "ready" and (self._held_is_lost() or self.state == "unavailable"):
            self._later("sync", 0.0, self._begin)

    def note_lost(self) -> None:
        """A completion found no context in the worker, which another session's purge took away."""
        if self._held is not None and self._working is None and not self._held_is_lost():
            self._held = None
            self._begin()

    @property
    def is_current(self) -> bool:
        """Does the worker hold the very segments that the context has now?"""
        held, context = self._held, self._session.context
        return (
            held is not None
            and context is held.context
            and not (self._layout_due or self._rescan_due)
            and not self._held_is_lost()
            and context.segments() == held.segments
        )

    async def flush(self) -> None:
        """Before a completion: bring a small pending change across; don't wait for a first reading."""
        context = self._session.context
        if context is None or self._laid_out is not context or self._held is None or self._held_is_lost():
            return
        if self.is_current or self._overflows(context):
            return
        if self._working is None:
            self._begin()
        if self._working is not None and self.state == "ready":
            # Neither does a superseded completion stop the sync, nor a cancelled sync the completion.
            await asyncio.wait([self._working])

    async def compact(self) -> tuple[bool, str]:
        """Lay the context out anew now, if anything is to be gained; whether it was, and else why not."""
        context = self._session.context
        if context is None or self._laid_out is not context or self._held is None or self._held_is_lost():
            return False, "There is no context yet; wait until the workspace has been read."
        await self.flush()
        if not context.log_state(self._maker.budget).stale:
            return False, "No copy in the context is out of date."
        task = self._relayout.begin(context, keep_versions=False)
        await asyncio.wait([task])  # whoever asks may go; the re-reading stays
        if task.cancelled() or not task.result():
            return False, "The re-reading was broken off; see `deltaloom logs`."
        while not self.is_current and self._working is not None:
            await asyncio.wait([self._working])
        return True, ""

    async def close(self) -> None:
        """Stop at once; nothing is awaited but the cancelled work's own end, and the layout's being kept."""
        self._closed = True
        remember = self._timers.pop("remember", None)
        for timer in (remember, *self._timers.values()):
            if timer is not None:
                timer.cancel()
        await self._relayout.stop()
        if self._working is not None:
            self._working.cancel()
            await asyncio.wait([self._working])
        if self._remembering is not None:
            await asyncio.wait([self._remembering])
        if remember is not None:
            await self._remember()

    # -- turns -------------------------------------------------------------------------------------------

    def _wake(self, delay: float) -> None:
        if self.state == "cancelled":
            self._set_state("idle")
        self._later("sync", delay, self._begin)

    def _later(self, name: str, delay: float, call: Callable[[], None]) -> None:
        if self._closed:
            return
        if (pending := self._timers.get(name)) is not None:
            pending.cancel()
        self._timers[name] = asyncio.get_running_loop().call_later(delay, call)

    def _begin(self) -> None:
        if self._closed or self.state == "cancelled":
            return
        if self._working is not None:
            self._again = True
            return
        self._again = False
        self._working = asyncio.get_running_loop().create_task(self._guarded(self._bring_up_to_date()))
        self._working.add_done_callback(self._turn_done)

    def _when_idle(self) -> None:
        idle, context = time.monotonic() - self._edited_at, self._session.context
        held = context is not None and self._laid_out is context and self._held is not None
        if self.state == "ready" and held and not self._held_is_lost() and context is not None:
            if is_worth_it(context.log_state(self._maker.budget), idle):
                if self._relayout.task is None:
                    self._relayout_was_due = False
                self._relayout.begin(context, keep_versions=False)
            else:  # the longer nobody types, the more is worth doing
                self._later("idle", min(max(idle, 1.0), LONGEST_IDLE_SECONDS), self._when_idle)

    def _turn_done(self, task: asyncio.Task[None]) -> None:
        self._working = None
        if task.cancelled() and not self._closed:
            if self._held is None:
                self._set_state("cancelled", "Reading the repository was cancelled.")
            else:  # what was held goes on holding, and the next change reads what this turn would have
                self._set_state("ready")
        elif self._again:
            self._later("sync", 0.0, self._begin)

    def _relayout_ended(self, in_force: bool, cancelled: bool) -> None:
        if in_force:
            context = self._session.context
            self._relaid = context.segments() if context is not None else None
            self._relayout_failures = 0
            self._begin()
        elif self._relayout_was_due:
            self._layout_due = True  # for the next change to try again, or soon
            self._relayout_failures += 1
            if not cancelled and self._relayout_failures <= 3:
                self._later("relayout", RETRY_SECONDS * self._relayout_failures, self._begin)

    async def _guarded(self, turn: Coroutine[Any, Any, None]) -> None:
        try:
            await turn
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

    def _overflows(self, context: RepositoryContext) -> bool:
        # What a new layout has just left is as small as it gets.
        relaid = context.segments() is self._relaid
        return self.budget > 0 and not relaid and context.overflows(self._maker.budget)

    # -- one turn ----------------------------------------------------------------------------------------

    async def _bring_up_to_date(self) -> None:
        for _ in range(_ROUNDS):
            context = self._session.context
            if context is None:
                return
            try:
                await self._one_round(context)
            except TextsStale:  # what the layout says can't be had any more: neither by it nor by the memory
                self._laid_out, self._memory_serves = None, False
                continue
            if self._session.context is context and not self._rescan_due:
                return
        _LOG.warning("The files change faster than they can be read; the next change tries again.")

    async def _one_round(self, context: RepositoryContext) -> None:
        if self._laid_out is not context:
            await self._first_reading(context)
            return
        if self._rescan_due:
            await self._rescan(context)
        await self._purge(context)
        if self._held is None or self._held_is_lost():
            with self._board.work("Deltaloom", self._cancel) as progress:
                await self._sync(context, progress)
        elif not self._overflows(context):  # else completions go on from what is held meanwhile
            await self._sync(context)
        due = self._layout_due or self._overflows(context)
        if due and self._session.context is context and self._relayout.task is None:
            self._layout_due, self._relayout_was_due = False, True
            self._relayout.begin(context, keep_versions=True)

    async def _first_reading(self, context: RepositoryContext) -> None:
        """A first layout of this context, an earlier session's where it still serves, and all of it read."""
        await self._relayout.stop()
        before = self._laid_out.known_paths() if self._laid_out is not None else set()
        with self._board.work("Deltaloom", self._cancel) as progress:
            self._layout_due = self._rescan_due = False
            try:
                if self.state != "ready":
                    self._set_state("scanning")
                progress.report("looking at the files")
                await self._maker.lay_out_first(context, before, memory_serves=self._memory_serves)
            except BaseException:
                self._layout_due = True  # whatever ended it: the layout is still to be made
                raise
            if self._session.context is context:
                self._laid_out = context
                await self._purge(context)
                await self._sync(context, progress)

    async def _rescan(self, context: RepositoryContext) -> None:
        """Bring in what changed on disk: an earlier state as a whole, or in the log where it finds room."""
        self._rescan_due = False
        try:
            await self._relayout.stop()  # it is of the files as they were
            fits = await self._maker.bring_in_disk(context)
        except BaseException:
            self._rescan_due = True
            raise
        self._layout_due = self._layout_due or not fits

    async def _purge(self, context: RepositoryContext) -> None:
        """Have the worker forget what may no longer be shown, in memory and on disk."""
        if not context.has_to_purge:
            return
        await self._relayout.stop()
        paths = context.take_purged()
        try:
            await self._client.purge(PurgeRequest(self._session.workspace, sorted(paths)))
        except BaseException:
            context.still_to_purge(paths)
            raise
        self._held = None
        self._set_state("indexing")

    def _cancel(self) -> None:
        if self._working is not None:
            self._working.cancel()

    async def _sync(self, context: RepositoryContext, progress: WorkProgress | None = None) -> None:
        """Until the worker confirms the context's segments as they are at the end of it."""
        for _ in range(_ROUNDS):
            await self._client.start()
            await self._feed.count_log(context)
            segments = context.segments()
            held = _Held(self._client.generation, context, segments)
            if self._held == held or self._session.context is not context:
                return
            if progress is not None and self.state != "ready":
                self._set_state("indexing")
            result = await self._feed.bring(context, segments, lambda done: self._show(done, progress))
            if result is not None and self._client.generation == held.generation:
                self._held, self.last = held, result
                self.held_number += 1
                self.done = self.total = result.tokens
                self._later("remember", REMEMBER_SECONDS, self._remember_soon)

    def _show(self, update: SyncProgress, progress: WorkProgress | None) -> None:
        self.done, self.total = update.done, update.total
        if progress is not None:
            progress.report_share("indexing", update.done, update.total)

    # -- for the next session ----------------------------------------------------------------------------

    def _remember_soon(self) -> None:
        self._timers.pop("remember", None)
        self._remembering = asyncio.get_running_loop().create_task(self._remember())

    async def _remember(self) -> None:
        held = self._held
        if held is not None and held.context is self._session.context and not self._overflows(held.context):
            await self._maker.remember(held.context)
