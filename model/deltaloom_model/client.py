"""The server's way to the model: attach to a worker or start one, call it, survive its death.

Invariant: a call never blocks the event loop, and ends in its result or in one sentence; what a caller
believes the worker holds is true only as long as `generation` hasn't changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Literal, cast

from deltaloom_model import framing
from deltaloom_model._version import __version__
from deltaloom_model.api import (
    PROTOCOL_VERSION,
    CountRequest,
    CountResult,
    EngineStatus,
    GenerateRequest,
    GenerateResult,
    GenerateUpdate,
    ModelSpec,
    PurgeRequest,
    PurgeResult,
    StatusRequest,
    SyncProgress,
    SyncRequest,
    SyncResult,
)
from deltaloom_model.connection import Progress, WorkerConnection
from deltaloom_model.errors import DeltaloomModelError, HandshakeRefused, WorkerUnavailable
from deltaloom_model.runtime_folder import (
    absolute_spec,
    is_own_peer,
    log_folder,
    log_path,
    read_token,
    require_unix_sockets,
    runtime_folder,
    socket_path,
    socket_paths,
    worker_identity,
)
from deltaloom_model.spawn import START_SECONDS, WorkerProcess, spawn_worker, try_lock

State = Literal["stopped", "starting", "loading", "ready", "failed", "away"]

CRASHES_TOLERATED = 3
CRASH_WINDOW_SECONDS = 60.0
REPEATED_CRASH_DELAY_SECONDS = 0.5
_LOCK_POLL_SECONDS = 0.02

_log = logging.getLogger(__name__)


class EngineClient:
    """One editor session's access to the model. All methods belong to one event loop.

    `state` with its `detail` (a sentence, or "") is what a status bar shows; `on_state(state, detail)` is
    called on the loop whenever it changes. "away": the worker has gone, the next call starts another;
    "failed": the model can't be loaded, or the worker keeps crashing, until `restart()`.

    `generation` rises with every new connection: the worker then holds nothing of this session, so callers
    that see it change sync again. `spawn=False` only attaches. `engine` ("module:function") names another
    engine factory than the model's own. `idle_seconds` and `watch_seconds` go to a worker started from here.
    """

    def __init__(
        self,
        spec: ModelSpec,
        *,
        session: str,
        spawn: bool = True,
        engine: str | None = None,
        runtime_dir: Path | None = None,
        on_state: Callable[[State, str], None] | None = None,
        idle_seconds: float = 600.0,
        watch_seconds: float = 5.0,
    ) -> None:
        self.session = session
        self.state: State = "stopped"
        self.detail = ""
        self.generation = 0
        self._spec = absolute_spec(spec)
        self._spawn = spawn
        self._engine = engine
        self._runtime_dir = runtime_dir
        self._on_state = on_state
        self._idle_seconds = idle_seconds
        self._watch_seconds = watch_seconds
        self._name = ""  # of the socket, where it isn't the identity's
        self._connection: WorkerConnection | None = None
        self._connecting: asyncio.Task[WorkerConnection] | None = None
        self._losing: set[asyncio.Task[None]] = set()
        self._worker: WorkerProcess | None = None
        self._crashes: deque[float] = deque(maxlen=CRASHES_TOLERATED)
        self._gave_up = ""  # the sentence that says so, until restart()

    async def start(self) -> None:
        """Attach to a worker or start one, without asking it anything. Raises WorkerUnavailable."""
        await self._connected()

    async def count(self, request: CountRequest) -> CountResult:
        """Raises RequestFailed or WorkerUnavailable, as all calls do."""
        return cast("CountResult", await self._call(request))

    async def sync(
        self, request: SyncRequest, on_progress: Callable[[SyncProgress], None] | None = None
    ) -> SyncResult:
        """`on_progress` is called on the loop after every chunk. Cancelling the call stops the reading."""
        return cast("SyncResult", await self._call(request, cast("Progress | None", on_progress)))

    async def purge(self, request: PurgeRequest) -> PurgeResult:
        """Returns when no state in memory or on disk has read these files any more."""
        return cast("PurgeResult", await self._call(request))

    async def generate(
        self, request: GenerateRequest, on_update: Callable[[GenerateUpdate], None] | None = None
    ) -> GenerateResult:
        """`on_update` is called on the loop with each new piece of text. Cancelling stops the decoding."""
        return cast("GenerateResult", await self._call(request, cast("Progress | None", on_update)))

    async def status(self) -> EngineStatus:
        """What the worker is and holds; answered at once, also while it loads or is busy."""
        return cast("EngineStatus", await self._call(StatusRequest()))

    async def restart(self) -> None:
        """Forget earlier crashes and, where the model failed to load, have it loaded again."""
        self._crashes.clear()
        self._gave_up = ""
        if self._connection is not None and self.state == "failed":
            self._connection.ask_reload()
        elif self._connection is None and self._connecting is None:
            self._set_state("stopped")

    async def close(self) -> None:
        """Leave the worker (others may use it; alone, it leaves when idle). Calls that wait raise."""
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()
            with contextlib.suppress(asyncio.CancelledError, DeltaloomModelError, OSError):
                await connecting
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
        if self._losing:
            await asyncio.wait(self._losing)
        self._set_state("stopped")

    async def _call(
        self, request: framing.WorkRequest | StatusRequest, progress: Progress | None = None
    ) -> object:
        connection = await self._connected()
        return await connection.call(request, progress)

    async def _connected(self) -> WorkerConnection:
        if self._connection is not None:
            return self._connection
        if self._gave_up:
            raise WorkerUnavailable(self._gave_up)
        if self._connecting is None:
            # A task of its own: a caller that is cancelled must not take the start from the others.
            self._connecting = asyncio.create_task(self._connect())
            self._connecting.add_done_callback(self._connecting_done)
        return await asyncio.shield(self._connecting)

    def _connecting_done(self, task: asyncio.Task[WorkerConnection]) -> None:
        if self._connecting is task:
            self._connecting = None
        if not task.cancelled():
            task.exception()  # seen: its callers may all have been cancelled

    async def _connect(self) -> WorkerConnection:
        self._set_state("starting")
        if len(self._recent_crashes()) > 1:
            await asyncio.sleep(REPEATED_CRASH_DELAY_SECONDS)
        try:
            require_unix_sockets()
            folder = runtime_folder(self._runtime_dir)
            identity = await asyncio.to_thread(worker_identity, self._spec, self._engine)
            connection = await self._attach_or_start(folder, identity)
        except WorkerUnavailable as error:
            if self._spawn and not isinstance(error, HandshakeRefused):
                self._note_crash()
            self._set_state_after_loss(str(error))
            raise
        except DeltaloomModelError as error:
            self._set_state("failed", str(error))
            raise
        self._connection = connection
        self.generation += 1
        return connection

    async def _attach_or_start(self, folder: Path, identity: str) -> WorkerConnection:
        deadline = time.monotonic() + START_SECONDS
        refusals = 0
        started: WorkerProcess | None = None
        while True:
            socket_file = socket_path(folder, self._name or identity)
            try:
                return await WorkerConnection.open(
                    socket_file, identity, on_status=self._take_status, on_lost=self._lost
                )
            except HandshakeRefused:
                # Once may be a token read just before its worker was replaced. Then the worker there is a
                # foreign one, and ours gets a socket of its own.
                refusals += 1
                if refusals > 2 or (refusals == 2 and not self._spawn):
                    raise
                if refusals == 2:
                    self._name = secrets.token_hex(8)
                continue
            except OSError:  # no socket, or a stale one
                if not self._spawn:
                    raise WorkerUnavailable("No model worker is running.") from None
            if (lock := try_lock(socket_file)) is not None:
                if started:
                    os.close(lock)
                    how = await started.exit_sentence(5.0) or "it ended"
                    raise WorkerUnavailable(
                        f"The model worker didn't stay: {how}; see {log_path(socket_file)}."
                    )
                started = self._worker = await spawn_worker(
                    socket_file,
                    self._spec,
                    lock=lock,
                    engine=self._engine,
                    idle_seconds=self._idle_seconds,
                    watch_seconds=self._watch_seconds,
                )
            elif time.monotonic() > deadline:
                raise WorkerUnavailable(
                    f"Another worker is starting or ending and doesn't answer; see {log_path(socket_file)}."
                )
            else:
                await asyncio.sleep(_LOCK_POLL_SECONDS)

    def _take_status(self, status: EngineStatus) -> None:
        self._set_state(status.state, status.detail)

    def _lost(self, goodbye: str) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if not goodbye:
            self._note_crash()
        # At once: a caller that finds the connection closed must find the state changed as well.
        self._set_state_after_loss(goodbye or "The model worker has gone; the next request starts another.")
        task = asyncio.create_task(self._explain_loss(connection, goodbye))
        self._losing.add(task)
        task.add_done_callback(self._losing.discard)

    async def _explain_loss(self, connection: WorkerConnection, goodbye: str) -> None:
        worker, self._worker = self._worker, None
        sentence = goodbye
        if not sentence:
            how = await worker.exit_sentence(0.5) if worker is not None else ""
            sentence = (
                f"The model worker has gone{': ' + how if how else ''}; the next request starts another."
            )
        connection.fail_pending(sentence)
        if self._connection is None and self._connecting is None:
            self._set_state_after_loss(sentence)

    def _set_state_after_loss(self, sentence: str) -> None:
        self._set_state("failed" if self._gave_up else "away", self._gave_up or sentence)

    def _recent_crashes(self) -> list[float]:
        return [at for at in self._crashes if time.monotonic() - at <= CRASH_WINDOW_SECONDS]

    def _note_crash(self) -> None:
        self._crashes.append(time.monotonic())
        if len(self._recent_crashes()) < CRASHES_TOLERATED:
            return
        self._gave_up = (
            f"The model worker ended {CRASHES_TOLERATED} times within {CRASH_WINDOW_SECONDS:.0f} seconds and "
            f"isn't started again until you ask for it; its log is in {log_folder()}."
        )

    def _set_state(self, state: State, detail: str = "") -> None:
        if (state, detail) == (self.state, self.detail):
            return
        self.state, self.detail = state, detail
        if self._on_state is None:
            return
        try:
            self._on_state(state, detail)
        except Exception:  # what shows the state must not break what it shows
            _log.exception("on_state failed")


def ping_status(runtime_dir: Path | None = None, *, seconds: float = 2.0) -> list[EngineStatus]:
    """The status of every live worker of this user, whatever its model; starts none. Blocks, briefly."""
    require_unix_sockets()
    found = (_observe(path, seconds) for path in socket_paths(runtime_folder(runtime_dir)))
    return [status for status in found if status is not None]


def _observe(socket_file: Path, seconds: float) -> EngineStatus | None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(seconds)
        try:
            connection.connect(str(socket_file))
            if not is_own_peer(connection):
                return None
            hello = framing.Hello(read_token(socket_file), PROTOCOL_VERSION, __version__)
            connection.sendall(framing.encode(framing.RequestEnvelope(1, hello)))
            answer = framing.decode_reply(framing.receive_frame(connection)).body
        except (OSError, framing.FrameError, WorkerUnavailable):
            return None
    return answer.status if isinstance(answer, framing.Welcome) else None
