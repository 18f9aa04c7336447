"""`workspace/didChangeWatchedFiles` and `workspace/didChangeWorkspaceFolders`.

Invariant: what an editor reports and what our own watcher sees take the same way, so that it doesn't matter
which of them comes first, or that both do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lsprotocol import types

from ..session import file_path

if TYPE_CHECKING:
    from ..language_server import DeltaloomServer


def register(server: DeltaloomServer) -> None:
    """Both notifications. No file watcher is asked of the client: the server has its own."""
    server.feature(types.WORKSPACE_DID_CHANGE_WATCHED_FILES)(_did_change_watched_files)
    server.feature(types.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS)(_did_change_workspace_folders)


def _did_change_watched_files(ls: DeltaloomServer, params: types.DidChangeWatchedFilesParams) -> None:
    paths = (file_path(change.uri) for change in params.changes)
    if ls.watch is not None:
        ls.watch.changed(frozenset(path for path in paths if path is not None))


def _did_change_workspace_folders(ls: DeltaloomServer, params: types.DidChangeWorkspaceFoldersParams) -> None:
    removed = {file_path(folder.uri) for folder in params.event.removed}
    added = (file_path(folder.uri) for folder in params.event.added)
    kept = [root.folder for root in ls.session.roots if root.folder not in removed]
    for sentence in ls.session.change_roots([*kept, *(path for path in added if path is not None)]):
        ls.notices.tell(sentence)
    ls.restart_context(new_model=False)
