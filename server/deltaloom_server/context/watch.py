"""Watches workspace roots and tells the event loop which paths changed outside the editor.

Invariant: nothing is delivered but on the event loop, at most once per interval, and only paths below a root
that could stand in a context. Symlinks are never followed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from typing import Final, Literal

from watchdog.events import (
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver
from watchdog.observers.polling import PollingObserverVFS

from .ignore import GIT_IGNORE, OWN_IGNORE
from .kinds import is_dependency_folder
from .roots import Root

_EVENTS: list[type[FileSystemEvent]] = [
    FileCreatedEvent, FileModifiedEvent, FileClosedEvent, FileDeletedEvent, FileMovedEvent,
    DirDeletedEvent, DirMovedEvent,
]  # fmt: skip
_INTERVAL = 0.1
_POLLING_INTERVAL = 2.0
_MANY = 500


class Rescan(Enum):
    """What is delivered in place of paths when only a new scan can tell what changed."""

    RESCAN = "rescan"


RESCAN: Final = Rescan.RESCAN
Changes = frozenset[str] | Literal[Rescan.RESCAN]


class _Handler(FileSystemEventHandler):
    def __init__(self, watcher: Watcher, root: str) -> None:
        self._watcher = watcher
        self._root = root

    def on_any_event(self, event: FileSystemEvent) -> None:
        if isinstance(event, DirDeletedEvent) and os.fsdecode(event.src_path) == self._root:
            self._watcher.note_gone(self._root)
            return
        for path in (os.fsdecode(event.src_path), os.fsdecode(event.dest_path)):
            if path:
                self._watcher.note(self._root, path)


class Watcher:
    """One observer over all roots.

    `changed` is called on `loop` with the absolute paths that changed, or `RESCAN` (a branch was switched,
    an ignore file changed, or too much changed at once). A path may be a folder that has gone: what stood
    below it went along. `gone` is called with the folder of a root that was deleted, `message` with a
    sentence for the user.
    """

    def __init__(
        self,
        roots: Sequence[Root],
        loop: asyncio.AbstractEventLoop,
        changed: Callable[[Changes], None],
        gone: Callable[[str], None],
        message: Callable[[str], None],
    ) -> None:
        self._roots = tuple(roots)
        self._loop = loop
        self._changed = changed
        self._gone = gone
        self._message = message
        self._lock = threading.Lock()
        self._paths: set[str] = set()
        self._rescan = False
        self._armed = False
        self._lost: set[str] = set()
        self._observer: BaseObserver | None = None
        self.polling = False

    def start(self) -> None:
        """Begin watching. Blocking (it visits every folder): run it in an executor thread."""
        observer: BaseObserver = Observer()
        try:
            self._schedule(observer)
            self._probe(observer)
        except OSError as error:
            self._stop(observer)
            self._post(
                self._message,
                f"The system's limit for watched folders is reached ({error.strerror or error}), so the "
                "workspace is polled; raise fs.inotify.max_user_watches for quicker updates.",
            )
            observer = PollingObserverVFS(os.lstat, _listed, polling_interval=_POLLING_INTERVAL)
            self.polling = True
            self._schedule(observer)
        self._observer = observer

    def stop(self) -> None:
        """End watching and wait for the observer's thread; nothing is delivered afterwards. Blocking."""
        observer, self._observer = self._observer, None
        with self._lock:
            self._roots = ()
        if observer is not None:
            self._stop(observer)

    def _schedule(self, observer: BaseObserver) -> None:
        for root in self._roots:
            if os.path.isdir(root.real):
                observer.schedule(_Handler(self, root.real), root.real, recursive=True, event_filter=_EVENTS)
            else:
                self.note_gone(root.real)
        observer.start()

    @staticmethod
    def _probe(observer: BaseObserver) -> None:
        """Raise `OSError` if no further folder can be watched: watchdog passes over subfolders it can't."""
        with tempfile.TemporaryDirectory() as folder:
            observer.unschedule(observer.schedule(FileSystemEventHandler(), folder, event_filter=_EVENTS))

    @staticmethod
    def _stop(observer: BaseObserver) -> None:
        # A thread that never started, or one that ended with its folder, can't be joined.
        with contextlib.suppress(RuntimeError):
            observer.stop()
            observer.join()

    # -- on the observer's threads -------------------------------------------------------------------------

    def note(self, root: str, path: str) -> None:
        """Remember one changed path until the interval is over."""
        verdict = relevance(root, path)
        if verdict is None:
            return
        with self._lock:
            if verdict is RESCAN or len(self._paths) >= _MANY:
                self._rescan = True
            else:
                self._paths.add(path)
            armed, self._armed = self._armed, True
        if not armed:
            self._post(self._arm)

    def note_gone(self, root: str) -> None:
        """The root itself was deleted: said once."""
        with self._lock:
            if root in self._lost:
                return
            self._lost.add(root)
        folder = next((entry.folder for entry in self._roots if entry.real == root), root)
        self._post(self._gone, folder)

    def _post(self, callback: Callable[..., None], *arguments: str) -> None:
        # The loop may be closed already while the last events come in.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback, *arguments)

    # -- on the event loop ---------------------------------------------------------------------------------

    def _arm(self) -> None:
        self._loop.call_later(_INTERVAL, self._deliver)

    def _deliver(self) -> None:
        with self._lock:
            paths, self._paths = frozenset(self._paths), set()
            rescan, self._rescan = self._rescan, False
            self._armed = False
            stopped = not self._roots
        if not stopped and (rescan or paths):
            self._changed(RESCAN if rescan else paths)


def relevance(root: str, path: str) -> Literal[True] | Literal[Rescan.RESCAN] | None:
    """Does a change of `path` matter: as itself (True), as a reason to scan anew, or not at all (None)?"""
    relative = os.path.relpath(path, root).split(os.sep)
    if relative[0] in ("..", ".") or any(is_dependency_folder(part) for part in relative[:-1]):
        return None
    if ".git" in relative:
        # HEAD is rewritten when a branch is switched; the index also when nothing but its cache changes.
        return RESCAN if relative in ([".git", "HEAD"], [".git", "info", "exclude"]) else None
    if is_dependency_folder(relative[-1]):
        return None
    return RESCAN if relative[-1] in (GIT_IGNORE, OWN_IGNORE) else True


def _listed(path: str | None) -> Iterator[os.DirEntry[str]]:
    """What polling looks at: no dependency folders, and of `.git` only what `relevance` asks for."""
    in_git = os.path.basename(path or "") == ".git"
    with os.scandir(path) as entries:
        for entry in entries:
            if in_git and entry.name != "HEAD":
                continue
            if not is_dependency_folder(entry.name):
                yield entry
