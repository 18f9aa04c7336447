"""The findings of a whole workspace: one pass over its files, told as it goes.

Invariant: a file that is open is told of from its buffer, every other from disk; a pass that is broken off
has told of some files in full and of the others nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from deltaloom_server.context.roots import split_shown
from deltaloom_server.positions import content_length, split_lines
from deltaloom_server.security.changed import Revision
from deltaloom_server.security.diagnosis import Diagnosis
from deltaloom_server.security.finding import Inspection
from deltaloom_server.security.inspector import Inspected, Inspector, Progress
from deltaloom_server.security.targets import Targets, check_targets, list_targets

if TYPE_CHECKING:
    from deltaloom_server.language_server import DeltaloomServer

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FileFindings:
    """One file of a pass. `version` is an open document's."""

    uri: str
    path: str
    lines: tuple[str, ...]
    inspection: Inspection
    version: int | None = None


@dataclass(slots=True)
class WorkspaceReport:
    """The last pass: every file's inspection, and what the person should know of the pass as a whole."""

    inspections: dict[str, Inspection] = field(default_factory=dict)
    """By URI, of the files about which there is something to say."""
    notes: tuple[str, ...] = ()
    paths: list[str] = field(default_factory=list)
    """Of all files that were looked at."""
    cached: int = 0
    complete: bool = False
    lines: dict[str, dict[int, str]] = field(default_factory=dict)
    """By URI: the texts of the lines on which findings begin."""

    def take(self, uri: str, inspection: Inspection, lines: Sequence[str]) -> None:
        """One file more."""
        if not inspection.findings and not inspection.unscanned:
            return
        self.inspections[uri] = inspection
        self.lines[uri] = {
            number: lines[number][: content_length(lines[number])]
            for number in {one.span.start_line for one in inspection.findings}
            if number < len(lines)
        }


class WorkspaceFindings:
    """Passes over one session's workspace."""

    def __init__(self, server: DeltaloomServer, inspector: Inspector, diagnosis: Diagnosis) -> None:
        self._server = server
        self._inspector = inspector
        self._diagnosis = diagnosis
        self._news = asyncio.Event()
        self._news.set()
        self.report = WorkspaceReport()
        self.scope: Callable[[str], bool] = lambda path: True
        """Which files (as shown) a pass looks at."""

    def note_change(self) -> None:
        """Something on disk or in a buffer is new: whoever waits for the next pass gets one."""
        self._news.set()

    async def wait_for_news(self) -> None:
        """Until there may be something else to tell than in the last pass."""
        await self._news.wait()

    async def run(
        self, paths: tuple[str, ...] | None = None, progress: Progress = lambda done, total: None
    ) -> AsyncIterator[FileFindings]:
        """One pass, over `paths` (as shown) where these are given."""
        self._news.clear()
        session = self._server.session
        settings = session.settings.security
        targets = await self._list(paths)
        revisions = await self._revisions()
        uris = list(session.documents)
        opened = {path: uri for uri in uris if (path := session.shown_path(uri)) and self.scope(path)}
        chosen = [target for target in targets.files if self.scope(target.path)]
        closed = [target for target in chosen if target.path not in opened]
        notes = (*targets.notes, *self._without_revision(revisions))
        report = self.report = WorkspaceReport(notes=notes)
        for path, uri in opened.items():
            if uri not in session.documents:
                continue
            snapshot, inspection = await self._diagnosis.full(uri)
            report.paths.append(path)
            report.take(uri, inspection, snapshot.lines)
            yield FileFindings(uri, path, snapshot.lines, inspection, snapshot.version)
        # Closed whatever happens here, as what is broken off leaves no scan running.
        passing = self._inspector.files(closed, settings.max_file_bytes, progress)
        async with aclosing(passing):
            async for inspected in passing:
                uri = Path(inspected.target.absolute).as_uri()
                if uri in session.documents:  # opened meanwhile: its buffer counts
                    snapshot, found = await self._diagnosis.full(uri)
                    report.paths.append(inspected.target.path)
                    report.take(uri, found, snapshot.lines)
                    yield FileFindings(uri, inspected.target.path, snapshot.lines, found, snapshot.version)
                    continue
                found = await self._with_secrets(inspected, revisions)
                lines = tuple(split_lines(inspected.text)) if found.findings else ()
                report.paths.append(inspected.target.path)
                report.take(uri, found, lines)
                report.cached = self._inspector.cached
                yield FileFindings(uri, inspected.target.path, lines, found)
        report.complete = True

    async def _list(self, paths: tuple[str, ...] | None) -> Targets:
        session = self._server.session
        roots, settings = session.roots, session.settings.security
        stopped = False

        def work() -> Targets:
            if paths is not None:
                return check_targets(roots, settings, paths)
            return list_targets(roots, settings, lambda: stopped)

        try:
            return await self._in_thread(work)
        finally:
            stopped = True

    async def _revisions(self) -> dict[str, Revision]:
        """What each root's repository had in the base revision."""
        roots, base = self._server.session.roots, self._server.session.settings.security.base
        return await self._in_thread(lambda: {root.real: Revision(root.real, base) for root in roots})

    def _without_revision(self, revisions: dict[str, Revision]) -> list[str]:
        """Where it isn't known which lines are new, credentials are looked for in open documents only."""
        base = self._server.session.settings.security.base
        return [
            f"{root.name} has no git revision {base} to compare with, so no credentials were looked for."
            for root in self._server.session.roots
            if not revisions[root.real].exists
        ]

    async def _with_secrets(self, inspected: Inspected, revisions: dict[str, Revision]) -> Inspection:
        """Credentials are looked for in the lines that differ from the base revision, if there is one."""
        path, text = inspected.target.path, inspected.text
        found = split_shown(path, self._server.session.roots)
        if found is None or not text:
            return inspected.inspection
        revision, relative = revisions[found[0].real], found[1]
        if revision.is_unchanged(relative, text):
            return inspected.inspection
        lines = await self._in_thread(lambda: revision.changed_lines(relative, text))
        if not lines:
            return inspected.inspection
        return await self._inspector.with_secrets(inspected, lines)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._server.executor, work)
