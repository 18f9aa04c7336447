"""A new layout of a context that is held: planned and read beside the old one, switched to when complete.

Invariant: until it is complete nothing of it shows: completions and ordinary syncs go on from the layout that
is held, and a re-reading that fails or is cancelled leaves everything as it was.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from deltaloom_model.api import SyncProgress
from deltaloom_model.errors import DeltaloomModelError

from .context.repository import RepositoryContext
from .layout_maker import LayoutMaker
from .logs import describe, get_logger
from .session import Session
from .work_progress import ProgressBoard
from .worker_feed import TextsStale, WorkerFeed

_ROUNDS = 3

_LOG = get_logger("sync")


class Relayout:
    """At most one at a time. `on_end(in_force, cancelled)` is called at each one's end."""

    def __init__(
        self,
        session: Session,
        maker: LayoutMaker,
        feed: WorkerFeed,
        board: ProgressBoard,
        on_end: Callable[[bool, bool], None],
    ) -> None:
        self._session, self._maker, self._feed, self._board = session, maker, feed, board
        self._on_end = on_end
        self._task: asyncio.Task[bool] | None = None

    @property
    def task(self) -> asyncio.Task[bool] | None:
        """The one under way: its result says whether the new layout is in force."""
        return self._task

    def begin(self, context: RepositoryContext, *, keep_versions: bool) -> asyncio.Task[bool]:
        """Start one, unless one is under way. `keep_versions`: earlier states of the context may come back
        (a branch switched and switched back)."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._make(context, keep_versions))
            self._task.add_done_callback(self._ended)
        return self._task

    async def stop(self) -> None:
        """Break off what is under way; what has been read by then is kept by the worker."""
        if (task := self._task) is not None:
            task.cancel()
            await asyncio.wait([task])

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _ended(self, task: asyncio.Task[bool]) -> None:
        self._task = None
        self._on_end(not task.cancelled() and task.result(), task.cancelled())

    async def _make(self, context: RepositoryContext, keep_versions: bool) -> bool:
        try:
            for _ in range(_ROUNDS):
                with contextlib.suppress(TextsStale):  # the files changed while they were read
                    return await self._attempt(context, keep_versions)
            _LOG.warning("The files change faster than they can be read; the next change tries again.")
        except DeltaloomModelError as error:
            _LOG.warning("A new layout was broken off: %s", error)
        except Exception as error:
            _LOG.error("A new layout failed: %s", describe(error))
        return False

    async def _attempt(self, context: RepositoryContext, keep_versions: bool) -> bool:
        with self._board.work("Deltaloom", self._cancel) as progress:
            progress.report("looking at the files")
            scan = await self._maker.scan(context)
            await self._maker.find_budget()
            plan = await self._maker.plan(context, scan)
            if self._session.context is not context:
                return False

            def show(update: SyncProgress) -> None:
                progress.report_share("re-reading", update.done, update.total)

            preview = context.preview(plan)
            if await self._feed.bring(preview, preview.segments(), show, compaction=True) is None:
                return False
        if self._session.context is not context:
            return False
        self._session.publish_text()
        context.set_base(plan, keep_versions=keep_versions)
        return True
