"""`textDocument/didOpen`, `didChange`, `didSave`, `didClose`.

Invariant: after each notification a document's text is the editor's, or the document isn't known any more
and the user has been told; a failing handler never leaves a wrong text behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lsprotocol import types

from ..logs import describe, get_logger
from ..session import file_path

if TYPE_CHECKING:
    from ..language_server import DeltaloomServer

_LOG = get_logger("text")


def register(server: DeltaloomServer) -> None:
    """The four notifications; changes are incremental (the constructor's default)."""
    server.feature(types.TEXT_DOCUMENT_DID_OPEN)(_did_open)
    server.feature(types.TEXT_DOCUMENT_DID_CHANGE)(_did_change)
    server.feature(types.TEXT_DOCUMENT_DID_SAVE, types.SaveOptions(include_text=False))(_did_save)
    server.feature(types.TEXT_DOCUMENT_DID_CLOSE)(_did_close)


def _did_open(ls: DeltaloomServer, params: types.DidOpenTextDocumentParams) -> None:
    item = params.text_document
    try:
        ls.session.open_document(item.uri, str(item.language_id), item.version, item.text)
    except Exception as error:
        _lost(ls, item.uri, error)
        return
    ls.notices.forget(_out_of_step(item.uri))
    ls.begin()
    _changed(ls)
    ls.security.diagnosis.changed(item.uri)


def _did_change(ls: DeltaloomServer, params: types.DidChangeTextDocumentParams) -> None:
    uri = params.text_document.uri
    try:
        ls.session.change_document(uri, params.text_document.version, params.content_changes)
    except Exception as error:
        _lost(ls, uri, error)
        return
    if ls.sync is not None:
        ls.sync.note_edit()
    ls.security.diagnosis.changed(uri)


def _did_save(ls: DeltaloomServer, params: types.DidSaveTextDocumentParams) -> None:
    # The text is known already. A project file's new text counts from now on, watcher or not.
    uri = params.text_document.uri
    path = file_path(uri)
    if uri in ls.session.documents:
        ls.security.diagnosis.saved(uri)
    if path is not None and ls.session.is_project_file(path):
        from .configuration import settings_changed

        settings_changed(ls)


def _did_close(ls: DeltaloomServer, params: types.DidCloseTextDocumentParams) -> None:
    uri = params.text_document.uri
    path = ls.session.close_document(uri)
    if ls.watch is not None and path is not None:
        ls.watch.document_closed(path)
    _changed(ls)
    _forget_findings(ls, uri)


def change_was_lost(ls: DeltaloomServer, params: object) -> None:
    """A `didOpen` or `didChange` that can't be read: its document's text isn't known from here on."""
    document = params.get("textDocument") if isinstance(params, dict) else None
    uri = document.get("uri") if isinstance(document, dict) else None
    if isinstance(uri, str):
        _lost(ls, uri, None)
        return
    # Which document changed can't be told, so none can be trusted.
    for known in list(ls.session.documents):
        _lost(ls, known, None)


def _lost(ls: DeltaloomServer, uri: str, error: Exception | None) -> None:
    if error is not None:
        _LOG.error("A document's change failed: %s", describe(error))
    path = ls.session.drop_document(uri)
    if ls.watch is not None and path is not None:
        ls.watch.document_closed(path)
    ls.notices.tell(_out_of_step(uri))
    _forget_findings(ls, uri)


def _forget_findings(ls: DeltaloomServer, uri: str) -> None:
    from .diagnostics import push_none

    ls.security.diagnosis.closed(uri)
    ls.findings_may_differ()
    push_none(ls, uri)


def _out_of_step(uri: str) -> str:
    name = uri.rpartition("/")[2] or uri
    return f"The text of {name} got out of step; close and open it again to get suggestions there."


def _changed(ls: DeltaloomServer) -> None:
    if ls.sync is not None:
        ls.sync.note_change()
