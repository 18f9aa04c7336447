"""The steps a layout is made in: scan, budget, plan, and what the disk and earlier sessions say.

Invariant: folders and files are read in the executor, and a context is changed only on the event loop, in one
piece, by what was read for it; what changed while it was read holds over what was read.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from deltaloom_model.api import CountRequest

from .context.layout import BasePlan, Budget
from .model_client import ModelClient
from .notices import Notices
from .session import Session
from .worker_feed import WorkerFeed

if TYPE_CHECKING:
    from .context.layout_memory import LayoutMemory
    from .context.reasons import ScanResult
    from .context.repository import Content, RepositoryContext

FALLBACK_TOKENS = 4096

T = TypeVar("T")


class LayoutMaker:
    """One session's layouts. Modules that read folders are imported when first needed: they have no part in
    the start of the server."""

    def __init__(
        self, session: Session, client: ModelClient, notices: Notices, executor: Executor, feed: WorkerFeed
    ) -> None:
        self.budget = Budget(0)
        self._model = ""
        self._session, self._client, self._notices = session, client, notices
        self._executor, self._feed = executor, feed

    async def find_budget(self) -> Budget:
        """The setting, or the model's trained length. Waits for the model to be loaded."""
        await self._client.count(CountRequest([]))
        model = (await self._client.status()).model
        trained = model.context_limit if model is not None and model.context_limit else FALLBACK_TOKENS
        self._model = model.hash if model is not None else ""
        wanted = self._session.settings.context.max_tokens
        if wanted > trained:
            self._notices.tell(
                f"context.max_tokens is {wanted:,}, but the model was trained on {trained:,} tokens at most; "
                "expect weaker suggestions."
            )
        self.budget = Budget(wanted or trained)
        return self.budget

    async def scan(self, context: RepositoryContext) -> ScanResult:
        """Look at the workspace's files; its notes are told. Stops soon after this is cancelled."""
        from .context.scan import scan_workspace

        with _stop_on_exit() as cancelled:
            scan = await self._in_thread(
                lambda: scan_workspace(context.roots, context.settings, cancelled=cancelled)
            )
        for note in scan.notes:
            self._notices.tell(note)
        return scan

    async def plan(self, context: RepositoryContext, scan: ScanResult) -> BasePlan:
        """A new layout of these files, from the context as it is now."""
        from .context.planning import plan_base

        self._session.publish_text()
        request = context.plan_request(self.budget)
        return await plan_base(scan, request, self._feed.count, self._executor)

    async def lay_out_first(
        self, context: RepositoryContext, before: set[str], *, memory_serves: bool
    ) -> None:
        """A first layout: an earlier session's where it still serves, else a new one in as much of its order.

        `before` are paths that kept state may have read; those that may no longer be shown are purged.
        """
        from .disk_state import forbidden_among

        scan = await self.scan(context)
        budget = await self.find_budget()
        memory, earlier = await self._remembered()
        recalled = memory if memory_serves else None
        if recalled is not None:
            began = context.revision
            contents = await self._read_disk(
                context, scan, recalled.paths(), recalled.passed_over.__contains__
            )
            self._session.publish_text()
            context.recall(recalled, scan.left_out, contents | context.changed_since(began))
        if recalled is None or not context.log_fits(budget):
            plan = await self.plan(context, scan)
            self._session.publish_text()
            context.set_base(plan)
        context.forget_forbidden(forbidden_among(scan, before | earlier))

    async def bring_in_disk(self, context: RepositoryContext) -> bool:
        """What a new scan finds changed; False where it doesn't fit into the log, so that a layout is due."""
        from .disk_state import forbidden_among

        began = context.revision
        scan = await self.scan(context)
        contents = await self._read_disk(context, scan, context.known_paths(), context.is_passed_over)
        if self._session.context is not context:
            return True
        self._session.publish_text()
        context.forget_forbidden(forbidden_among(scan, context.known_paths()))
        contents |= context.changed_since(began)  # which was read later
        context.go_back_to(contents)
        if not context.room_for(contents, self.budget):
            return False
        context.files_changed_on_disk(contents)
        return True

    async def _read_disk(
        self,
        context: RepositoryContext,
        scan: ScanResult,
        known: Collection[str],
        is_passed_over: Callable[[str], bool],
    ) -> dict[str, Content]:
        """What the disk says of known and new files."""
        from .disk_state import read_disk

        limit = context.settings.max_file_bytes
        return await self._in_thread(lambda: read_disk(scan, known, is_passed_over, limit))

    async def _remembered(self) -> tuple[LayoutMemory | None, set[str]]:
        """The layout that an earlier session left for this workspace, budget and model; and the paths that
        kept state may have read, also where it was left for others."""
        from .context.layout_memory import load_memory

        workspace = self._session.workspace
        memory = await self._in_thread(lambda: load_memory(workspace))
        serves = memory is not None and (memory.budget, memory.model) == (self.budget.total, self._model)
        paths = memory.paths() | set(memory.purges) if memory is not None else set[str]()
        return (memory if serves else None), paths

    async def remember(self, context: RepositoryContext) -> None:
        """Keep a context's layout for later sessions."""
        from .context.layout_memory import save_memory

        memory = context.memory(self._session.workspace, self.budget, self._model)
        await self._in_thread(lambda: save_memory(memory))

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)


@contextmanager
def _stop_on_exit() -> Iterator[Callable[[], bool]]:
    """A question that becomes true when the block is left, so that a thread stops with its task."""
    stopped = threading.Event()
    try:
        yield stopped.is_set
    finally:
        stopped.set()
