"""Gives the worker what a context says: counts, texts that it lacks, segments until it confirms them.

Invariant: what `bring` returns, the worker has confirmed for exactly the segments that it was called with.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor

from deltaloom_model.api import CountRequest, Segment, SyncProgress, SyncRequest, SyncResult

from .context.repository import RepositoryContext
from .model_client import ModelClient
from .session import Session

MAX_TEXT_BYTES = 8 << 20
"""Of texts in one request: the worker answers other requests in between."""
_ROUNDS = 6


class TextsStale(Exception):
    """The disk no longer holds what the layout says: a new layout is due."""


class WorkerFeed:
    """One session's requests to the worker. All methods belong to the event loop."""

    def __init__(self, session: Session, client: ModelClient, executor: Executor) -> None:
        self._session, self._client, self._executor = session, client, executor
        self._revision = 0

    async def bring(
        self,
        context: RepositoryContext,
        segments: tuple[Segment, ...],
        show: Callable[[SyncProgress], None],
        *,
        compaction: bool = False,
    ) -> SyncResult | None:
        """Until the worker has these segments in place (with `compaction`: prepared beside what it holds).

        None where something newer took over. Raises TextsStale, DeltaloomModelError.
        """
        for _ in range(_ROUNDS):
            self._revision += 1
            request = SyncRequest(
                self._session.id,
                self._session.workspace,
                self._session.repository,
                self._revision,
                list(segments),
                compaction=compaction,
            )
            result = await self._client.sync(request, show)
            if result.superseded:
                return None
            if not result.missing:
                return result
            await self._supply(context, segments, result.missing)
        raise TextsStale

    async def count_log(self, context: RepositoryContext) -> None:
        """Have the log's entries counted whose tokens are only estimated."""
        segments, texts = context.uncounted()
        if segments:
            context.record_tokens(segments, await self.count(segments, texts))

    async def count(self, segments: Sequence[Segment], texts: Mapping[str, str]) -> list[int]:
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
        await self.count([by_digest[digest] for digest in missing], found)
