"""The language server: a pygls server whose handlers share one `Session`.

Invariant: nothing is read, started or scanned before the reply to `initialize`; leaving ends within
`CLOSE_SECONDS`, whatever still runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deltaloom_model._version import __version__

from .logs import describe, get_logger, start_logging
from .notices import Notices, Weight
from .stdio import BrokenFrame, FrameParser, StdoutFrames, claim_stdout, read_stdin


@contextlib.contextmanager
def _collector_paused() -> Iterator[None]:
    """Creating lsprotocol's 554 classes costs a sixth less without the collector walking them each time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


with _collector_paused():
    from lsprotocol import types
    from pygls.lsp.server import LanguageServer

    from .handlers import (
        code_action,
        compact,
        completion,
        configuration,
        diagnostics,
        inline_completion,
        lifecycle,
        progress,
        status,
        text_sync,
        watched_files,
    )
    from .protocol import PARSE_ERROR, DeltaloomProtocol
    from .session import Session
    from .work_progress import ProgressBoard
    from .worker_client import engine_client, model_spec

if TYPE_CHECKING:
    from pygls.io_ import Writer

    from deltaloom_model.api import ModelSpec

    from .disk_watch import DiskWatch
    from .model_client import ModelClient
    from .security.service import SecurityService
    from .status_reports import StatusReports
    from .suggest import LastCompletion, Suggester
    from .workspace_sync import WorkspaceSync

CLOSE_SECONDS = 3.0

HANDLERS = (
    lifecycle,
    text_sync,
    inline_completion,
    completion,
    watched_files,
    configuration,
    progress,
    status,
    compact,
    diagnostics,
    code_action,
)
"""The registration table: one module per LSP method or family, each with `register(server)`."""

ClientFactory = Callable[["DeltaloomServer", "ModelSpec"], "ModelClient"]

_LOG = get_logger("server")


