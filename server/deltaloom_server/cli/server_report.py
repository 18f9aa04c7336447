"""What a language server says about itself when asked for `deltaloom/status`, as the command line uses it.

Invariant: every field comes from the server's answer; what an answer lacks is empty here, never guessed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from deltaloom_model.api import EngineStatus, Restore
from deltaloom_server.cli.lsp_client import ServerFailed

if TYPE_CHECKING:
    from deltaloom_server.cli.lsp_client import LspClient

STATUS = "deltaloom/status"
_POLL_SECONDS = 0.05
_OVER = frozenset({"ready", "cancelled", "unavailable"})


class LastCompletion(msgspec.Struct, frozen=True, kw_only=True):
    """The last completion: `source` is "model", "cache" or "none"; costs are the engine's own counts.

    `read` counts tokens by cause. Times are in milliseconds.
    """

    source: str
    reason: str = ""
    new_tokens: int = 0
    read: dict[str, int] = {}
    context_tokens: int = 0
    restored_at: int = 0
    repository_context: bool = True
    logits_digest: str = ""
    mean_logprob: float = 0.0
    first_token_milliseconds: float = 0.0
    milliseconds: float = 0.0

    @property
    def read_by_cause(self) -> str:
        """What was read, for people: "414 anchor, 6 typed"."""
        return ", ".join(f"{count} {cause}" for cause, count in self.read.items() if count) or "nothing"

    @property
    def tokens_read(self) -> int:
        """Tokens of the prompt that went through the model for this completion; new ones aren't counted."""
        return sum(count for cause, count in self.read.items() if cause != "decode")


class WorkspacePass(msgspec.Struct, frozen=True):
    """The last look at the whole workspace."""

    files: int = 0
    cached: int = 0
    complete: bool = False
    findings: int = 0


class SecurityStatus(msgspec.Struct, frozen=True):
    """What scanners looked at; `findings` are those shown in open documents."""

    enabled: bool = True
    started: bool = False
    scanners: dict[str, str] = {}
    documents: int = 0
    findings: int = 0
    not_scanned: list[str] = []
    workspace: WorkspacePass = WorkspacePass()
    last_fix: str = ""


class ReportedFile(msgspec.Struct, frozen=True):
    """One segment: `region` is base, log or open; a stale copy isn't `current`; `form` is full, outline, or
    names for a list of files."""

    path: str
    region: str
    tokens: int
    current: bool = True
    form: str = "full"


class LeftOutFile(msgspec.Struct, frozen=True):
    """A path that isn't in the context, and why."""

    path: str
    reason: str


class ContextStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The context and its sync; `done` of `total` tokens are in place."""

    state: str
    detail: str = ""
    done: int = 0
    total: int = 0
    budget: int = 0
    revision: int = 0
    base_tokens: int = 0
    log_tokens: int = 0
    files: list[ReportedFile] = []
    left_out: list[LeftOutFile] = []
    left_out_by_reason: dict[str, int] = {}
    notes: list[str] = []

    @property
    def left_out_counts(self) -> str:
        """How many files each reason keeps out, for people; "" where none is left out."""
        return ", ".join(f"{count} {reason}" for reason, count in self.left_out_by_reason.items())


class ServerReport(msgspec.Struct, frozen=True, kw_only=True):
    """One language server's own report; fields that aren't used here are passed over."""

    context: ContextStatus
    version: str = ""
    pid: int = 0
    roots: list[str] = []
    documents: int = 0
    engine: dict[str, Any] = {}
    last_completion: LastCompletion | None = None
    security: SecurityStatus = SecurityStatus()
    messages: list[str] = []
    log: str | None = None
    worker: EngineStatus | None = None

    @property
    def tokens(self) -> int:
        """The length of the context that is kept: base and log."""
        return self.context.base_tokens + self.context.log_tokens

    @property
    def restores(self) -> list[Restore]:
        """The last restores of the worker, oldest first."""
        return self.worker.restores if self.worker is not None else []

    @property
    def counters(self) -> dict[str, int]:
        """Tokens that entered the first layer since the worker started, by cause."""
        return self.worker.counters if self.worker is not None else {}

    @property
    def files(self) -> int:
        """How many files stand in the context, in full or as outlines, stale copies not counted."""
        return sum(1 for file in self.context.files if file.current and file.form != "names")

    @property
    def outlines(self) -> int:
        """How many of them stand as outlines."""
        return sum(1 for file in self.context.files if file.current and file.form == "outline")

    @property
    def model(self) -> str:
        """The model's name and the beginning of its hash; "" while none is loaded."""
        model = self.worker.model if self.worker is not None else None
        return f"{model.name} {model.hash[:12]}" if model is not None else ""


def parse_report(answer: object) -> ServerReport:
    """Check and convert one answer to `deltaloom/status`. Raises ServerFailed when it isn't one."""
    try:
        return msgspec.convert(answer, ServerReport)
    except msgspec.ValidationError as error:
        raise ServerFailed(f"The server's status can't be understood ({error}).") from None


async def fetch_report(client: LspClient) -> ServerReport:
    """Ask a server for its report."""
    return parse_report(await client.request(STATUS, None))


async def wait_until_ready(client: LspClient) -> ServerReport:
    """Wait until the workspace has been read. Raises ServerFailed with its reason if it won't be."""
    while True:
        report = await fetch_report(client)
        context = report.context
        if context.state == "ready":
            return report
        if report.engine.get("state") == "failed" or context.state in _OVER:
            detail = context.detail or report.engine.get("detail") or "see `deltaloom logs`."
            raise ServerFailed(str(detail))
        await asyncio.sleep(_POLL_SECONDS)
