"""`RepositoryContext`: base, log and open file of one workspace, as the editor and the disk change them.

Invariant: for every path that the context shows, the newest occurrence is the live text (the editor's buffer
where the file is open, else the disk's), the active document's own text excepted, which stands last in FIM
form. Between layouts the base is unchanged and the log only grows, except at its very end.

Pure and in memory: no await and no I/O, apart from `texts_for`. Paths are shown paths (`shown_path`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from deltaloom_model.api import Segment, text_digest

from ..errors import UnknownDocument
from ..settings import ContextSettings
from .layout import BaseFile, BasePlan, Budget, Evidence
from .log import EMPTY_DIGEST, Log, estimated_tokens
from .planning import PlanRequest
from .reading import Texts, judge_text, reread
from .reasons import FORBIDDEN, LeftOut, Reason
from .report import ContextReport, ReportedFile
from .roots import Root, shown_path
from .secrets import has_secret_name

Content = str | Reason | None
"""A file on disk: its text, why it may not be shown, or None where it is gone (`reading.load_text`)."""

_REMEMBERED_LAYOUTS = 8


@dataclass
class _Document:
    text: str
    opened: str  # digest of the text it was opened with: left like that, it has not changed


class RepositoryContext:
    """The context of one workspace in one editor session."""

    def __init__(self, roots: Sequence[Root], settings: ContextSettings) -> None:
        self.roots = tuple(roots)
        self.settings = settings
        self.revision = 0
        self.active: str | None = None
        self._base: dict[str, BaseFile] = {}
        self._log = Log()
        self._documents: dict[str, _Document] = {}
        self._left_out: dict[str, Reason] = {}
        self._set_aside: frozenset[str] = frozenset()
        self._notes: tuple[str, ...] = ()
        self._purged: set[str] = set()
        self._layouts: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        self._segments: tuple[Segment, ...] | None = None

    def shown_path(self, absolute: str) -> str | None:
        """The shown path of a file, or None for one outside all roots (which never enters a context)."""
        return shown_path(absolute, self.roots)

    # -- documents ---------------------------------------------------------------------------------------

    def document_opened(self, path: str, text: str) -> None:
        """The editor owns the text of `path` from now on."""
        self._documents[path] = _Document(text, text_digest(text))
        self.revision += 1
        if path != self.active:
            self._settle(path, text)

    def document_changed(self, path: str, text: str) -> None:
        """The editor's text of `path` changed, which makes it the active document. Constant time."""
        self.activate(path)
        self._documents[path].text = text
        self.revision += 1

    def document_closed(self, path: str, disk: Content) -> None:
        """The file's text is the disk's again: `disk`."""
        document = self._documents.pop(path, None)
        if document is None:
            raise UnknownDocument(f"{path} is not open.")
        if self.active == path:
            self.active = None
        self.revision += 1
        self._settle(path, disk, document.opened)

    def activate(self, path: str | None) -> None:
        """Make `path` the document that the next completion is for; the one left is logged if it changed."""
        if path is not None and path not in self._documents:
            raise UnknownDocument(f"{path} is not open.")
        if path == self.active:
            return
        leaving, self.active = self.active, path
        self.revision += 1
        if path is not None and self._log.take_back(path):
            self._segments = None
        if leaving is not None:
            self._settle_document(leaving)

    def _settle_document(self, path: str) -> None:
        document = self._documents[path]
        self._settle(path, document.text, document.opened)

    # -- disk --------------------------------------------------------------------------------------------

    def file_changed_on_disk(self, path: str, content: Content) -> None:
        """The disk holds something else now. For an open document the editor's text goes on holding, unless
        the path itself may no longer be shown."""
        if isinstance(content, Reason) and content in FORBIDDEN:
            self.exclude(path, content)
        elif path not in self._documents:
            self._settle(path, content)

    def paths_under(self, path: str) -> tuple[str, ...]:
        """The shown paths at or below `path`: what a deleted or moved folder takes along."""
        stem = path + "/" if path else ""
        shown = {*self._base, *(entry.segment.path for entry in self._log)}
        return tuple(sorted(name for name in shown if name == path or name.startswith(stem)))

    def exclude(self, path: str, reason: Reason) -> None:
        """Purge: `path` leaves base and log at once, whatever has to be read again for it."""
        in_base = self._base.pop(path, None) is not None
        if self._log.purge(path) or in_base:
            self._purged.add(path)
            self._segments = None
        self._left_out[path] = reason
        self.revision += 1

    def take_purged(self) -> frozenset[str]:
        """Paths purged since the last call: kept state that shows them must go too."""
        purged = frozenset(self._purged)
        self._purged.clear()
        return purged

    # -- the log's rule ----------------------------------------------------------------------------------

    def admission(self, path: str, text: str) -> Reason | None:
        """Why this text of `path` may not stand in base or log; None when it may."""
        known = self._left_out.get(path)
        if known in FORBIDDEN:
            return known
        folder = path.rpartition("/")[0]
        while folder:
            if folder + "/" in self._left_out:
                return self._left_out[folder + "/"]
            folder = folder.rpartition("/")[0]
        if has_secret_name(path):
            return Reason.SECRET
        limit = self.settings.max_file_bytes
        if len(text) > limit or (len(text) * 4 > limit and len(text.encode("utf-8", "replace")) > limit):
            return Reason.OVERSIZE
        return judge_text(text)

    def _shown_digest(self, path: str) -> str | None:
        entry = self._log.newest(path)
        if entry is not None:
            return None if entry.segment.tombstone else entry.segment.digest
        base = self._base.get(path)
        return base.digest if base else None

    def _settle(self, path: str, live: Content, opened: str | None = None) -> None:
        """Append what makes the newest occurrence of `path` equal `live`; nothing where it does already."""
        shown = self._shown_digest(path)
        content = self.admission(path, live) if isinstance(live, str) else live
        if content is Reason.EMPTY and shown is not None:
            text, content = "", None
        elif isinstance(content, Reason):
            text = None
        else:
            text = live if isinstance(live, str) else None
        if isinstance(content, Reason):
            if content in FORBIDDEN:
                self.exclude(path, content)
                return
            self._left_out[path] = content
        digest = None if text is None else text_digest(text)
        if digest == shown or (shown is None and (digest == opened or path in self._set_aside)):
            return
        self.revision += 1
        self._log.append(path, text, self.revision)
        self._segments = None
        if text is not None:
            self._left_out.pop(path, None)

    # -- layout ------------------------------------------------------------------------------------------

    def plan_request(self, budget: Budget) -> PlanRequest:
        """A snapshot from which `planning.plan_base` makes a new layout: the first one, or a compaction."""
        newest = self._log.newest_in_order()
        unsaved = [
            (entry.segment.path, self._documents[entry.segment.path].text)
            for entry in reversed(newest)
            if entry.segment.path in self._documents and entry.segment.path != self.active
        ]
        evidence = Evidence(
            open_texts={path: document.text for path, document in self._documents.items()},
            changed=tuple(entry.segment.path for entry in newest),
            previous=tuple(self._base),
        )
        return PlanRequest(budget, self.revision, self.settings.max_file_bytes, evidence, tuple(unsaved))

    def set_base(self, plan: BasePlan) -> None:
        """Take a new layout. The log keeps only what the new base doesn't show: unsaved documents, and what
        changed on disk after the plan was begun."""
        newest = self._log.newest_in_order()
        self._base = {file.path: file for file in self._remembered(plan.files)}
        self._log = self._log.successor()
        self._segments = None
        self._left_out = {entry.path: entry.reason for entry in plan.left_out}
        self._set_aside, self._notes = plan.set_aside, plan.notes
        self.revision += 1
        for entry in newest:
            path = entry.segment.path
            if path not in self._documents and entry.revision > plan.revision:
                self._settle(path, None if entry.segment.tombstone else entry.text)
            elif path in self._documents and path != self.active:
                self._settle_document(path)
        for path in self._documents:
            if path != self.active:
                self._settle_document(path)
        self._log.mark_kept()

    def _remembered(self, files: Sequence[BaseFile]) -> Sequence[BaseFile]:
        """The same texts in the order in which they stood before, where they did (a branch switched back)."""
        by_path = {file.path: file for file in files}
        key = text_digest("\n".join(f"{path} {by_path[path].digest}" for path in sorted(by_path)))
        order = self._layouts.setdefault(key, tuple(by_path))
        self._layouts.move_to_end(key)
        if len(self._layouts) > _REMEMBERED_LAYOUTS:
            self._layouts.popitem(last=False)
        return [by_path[path] for path in order]

    def needs_compaction(self, budget: Budget) -> bool:
        """Has the log grown past its eighth since the last layout, or is there no room for the open file?"""
        return self._log.new_tokens > budget.log or (self._log.new_tokens > 0 and self.overflows(budget))

    def overflows(self, budget: Budget) -> bool:
        """Would the open file not find its room? Then compact before the next sync, not after."""
        return self.base_tokens + self.log_tokens + budget.open_file > budget.total

    # -- what others read --------------------------------------------------------------------------------

    @property
    def base_tokens(self) -> int:
        """Tokens of the base."""
        return sum(file.tokens for file in self._base.values())

    @property
    def log_tokens(self) -> int:
        """Tokens of the log, estimated where the worker has not counted."""
        return self._log.tokens

    def segments(self) -> tuple[Segment, ...]:
        """Base, then log, as a `SyncRequest` takes them; the same object until one of them changes."""
        if self._segments is None:
            base = (Segment(file.path, file.digest) for file in self._base.values())
            self._segments = (*base, *(entry.segment for entry in self._log))
        return self._segments

    def uncounted(self) -> tuple[list[Segment], dict[str, str]]:
        """Log segments whose tokens are only estimated, with their texts, as `CountRequest` takes them."""
        entries = self._log.uncounted()
        return [entry.segment for entry in entries], {entry.segment.digest: entry.text for entry in entries}

    def record_tokens(self, segments: Iterable[Segment], tokens: Iterable[int]) -> None:
        """The worker's counts for `uncounted()`; a negative count is no answer."""
        for segment, count in zip(segments, tokens, strict=True):
            if count >= 0:
                self._log.record_tokens(segment, count)

    def locate(self, digests: Iterable[str]) -> tuple[dict[str, str], list[tuple[str, str, str]]]:
        """Texts held in memory, and for the others (path, absolute, digest) as `reread` takes them."""
        held = {entry.segment.digest: entry.text for entry in self._log} | {EMPTY_DIGEST: ""}
        base = {file.digest: file for file in self._base.values()}
        wanted = dict.fromkeys(digests)
        found = {digest: held[digest] for digest in wanted if digest in held}
        on_disk = [base[digest] for digest in wanted if digest not in held and digest in base]
        return found, [(file.path, file.absolute, file.digest) for file in on_disk]

    def texts_for(self, digests: Iterable[str]) -> Texts:
        """The texts that the worker lacks. Reads base files: blocking. With `stale` paths, lay out anew."""
        found, wanted = self.locate(digests)
        texts = reread(wanted, self.settings.max_file_bytes)
        return Texts(found | texts.found, texts.stale)

    def live_text(self, path: str) -> str | None:
        """The editor's text of an open document, else the log's newest copy; None where only disk has it."""
        document = self._documents.get(path)
        if document is not None:
            return document.text
        entry = self._log.newest(path)
        return None if entry is None or entry.segment.tombstone else entry.text

    def report(self) -> ContextReport:
        """What stands in the context and what doesn't, and why."""
        files: list[ReportedFile] = []
        for file in self._base.values():
            current = self._log.newest(file.path) is None and file.path != self.active
            files.append(ReportedFile(file.path, "base", file.tokens, current))
        for entry in self._log:
            path = entry.segment.path
            current = self._log.newest(path) is entry and path != self.active
            files.append(ReportedFile(path, "log", self._log.tokens_of(entry), current))
        if self.active is not None:
            tokens = estimated_tokens(self._documents[self.active].text)
            files.append(ReportedFile(self.active, "open", tokens))
        left_out = tuple(LeftOut(path, reason) for path, reason in sorted(self._left_out.items()))
        return ContextReport(
            self.revision, tuple(files), left_out, self._notes, self.base_tokens, self.log_tokens
        )
