"""Brings changes on disk into the context: our own watcher's, the editor's, and those of closed documents.

Invariant: files are read in the executor, and what was read is applied on the loop in the order in which it
was asked for; a file that a document owns by then keeps the editor's text.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .context.reading import load_text
from .context.reasons import Reason, WorkspaceFile
from .context.repository import Content, RepositoryContext
from .context.roots import gone_sentence
from .context.scan import check_paths
from .context.watch import RESCAN, Changes, Watcher
from .logs import get_logger

if TYPE_CHECKING:
    from .language_server import DeltaloomServer

RESCAN_DELAY_SECONDS = 0.3

_LOG = get_logger("disk")


class DiskWatch:
    """One session's view of the disk. All methods belong to the event loop."""

    def __init__(self, server: DeltaloomServer) -> None:
        self._server = server
        self._watcher: Watcher | None = None
        self._turn = asyncio.Lock()

    def start(self) -> None:
        """Watch the session's roots, beside whatever the editor reports."""
        server = self._server
        self._watcher = Watcher(
            server.session.roots,
            asyncio.get_running_loop(),
            changed=self.changed,
            gone=self._root_gone,
            message=server.notices.tell,
        )
        server.in_background(self._in_thread(self._watcher.start))

    def stop(self) -> None:
        """Stop watching; the watcher's own thread is waited for elsewhere."""
        if self._watcher is not None:
            self._server.in_background(self._in_thread(self._watcher.stop))
            self._watcher = None

    def changed(self, changes: Changes) -> None:
        """Paths (absolute) changed on disk, or all of them may have."""
        server = self._server
        server.findings_may_differ()
        if server.session.context is None or server.sync is None:
            return
        if changes is RESCAN:
            server.sync.request_rescan(RESCAN_DELAY_SECONDS)
            return
        if any(map(server.session.is_project_file, changes)):
            from .handlers.configuration import settings_changed

            settings_changed(server)
        server.in_background(self._apply(server.session.context, changes))

    def document_closed(self, path: str) -> None:
        """The editor let go of this shown path: the disk's text holds again."""
        context = self._server.session.context
        if context is not None:
            self._server.in_background(self._close(context, path))

    def _root_gone(self, folder: str) -> None:
        self._server.notices.tell(gone_sentence(folder))
        self.changed(RESCAN)

    async def _in_thread(self, call: object) -> None:
        assert callable(call)
        await asyncio.get_running_loop().run_in_executor(None, call)

    async def _apply(self, context: RepositoryContext, changes: frozenset[str]) -> None:
        shown = {path for absolute in changes if (path := context.shown_path(absolute)) is not None}
        # A folder that has gone took along what stood below it.
        wanted = sorted(shown | {below for path in shown for below in context.paths_under(path)})
        async with self._turn:
            contents = await self._read(context, wanted)
            if self._server.session.context is not context:
                return
            self._server.session.publish_text()
            before = context.segments()
            context.files_changed_on_disk(contents)
        if context.segments() is not before and self._server.sync is not None:
            self._server.sync.note_change()

    async def _close(self, context: RepositoryContext, path: str) -> None:
        async with self._turn:
            contents = await self._read(context, [path])
            session = self._server.session
            settled = session.context is context and session.settle_closed(path, contents[path])
        if settled and self._server.sync is not None:
            self._server.sync.note_change()

    async def _read(self, context: RepositoryContext, paths: list[str]) -> dict[str, Content]:
        return await asyncio.get_running_loop().run_in_executor(
            self._server.executor, _read_contents, context, paths
        )


def _read_contents(context: RepositoryContext, paths: list[str]) -> dict[str, Content]:
    """What the disk says of these shown paths. Blocking; reads nothing of the context but its fixed parts."""
    contents: dict[str, Content] = {}
    for path, found in check_paths(context.roots, context.settings, paths).items():
        if isinstance(found, WorkspaceFile):
            contents[path] = load_text(found.absolute, context.settings.max_file_bytes)
        else:
            contents[path] = Reason.EMPTY if found is Reason.EMPTY else found
    return contents
