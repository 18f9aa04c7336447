"""The findings of open documents: quickly while a person types, in full in the pauses.

Invariant: what is kept of a document is about one version of its text, and says which; a newer version is
answered from its own text. Nothing is scanned that nobody asks for or has open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deltaloom_model.api import text_digest
from deltaloom_server.context.roots import split_shown
from deltaloom_server.logs import describe, get_logger
from deltaloom_server.security.carried import carry
from deltaloom_server.security.changed import changed_lines, text_at
from deltaloom_server.security.finding import Finding, Inspection
from deltaloom_server.security.inspector import Inspector, Lines
from deltaloom_server.security.languages import scanners_for
from deltaloom_server.security.visible import shown

if TYPE_CHECKING:
    from deltaloom_server.documents import DocumentSnapshot
    from deltaloom_server.language_server import DeltaloomServer

QUIET_SECONDS = 0.6
"""After so long without a keystroke, all scanners look."""

_LOG = get_logger("security")


@dataclass(slots=True)
class _Document:
    """What is known of one open document. `full` is the last inspection by all scanners."""

    latest: Inspection | None = None
    full: Inspection | None = None
    full_lines: tuple[str, ...] = ()
    base: tuple[str, str | None] | None = None
    """(revision, the file's text in it), read once between two saves."""
    timer: asyncio.TimerHandle | None = None
    running: asyncio.Task[None] | None = None
    stale: bool = False
    """It was saved since `full`: what counts as a new line may be others, although the text is the same."""


class Diagnosis:
    """All open documents of one session. `on_news(uri)` is called when all scanners have looked at one and
    see something else than was told before."""

    def __init__(self, server: DeltaloomServer, inspector: Inspector, on_news: Callable[[str], None]) -> None:
        self._server = server
        self._inspector = inspector
        self._on_news = on_news
        self._documents: dict[str, _Document] = {}

    # -- what is found -----------------------------------------------------------------------------------

    async def current(self, uri: str) -> tuple[DocumentSnapshot, Inspection]:
        """The document as it is, and what is known of it quickly; in full the first time, as nobody is
        typing yet. Raises UnknownDocument."""
        snapshot = self._server.session.snapshot(uri)
        known = self._documents.setdefault(uri, _Document())
        digest = text_digest(snapshot.text)
        if known.full is not None and known.full.digest == digest:
            known.latest = known.full
            return snapshot, known.full
        if self._server.is_patient or (known.full is None and known.latest is None):
            snapshot, inspection = await self.full(uri)
            known.latest = inspection
            return snapshot, inspection
        path = self.path_of(uri, snapshot.language_id)
        quick = await self._inspector.quick(path, snapshot.text)
        if known.full is not None:
            quick = carry(known.full, known.full_lines, quick, snapshot.lines)
        if self._documents.get(uri) is known and (known.full is None or known.full.digest != digest):
            known.latest = quick
            # Asking is no typing: who asks often must not put off what is waited for.
            if known.timer is None and (known.running is None or known.running.done()):
                self._look_later(uri)
            return snapshot, quick
        return snapshot, known.full if known.full is not None and known.full.digest == digest else quick

    async def full(self, uri: str) -> tuple[DocumentSnapshot, Inspection]:
        """The document as it is, and what all scanners see in it. Raises UnknownDocument."""
        snapshot = self._server.session.snapshot(uri)
        known = self._documents.setdefault(uri, _Document())
        same = known.full is not None and known.full.digest == text_digest(snapshot.text)
        if known.full is not None and same and not known.stale:
            return snapshot, known.full
        known.stale = False
        path = self.path_of(uri, snapshot.language_id)
        lines = await self._changed_lines(known, uri, snapshot.text)
        inspection = await self._inspector.full(path, snapshot.text, lines)
        known.full, known.full_lines = inspection, snapshot.lines
        return snapshot, inspection

    def shown(self, inspection: Inspection) -> tuple[Finding, ...]:
        """What of it the settings show."""
        return shown(inspection.findings, self._server.session.settings.security)

    def inspection(self, uri: str) -> Inspection | None:
        """The last one of an open document, whatever its text is now."""
        known = self._documents.get(uri)
        return known.latest if known is not None else None

    def inspections(self) -> list[Inspection]:
        """The last one of each open document."""
        return [one.latest for one in self._documents.values() if one.latest is not None]

    # -- what happens to documents -----------------------------------------------------------------------

    def changed(self, uri: str) -> None:
        """The document was opened or edited."""
        known = self._documents.setdefault(uri, _Document())
        if known.running is not None:
            known.running.cancel()
        self._look_later(uri)

    def saved(self, uri: str) -> None:
        """All scanners look at once; what the repository has of the file may be new."""
        known = self._documents.setdefault(uri, _Document())
        known.base, known.stale = None, True
        self._look_later(uri, 0.0)

    def closed(self, uri: str) -> None:
        """Forget it."""
        known = self._documents.pop(uri, None)
        if known is not None:
            self._stop(known)

    def forget(self) -> None:
        """Settings changed: look at everything again."""
        for uri, known in list(self._documents.items()):
            self._stop(known)
            self._documents[uri] = _Document()
            self._look_later(uri, 0.0)

    def close(self) -> None:
        """Nothing is looked at any more."""
        for known in self._documents.values():
            self._stop(known)
        self._documents.clear()

    # -- the pauses --------------------------------------------------------------------------------------

    def _look_later(self, uri: str, seconds: float = QUIET_SECONDS) -> None:
        known = self._documents.get(uri)
        document = self._server.session.documents.get(uri)
        if known is None or document is None or not self._server.session.settings.security.enabled:
            return
        if not scanners_for(self.path_of(uri, document.language_id)):
            return
        if known.timer is not None:
            known.timer.cancel()
        known.timer = asyncio.get_running_loop().call_later(seconds, self._look, uri)

    def _look(self, uri: str) -> None:
        known = self._documents.get(uri)
        if known is None:
            return
        known.timer = None
        if known.running is not None and not known.running.done():
            known.running.cancel()
        known.running = asyncio.get_running_loop().create_task(self._look_now(uri, known))

    async def _look_now(self, uri: str, known: _Document) -> None:
        if uri not in self._server.session.documents:
            return
        before = known.latest
        try:
            snapshot, inspection = await self.full(uri)
        except Exception as error:
            _LOG.error("A document can't be inspected: %s", describe(error))
            return
        document = self._server.session.documents.get(uri)
        if document is None or document.version != snapshot.version:
            return
        known.latest = inspection
        if before is None or _told(self.shown(before)) != _told(self.shown(inspection)):
            self._on_news(uri)

    async def _changed_lines(self, known: _Document, uri: str, text: str) -> Lines:
        session = self._server.session
        shown_path = session.shown_path(uri)
        found = split_shown(shown_path, session.roots) if shown_path is not None else None
        if found is None:
            return changed_lines(None, text)
        revision = session.settings.security.base
        if known.base is None or known.base[0] != revision:
            root, relative = found
            loop = asyncio.get_running_loop()
            before = await loop.run_in_executor(self._server.executor, text_at, root.real, relative, revision)
            known.base = revision, before
        return changed_lines(known.base[1], text)

    def path_of(self, uri: str, language_id: str) -> str:
        """The path that findings show; a document without a telling name has its language's suffix."""
        path = self._server.session.display_path(uri)
        # A notebook's cell is a document of its own language, and no file.
        telling = uri.startswith("file:") and scanners_for(path) and "." in path.rpartition("/")[2]
        suffix = "" if telling else _SUFFIXES.get(language_id, "")
        return path if path.endswith(suffix) else f"{path}{suffix}"

    @staticmethod
    def _stop(known: _Document) -> None:
        if known.timer is not None:
            known.timer.cancel()
        if known.running is not None:
            known.running.cancel()


_SUFFIXES = {"python": ".py", "javascript": ".js", "typescript": ".ts", "java": ".java", "c": ".c",
             "go": ".go", "php": ".php"}  # fmt: skip


def _told(findings: tuple[Finding, ...]) -> list[tuple[object, ...]]:
    return [(one.identity, one.span, one.severity, one.message) for one in findings]
