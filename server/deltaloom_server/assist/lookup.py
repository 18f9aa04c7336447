"""What a conversation may see of a workspace: which files there are, and what they say now.

Invariant: nothing is shown that may not stand in the context: no secrets, nothing ignored or excluded,
nothing outside the roots, through no symlink; of an open document only the live text. All of it only reads.

`Sight` is taken on the event loop; everything else blocks and belongs in an executor thread.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ..context.reading import load_text
from ..context.reasons import FORBIDDEN, Reason, WorkspaceFile
from ..context.roots import Root, absolute_path, shown_path
from ..context.scan import check_paths, scan_workspace
from ..session import Session
from ..settings import ContextSettings
from ..text_lines import with_newlines

_MOST_SEARCHED_BYTES = 64 << 20


@dataclass(frozen=True)
class Sight:
    """One moment's view of a session. `live` are the texts of open documents, None for one that may not be
    shown; `barred` says of a path whether the context has left it out for good."""

    roots: tuple[Root, ...]
    settings: ContextSettings
    live: dict[str, str | None]
    barred: Callable[[str], bool]
    _files: list[WorkspaceFile] = field(default_factory=list)
    _open: dict[str, str | None] = field(default_factory=dict)

    @classmethod
    def of(cls, session: Session) -> Sight:
        """What this session may show just now. Call it on the event loop."""
        context = session.context
        live: dict[str, str | None] = {}
        if context is None:
            return cls((), session.settings.context, live, lambda path: True)
        session.publish_text()
        for path in filter(None, map(session.shown_path, session.documents)):
            text = context.live_text(path)
            if text is not None:
                may = context.may_show(path) and context.admission(path, text) in (None, Reason.EMPTY)
                live[path] = with_newlines(text) if may else None
        return cls(session.roots, session.settings.context, live, lambda path: not context.may_show(path))

    def normalized(self, path: str) -> str | None:
        """The shown path that a model means; None where it leads out of the workspace."""
        path = path.strip()
        if not path or "\0" in path:
            return None
        if path.startswith("/"):
            shown = shown_path(path, self.roots)
            if shown is not None:
                return shown
            path = path.lstrip("/")  # the repository's own root, as models like to write it
        path = posixpath.normpath(path)
        return None if path == ".." or path.startswith("../") else path

    def text(self, path: str) -> str | None:
        """What a file says now, its lines ended by `\\n`; None where it isn't there or may not be shown."""
        if path in self.live:
            return self._open_texts()[path]
        if self.barred(path):
            return None
        found = check_paths(self.roots, self.settings, [path])[path]
        if found is Reason.EMPTY:
            return ""
        return self._load(found) if isinstance(found, WorkspaceFile) else None

    def files(self, cancelled: Callable[[], bool]) -> list[str]:
        """All shown paths, sorted. Looked up once. Raises ScanCancelled."""
        if not self._files:
            self._files.extend(scan_workspace(self.roots, self.settings, cancelled=cancelled).files)
        shown = {file.path for file in self._files if not self.barred(file.path)}
        open_ones = {path for path, text in self._open_texts().items() if text is not None}
        return sorted((shown - self.live.keys()) | open_ones)

    def texts(self, cancelled: Callable[[], bool]) -> Iterator[tuple[str, str]]:
        """(path, text) of all files in order, of at most 64 MiB. Raises ScanCancelled."""
        paths = self.files(cancelled)
        on_disk = {file.path: file for file in self._files}
        room = _MOST_SEARCHED_BYTES
        for path in paths:
            if cancelled() or room <= 0:
                return
            live = path in self.live
            text = self._open_texts()[path] if live else self._load(on_disk[path])
            if text is not None:
                room -= len(text)
                yield path, text

    def _open_texts(self) -> dict[str, str | None]:
        """`live`, but for what the workspace's rules hide: the context may not have been told of it yet."""
        if len(self._open) < len(self.live):
            verdicts = check_paths(self.roots, self.settings, self.live)
            hidden = {path for path, verdict in verdicts.items() if verdict in FORBIDDEN}
            self._open.update({path: None if path in hidden else text for path, text in self.live.items()})
        return self._open

    def _load(self, file: WorkspaceFile) -> str | None:
        absolute = absolute_path(file.path, self.roots)
        if absolute is None or not self._is_inside(absolute):
            return None
        text = load_text(absolute, self.settings.max_file_bytes)
        return with_newlines(text) if isinstance(text, str) else None

    def _is_inside(self, absolute: str) -> bool:
        real = os.path.realpath(absolute)
        return any(real.startswith(root.real.rstrip(os.sep) + os.sep) for root in self.roots)
