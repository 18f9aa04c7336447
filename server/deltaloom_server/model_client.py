"""What the server uses of the model package's client; tests and other engines implement the same.

Invariant: no method blocks the event loop; each ends in its result or raises `DeltaloomModelError`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from deltaloom_model.api import (
    CountRequest,
    CountResult,
    EngineStatus,
    GenerateRequest,
    GenerateResult,
    GenerateUpdate,
    PurgeRequest,
    PurgeResult,
    SyncProgress,
    SyncRequest,
    SyncResult,
)


class ModelClient(Protocol):
    """What is used of `EngineClient`, which says what each means."""

    @property
    def state(self) -> str: ...
    @property
    def detail(self) -> str: ...
    @property
    def generation(self) -> int: ...

    async def start(self) -> None: ...
    async def count(self, request: CountRequest) -> CountResult: ...
    async def sync(
        self, request: SyncRequest, on_progress: Callable[[SyncProgress], None] | None = None
    ) -> SyncResult: ...
    async def purge(self, request: PurgeRequest) -> PurgeResult: ...
    async def generate(
        self, request: GenerateRequest, on_update: Callable[[GenerateUpdate], None] | None = None
    ) -> GenerateResult: ...
    async def status(self) -> EngineStatus: ...
    async def restart(self) -> None: ...
    async def close(self) -> None: ...