class DeltaloomServer(LanguageServer):
    """One editor session. `engine` ("module:function") names another engine factory for the worker; it comes
    from the command line only, never from a workspace or an editor's settings. `lazy`: neither the context
    nor the model worker is begun before something is asked of the model. `remember_findings`: keep what
    scanners said for the next session."""

    protocol: DeltaloomProtocol

    def __init__(
        self,
        *,
        engine: str | None = None,
        client_factory: ClientFactory | None = None,
        lazy: bool = False,
        remember_findings: bool = True,
    ) -> None:
        super().__init__("deltaloom", __version__, protocol_cls=DeltaloomProtocol)
        self.session = Session(secrets.token_hex(8))
        self.notices = Notices(self._show_message)
        self.board = ProgressBoard()
        self.executor = ThreadPoolExecutor(max_workers=2, thread_name_prefix="files")
        self.log_file: Path | None = None
        self.client: ModelClient | None = None
        self.sync: WorkspaceSync | None = None
        self.watch: DiskWatch | None = None
        self.abilities: frozenset[str] | None = None
        """What the model can do, once it is known."""
        self._suggester: Suggester | None = None
        self._security: SecurityService | None = None
        self._lazy, self._remember_findings = lazy, remember_findings
        self._engine = engine
        self._client_factory = client_factory or engine_client
        self._exit: asyncio.Future[int] | None = None
        self._reports: StatusReports | None = None
        self._background: set[asyncio.Task[Any]] = set()
        for module in HANDLERS:
            module.register(self)

    # -- what handlers use -------------------------------------------------------------------------------

    @property
    def engine(self) -> str | None:
        """The worker's engine factory, where it isn't the model's own."""
        return self._engine

    @property
    def suggester(self) -> Suggester:
        """What answers completions; made when the first one is asked for."""
        if self._suggester is None:
            from .suggest import Suggester

            self._suggester = Suggester(self)
        return self._suggester

    @property
    def security(self) -> SecurityService:
        """Findings and fixes; made when the first is asked for."""
        if self._security is None:
            from .security.service import SecurityService

            self._security = SecurityService(
                self, lambda uri: diagnostics.news(self, uri), cached=self._remember_findings
            )
        return self._security

    def security_report(self) -> dict[str, Any]:
        """What was looked at and found so far, in numbers and sentences."""
        if self._security is None:
            return {"enabled": self.session.settings.security.enabled, "started": False}
        return self._security.report()

    def findings_may_differ(self) -> None:
        """Something on disk or in a document changed: who waits for the workspace's findings gets them."""
        if self._security is not None:
            self._security.workspace.note_change()

    def security_changed(self) -> None:
        """Settings of the scanners or of what is shown are others now."""
        self.security.diagnosis.forget()
        self.findings_may_differ()
        if self.session.client.diagnostic_refresh:
            self.in_background(self.workspace_diagnostic_refresh_async(None))

    @property
    def last_completion(self) -> LastCompletion | None:
        """What the last completion gave, or why it gave nothing."""
        return self._suggester.last if self._suggester else None

    def forget_suggestions(self) -> None:
        """What was suggested before no longer counts."""
        if self._suggester is not None:
            self._suggester.forget()

    @property
    def is_patient(self) -> bool:
        """Nobody is typing: answers may take as long as all scanners do."""
        return self._lazy

    def begin(self) -> None:
        """The client is ready: start, unless nothing is to be started before it is needed."""
        if not self._lazy:
            self.ensure_started()

    def ensure_started(self) -> None:
        """Start the client, the sync and the watcher; by `initialized`, or by the first need of them."""
        if self.client is not None or self._exit is None:
            return
        from .disk_watch import DiskWatch

        self.session.begin_context()
        self.client = self._client_factory(self, model_spec(self.session.settings))
        self.watch = DiskWatch(self)
        self._follow_context(self.client, self.watch)

    def restart_context(self, *, new_model: bool) -> None:
        """Roots or settings changed: begin the context anew, with another worker where the model changed."""
        if self.sync is None or self.client is None or self.watch is None:
            return
        self.forget_suggestions()
        before = self.sync.held_number
        self.in_background(self.sync.close())
        self.watch.stop()
        if new_model:
            self.in_background(self.client.close())
            self.client = self._client_factory(self, model_spec(self.session.settings))
        self._follow_context(self.client, self.watch)
        self.sync.held_number = before + 1  # answers still under way belong to the old context

    def _follow_context(self, client: ModelClient, watch: DiskWatch) -> None:
        """A sync of its own for the session's context, and the disk watched for it."""
        from .workspace_sync import WorkspaceSync

        self.sync = WorkspaceSync(
            self.session, client, self.notices, self.board, self.executor, self.report_soon
        )
        if self.session.context is not None:
            self.sync.start()
            watch.start()

    def engine_changed(self, state: str, detail: str) -> None:
        """The worker's state changed (called on the loop)."""
        _LOG.info("model worker: %s %s", state, detail)
        if state == "failed":
            self.notices.tell(detail, "error")
        if state == "ready":
            self.in_background(self._learn_abilities())
        if self.sync is not None:
            self.sync.worker_changed()
        self.report_soon()

    async def _learn_abilities(self) -> None:
        """What the model that is loaded now can be asked."""
        model = (await self.client.status()).model if self.client is not None else None
        if model is not None:
            self.abilities = frozenset(model.abilities)

    def engine_report(self) -> dict[str, Any]:
        """The worker's state as this session sees it; `generation` counts the connections made."""
        if self.client is None:
            return {"state": "stopped", "detail": "", "generation": 0}
        client = self.client
        return {"state": client.state, "detail": client.detail, "generation": client.generation}

    def in_background(self, work: Any) -> None:
        """Run a coroutine whose failure is only logged."""
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background_done)

    def report_soon(self) -> None:
        """Write the status file for `deltaloom status` soon; many calls make one report."""
        if self._reports is not None:
            self._reports.note_change()

    def notification_failed(self, method: str, params: object) -> None:
        """A notification's parameters can't be read. A lost text would leave a document's text wrong."""
        if method in (types.TEXT_DOCUMENT_DID_OPEN, types.TEXT_DOCUMENT_DID_CHANGE):
            text_sync.change_was_lost(self, params)

    # -- the process -------------------------------------------------------------------------------------

    async def serve(self, frames: StdoutFrames) -> int:
        """Serve over stdin and `frames` until the client says `exit`, closes stdin or has gone.

        Returns the exit status: 0 after `shutdown`, else 1.
        """
        from .status_reports import StatusReports

        loop = asyncio.get_running_loop()
        self._exit = loop.create_future()
        self._reports = StatusReports(self)
        loop.set_exception_handler(_log_unhandled)
        frames.on_broken = lambda: self.leave(1)
        self.protocol.set_writer(frames)
        self.protocol.on_exit = self.leave
        parser = FrameParser()
        read_stdin(loop, lambda chunk: self._take(parser, chunk))
        status = await self._exit
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._close()
        except TimeoutError:
            _LOG.warning("Something still ran when the server left.")
        return status

    def attach(self, bodies: Writer) -> None:
        """Serve a client in this very process: it gets message bodies through `bodies`, and sends its own to
        `protocol.receive`. `detach` ends it."""
        self._exit = asyncio.get_running_loop().create_future()
        self.protocol.set_writer(bodies, include_headers=False)
        self.protocol.on_exit = self.leave

    async def detach(self) -> None:
        """Leave a client of this process: nothing is left running."""
        self.leave(0)
        await self._close()

    def leave(self, status: int) -> None:
        """End `serve` with this exit status; the first call counts."""
        if self._exit is not None and not self._exit.done():
            self._exit.set_result(status)

    def _take(self, parser: FrameParser, chunk: bytes) -> None:
        if not chunk:
            self.leave(0 if self.protocol.is_shut_down else 1)
            return
        for body in parser.feed(chunk):
            if isinstance(body, BrokenFrame):
                _LOG.warning("%s", body)
                self.protocol.refuse(None, PARSE_ERROR, body)
            else:
                self.protocol.receive(body)

    async def _close(self) -> None:
        if self._reports is not None:
            self._reports.close()
        if self.watch is not None:
            self.watch.stop()
        if self.sync is not None:
            await self.sync.close()
        if self.client is not None:
            await self.client.close()
        if self._security is not None:
            await self._security.close()
        for task in self._background:
            task.cancel()
        self.executor.shutdown(wait=False, cancel_futures=True)

    def _background_done(self, task: asyncio.Task[Any]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _LOG.error("Background work failed: %s", describe(error))

    def _show_message(self, weight: Weight, sentence: str) -> None:
        kind = {
            "error": types.MessageType.Error,
            "warning": types.MessageType.Warning,
            "info": types.MessageType.Info,
        }[weight]
        self.window_show_message(types.ShowMessageParams(type=kind, message=f"Deltaloom: {sentence}"))


def create_server(
    *,
    engine: str | None = None,
    client_factory: ClientFactory | None = None,
    lazy: bool = False,
    remember_findings: bool = True,
) -> DeltaloomServer:
    """A server that has not begun to serve. `client_factory` replaces `EngineClient`."""
    return DeltaloomServer(
        engine=engine, client_factory=client_factory, lazy=lazy, remember_findings=remember_findings
    )


def run_stdio(*, engine: str | None = None) -> int:
    """Serve one editor over stdin and stdout; returns the process's exit status."""
    frames = claim_stdout()
    log_file = start_logging()
    server = create_server(engine=engine)
    server.log_file = log_file
    _LOG.info("started, version %s", __version__)
    status = asyncio.run(server.serve(frames))
    _LOG.info("left with status %d", status)
    return status


def _log_unhandled(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    _LOG.error("Unhandled: %s", describe(error) if error is not None else context.get("message", ""))
