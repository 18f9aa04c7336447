"""`initialize`, `initialized`, and the editor's own process.

Invariant: `initialize` only takes notes; what costs time begins with `initialized`, or with the first
document of a client that never sends it.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from lsprotocol import types

from ..logs import get_logger, set_level
from ..positions import negotiate
from ..session import ClientFeatures, file_path

if TYPE_CHECKING:
    from ..language_server import DeltaloomServer

PARENT_POLL_SECONDS = 3.0

_LOG = get_logger("lifecycle")


def register(server: DeltaloomServer) -> None:
    """`initialize` and `initialized`."""
    server.feature(types.INITIALIZE)(_initialize)
    server.feature(types.INITIALIZED)(_initialized)


def _initialize(ls: DeltaloomServer, params: types.InitializeParams) -> None:
    general = params.capabilities.general
    offered = general.position_encodings if general else None
    ls.session.encoding = negotiate([str(getattr(name, "value", name)) for name in offered or ()])
    ls.session.client = _features(params.capabilities)
    folders = [file_path(folder.uri) for folder in params.workspace_folders or []]
    if params.workspace_folders is None:
        uri = params.root_uri
        folders = [file_path(uri) if uri else params.root_path or None]
    problems = ls.session.configure(
        params.initialization_options, [folder for folder in folders if folder is not None]
    )
    set_level(ls.session.settings.log.level)
    for sentence in problems:
        ls.notices.tell(sentence)
    if params.process_id is not None:
        _watch_parent(ls, params.process_id)
    _LOG.info("initialize: %d folders, positions in %s", len(ls.session.roots), ls.session.encoding)


def _initialized(ls: DeltaloomServer, _params: types.InitializedParams) -> None:
    # Before `initialized` a server may not ask its client for anything, progress tokens included.
    if ls.session.client.progress:
        ls.board.use(ls.protocol)
    ls.begin()


def _features(capabilities: types.ClientCapabilities) -> ClientFeatures:
    window, workspace, text = capabilities.window, capabilities.workspace, capabilities.text_document
    item = text.completion.completion_item if text and text.completion else None
    edits = workspace.workspace_edit if workspace else None
    refresh = workspace.diagnostics if workspace else None
    resolve = text.code_action.resolve_support if text and text.code_action else None
    return ClientFeatures(
        progress=bool(window and window.work_done_progress),
        configuration=bool(workspace and workspace.configuration),
        inline_completion=bool(text and text.inline_completion is not None),
        markdown=types.MarkupKind.Markdown in ((item and item.documentation_format) or ()),
        pull_diagnostics=bool(text and text.diagnostic is not None),
        diagnostic_refresh=bool(refresh and refresh.refresh_support),
        resolves_edits="edit" in (resolve.properties if resolve else ()),
        disabled_actions=bool(text and text.code_action and text.code_action.disabled_support),
        document_changes=bool(edits and edits.document_changes),
        change_annotations=bool(edits and edits.change_annotation_support is not None),
        show_document=bool(window and window.show_document and window.show_document.support),
    )


def _watch_parent(ls: DeltaloomServer, process_id: int) -> None:
    """Leave when the editor's process ends (LSP 3.18, `InitializeParams.processId`)."""
    loop = asyncio.get_running_loop()
    if not _is_alive(process_id):
        # A process id of another machine or container: no telling, stdin's end must do.
        _LOG.info("the editor's process can't be seen from here")
        return
    try:
        descriptor = os.pidfd_open(process_id)
    except (AttributeError, OSError):
        _poll_parent(ls, process_id, loop)
        return

    def gone() -> None:
        loop.remove_reader(descriptor)
        os.close(descriptor)
        _parent_gone(ls)

    loop.add_reader(descriptor, gone)


def _poll_parent(ls: DeltaloomServer, process_id: int, loop: asyncio.AbstractEventLoop) -> None:
    if _is_alive(process_id):
        loop.call_later(PARENT_POLL_SECONDS, _poll_parent, ls, process_id, loop)
    else:
        _parent_gone(ls)


def _parent_gone(ls: DeltaloomServer) -> None:
    _LOG.info("the editor has gone")
    ls.leave(1)


def _is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return process_id > 0
