"""`textDocument/diagnostic`, `workspace/diagnostic`, and `publishDiagnostics` for clients that don't ask.

Invariant: a report is about the text that it names by its result id; an editor that has it already is told so
instead. A whole workspace is told of piece by piece where the client gave a token for that.
"""

from __future__ import annotations

import asyncio
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from lsprotocol import types

from ..logs import get_logger

if TYPE_CHECKING:
    from ..language_server import DeltaloomServer
    from ..security.finding import Inspection
    from ..security.workspace_findings import FileFindings

REPORT = "deltaloom/securityReport"
IDENTIFIER = "deltaloom"

_PIECE = 50
"""Files in one partial result."""
_MOST_WAITING_SECONDS = 600.0

_LOG = get_logger("diagnostics")

WorkspaceDocumentReport = (
    types.WorkspaceFullDocumentDiagnosticReport | types.WorkspaceUnchangedDocumentDiagnosticReport
)


def register(server: DeltaloomServer) -> None:
    """Both requests, and the report about what diagnostics have no room for."""
    options = types.DiagnosticOptions(
        identifier=IDENTIFIER,
        inter_file_dependencies=False,
        workspace_diagnostics=True,
        work_done_progress=True,
    )
    server.feature(types.TEXT_DOCUMENT_DIAGNOSTIC, options)(_document_diagnostic)
    server.feature(types.WORKSPACE_DIAGNOSTIC)(_workspace_diagnostic)
    server.feature(REPORT)(_report)


def news(ls: DeltaloomServer, uri: str) -> None:
    """All scanners have looked at an open document and see something else than was told."""
    if ls.session.client.pull_diagnostics:
        if ls.session.client.diagnostic_refresh:
            ls.in_background(ls.workspace_diagnostic_refresh_async(None))
        ls.findings_may_differ()
    else:
        ls.in_background(push(ls, uri))


async def push(ls: DeltaloomServer, uri: str) -> None:
    """Send an open document's diagnostics to a client that doesn't ask for them."""
    if ls.session.client.pull_diagnostics or uri not in ls.session.documents:
        return
    snapshot, inspection = await ls.security.diagnosis.current(uri)
    if uri not in ls.session.documents or ls.session.documents[uri].version != snapshot.version:
        return
    ls.text_document_publish_diagnostics(
        types.PublishDiagnosticsParams(
            uri, _diagnostics(ls, uri, inspection, snapshot.lines), snapshot.version
        )
    )


def push_none(ls: DeltaloomServer, uri: str) -> None:
    """A document was closed: a client that doesn't ask would show its diagnostics for ever."""
    if not ls.session.client.pull_diagnostics:
        ls.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, []))


async def _document_diagnostic(
    ls: DeltaloomServer, params: types.DocumentDiagnosticParams
) -> types.RelatedFullDocumentDiagnosticReport | types.RelatedUnchangedDocumentDiagnosticReport:
    uri = params.text_document.uri
    if not ls.session.settings.security.enabled:
        return types.RelatedFullDocumentDiagnosticReport(items=[], result_id="off")
    snapshot, inspection = await ls.security.diagnosis.current(uri)
    result_id = _result_id(ls, inspection)
    if params.previous_result_id == result_id:
        return types.RelatedUnchangedDocumentDiagnosticReport(result_id=result_id)
    items = _diagnostics(ls, uri, inspection, snapshot.lines)
    return types.RelatedFullDocumentDiagnosticReport(items=items, result_id=result_id)


async def _workspace_diagnostic(
    ls: DeltaloomServer, params: types.WorkspaceDiagnosticParams
) -> types.WorkspaceDiagnosticReport:
    previous = {entry.uri: entry.value for entry in params.previous_result_ids}
    if not ls.session.settings.security.enabled:
        return types.WorkspaceDiagnosticReport(items=[_nothing(uri) for uri in previous])
    workspace = ls.security.workspace
    if previous and workspace.report.complete:
        # The client asks again at once: it is answered when there may be something new.
        try:
            async with asyncio.timeout(_MOST_WAITING_SECONDS):
                await workspace.wait_for_news()
        except TimeoutError:
            return types.WorkspaceDiagnosticReport(items=[])
    items: list[WorkspaceDocumentReport] = []
    pieces = _Pieces(ls, params.partial_result_token)
    seen: set[str] = set()
    task = asyncio.current_task()
    assert task is not None, "a request is a task"
    token = params.work_done_token
    given = (ls.protocol, token) if token is not None else None
    with ls.board.work("Looking for weaknesses", task.cancel, given) as progress:
        async for file in workspace.run(progress=partial(progress.report_share, "files")):
            seen.add(file.uri)
            pieces.add(items, _file_report(ls, file, previous.get(file.uri)))
    for uri in previous.keys() - seen:
        pieces.add(items, _nothing(uri))
    pieces.flush(items)
    return types.WorkspaceDiagnosticReport(items=items)


async def _report(ls: DeltaloomServer, params: Any) -> dict[str, Any]:
    """What the last pass over the workspace found that diagnostics don't say: suppressed findings, what
    wasn't scanned, what the workspace's own configuration would hide, and how much was looked at."""
    from ..security.scanners.hidden_config import hidden_by_configuration

    report = ls.security.workspace.report
    loop = asyncio.get_running_loop()
    settings = ls.session.settings.security
    notes = [*ls.session.hides, *report.notes]
    for root in ls.session.roots:
        notes += await loop.run_in_executor(ls.executor, hidden_by_configuration, Path(root.real))
    return {
        "files": len(report.paths),
        "paths": sorted(report.paths),
        "cached": report.cached,
        "complete": report.complete,
        "notes": notes,
        "settings": {
            "severity": settings.severity,
            "confidence": settings.confidence,
            "select": list(settings.select),
            "ignore": list(settings.ignore),
        },
        "inspections": {uri: msgspec.to_builtins(one) for uri, one in report.inspections.items()},
        "lines": report.lines,
    }


class _Pieces:
    """Reports sent as they come, where the client gave a token; else gathered for the answer."""

    def __init__(self, ls: DeltaloomServer, token: types.ProgressToken | None) -> None:
        self._ls, self._token = ls, token

    def add(self, items: list[WorkspaceDocumentReport], report: WorkspaceDocumentReport | None) -> None:
        if report is not None:
            items.append(report)
        if self._token is not None and len(items) >= _PIECE:
            self.flush(items)

    def flush(self, items: list[WorkspaceDocumentReport]) -> None:
        if self._token is None or not items:
            return
        value = types.WorkspaceDiagnosticReportPartialResult(items=list(items))
        self._ls.protocol.notify(types.PROGRESS, types.ProgressParams(token=self._token, value=value))
        items.clear()


def _file_report(
    ls: DeltaloomServer, file: FileFindings, previous: str | None
) -> WorkspaceDocumentReport | None:
    result_id = _result_id(ls, file.inspection)
    if previous == result_id:
        return types.WorkspaceUnchangedDocumentDiagnosticReport(
            uri=file.uri, version=file.version, result_id=result_id
        )
    items = _diagnostics(ls, file.uri, file.inspection, file.lines)
    if not items and previous is None:
        return None
    return types.WorkspaceFullDocumentDiagnosticReport(
        uri=file.uri, version=file.version, items=items, result_id=result_id
    )


def _nothing(uri: str) -> types.WorkspaceFullDocumentDiagnosticReport:
    return types.WorkspaceFullDocumentDiagnosticReport(uri=uri, items=[], version=None)


def _diagnostics(
    ls: DeltaloomServer, uri: str, inspection: Inspection, lines: tuple[str, ...]
) -> list[types.Diagnostic]:
    from ..security.lsp_diagnostics import to_diagnostics

    found = ls.security.diagnosis.shown(inspection)
    return to_diagnostics(inspection, found, lines, ls.session.encoding, uri)


def _result_id(ls: DeltaloomServer, inspection: Inspection) -> str:
    """Changes with what is shown: equal findings of another text stand elsewhere, perhaps."""
    shown = ls.security.diagnosis.shown(inspection)
    told = msgspec.msgpack.encode((inspection.digest, shown, inspection.unscanned))
    return blake2b(told, digest_size=12).hexdigest()
