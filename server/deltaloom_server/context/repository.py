"""`RepositoryContext`: base, log and open file of one workspace, as the editor and the disk change them.

Invariant: for every path that the context shows, the newest occurrence is the live text (the editor's buffer
where the file is open, else the disk's), the active document's own text excepted, which stands last in FIM
form. How base and log change is `layers.py`'s.

Pure and in memory: no await and no I/O. Paths are shown paths (`shown_path`).
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from deltaloom_model.api import Segment, text_digest

from ..errors import UnknownDocument
from ..settings import ContextSettings
from .admission import judge_admission, reason_of_path
from .compaction import LogState
from .layers import Change, Layers
from .layout import BaseFile, BasePlan, Budget, Evidence, Form
from .layout_memory import LayoutMemory, RememberedEntry, RememberedFile
from .log import estimated_tokens
from .planning import PlanRequest
from .reasons import FORBIDDEN, LeftOut, Reason
from .report import ContextReport, reported_files
from .roots import Root, shown_path

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
        self._layers = Layers()
        self._documents: dict[str, _Document] = {}
        self._left_out: dict[str, Reason] = {}
        self._set_aside: frozenset[str] = frozenset()
        self._notes: tuple[str, ...] = ()
        self._forms: dict[str, Form] = {}
        self._purged: set[str] = set()
        self._since: dict[str, tuple[int, Content]] = {}  # on disk, with the revision: for a plan under way
        self._layouts: OrderedDict[str, tuple[str, ...]] = OrderedDict()

    @property
    def active(self) -> str | None:
        """The document that the next completion is for."""
        return self._layers.active

    def shown_path(self, absolute: str) -> str | None:
        """The shown path of a file, or None for one outside all roots (which never enters a context)."""
        return shown_path(absolute, self.roots)

    # -- documents ---------------------------------------------------------------------------------------

    def document_opened(self, path: str, text: str) -> None:
        """The editor owns the text of `path` from now on."""
        self._documents[path] = _Document(text, text_digest(text))
        self.revision += 1
        if path != self.active:
            self._settle_document(path)

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
        self.revision += 1
        self._since[path] = self.revision, disk
        if self.active != path:
            self._settle({path: disk}, {path: document.opened})
            return
        changes = self._changes({path: disk}, {path: document.opened})
        self._layers.active = None
        self._show(changes)

    def activate(self, path: str | None) -> None:
        """Make `path` the document that the next completion is for; the one left is logged if it changed."""
        if path is not None and path not in self._documents:
            raise UnknownDocument(f"{path} is not open.")
        leaving = self.active
        if path == leaving:
            return
        self.revision += 1
        changes: list[Change] = []
        if leaving is not None:
            document = self._documents[leaving]
            changes = self._changes({leaving: document.text}, {leaving: document.opened})
        self._layers.active = path
        self._show(changes, activated=path)

    # -- disk --------------------------------------------------------------------------------------------

    def files_changed_on_disk(self, contents: Mapping[str, Content]) -> None:
        """The disk holds something else now; an earlier state that this leads back to is found as a whole.
        For an open document the editor's text goes on, unless the path itself may no longer be shown."""
        self.revision += 1
        self._since |= {path: (self.revision, content) for path, content in contents.items()}
        self._settle(
            {
                path: content
                for path, content in contents.items()
                if path not in self._documents or content in FORBIDDEN
            }
        )

    def go_back_to(self, contents: Mapping[str, Content]) -> bool:
        """Take up the earlier state that shows exactly what all known files hold now, if there is one.

        `contents` has what the disk says of `known_paths()`.
        """
        live = {path: text_digest(text) for path, text in contents.items() if isinstance(text, str)}
        live |= {path: text_digest(document.text) for path, document in self._documents.items()}
        went = self._layers.go_back_to(live)
        self.revision += went
        return went

    def room_for(self, contents: Mapping[str, Content], budget: Budget) -> bool:
        """Would what these files hold now fit into the log until the next compaction?"""
        texts = {path: text for path, text in contents.items() if isinstance(text, str)}
        closed = {path: text for path, text in texts.items() if path not in self._documents}
        return self._layers.log.new_tokens + self._layers.tokens_to_show(closed) <= budget.log

    def changed_since(self, revision: int) -> dict[str, Content]:
        """What the disk was said to hold after this revision, by path."""
        return {path: content for path, (at, content) in self._since.items() if at > revision}

    def log_fits(self, budget: Budget) -> bool:
        """Does the log keep to its eighth?"""
        return self._layers.log.new_tokens <= budget.log and not self.overflows(budget)

    def forget_forbidden(self, reasons: Mapping[str, Reason]) -> None:
        """These may no longer be shown, and kept state may have read them: in this context or an earlier."""
        for path, reason in reasons.items():
            self.exclude(path, reason)
            self._purged.add(path)

    def known_paths(self) -> set[str]:
        """The paths that base, log or an earlier version show."""
        return self._layers.known_paths()

    def is_passed_over(self, path: str) -> bool:
        """Is this a file that found no room in the last layout?"""
        return self._left_out.get(path) in (Reason.OVER_BUDGET, Reason.NAME_ONLY)

    def paths_under(self, path: str) -> tuple[str, ...]:
        """The shown paths at or below `path`: what a deleted or moved folder takes along."""
        stem = path + "/" if path else ""
        return tuple(sorted(name for name in self._layers.paths() if name == path or name.startswith(stem)))

    def exclude(self, path: str, reason: Reason) -> None:
        """Purge: `path` leaves base and log at once, whatever has to be read again for it."""
        if self._layers.purge(path) or self._left_out.get(path) not in FORBIDDEN:
            self._purged.add(path)  # some state may have read it, even where nothing here shows it any more
        self._left_out[path] = reason
        self.revision += 1

    @property
    def has_to_purge(self) -> bool:
        """Would `take_purged` give anything?"""
        return bool(self._purged)

    def take_purged(self) -> frozenset[str]:
        """Paths purged since the last call: kept state that shows them must go too."""
        purged = frozenset(self._purged)
        self._purged.clear()
        return purged

    def still_to_purge(self, paths: Iterable[str]) -> None:
        """These could not be purged from kept state: `take_purged` gives them again."""
        self._purged.update(paths)

    # -- the log's rule ----------------------------------------------------------------------------------

    def admission(self, path: str, text: str) -> Reason | None:
        """Why this text of `path` may not stand in base or log; None when it may."""
        return judge_admission(path, text, self._left_out, self.settings.max_file_bytes)

    def may_show(self, path: str) -> bool:
        """May a prompt of this workspace show the file at all, whatever its text?"""
        return reason_of_path(path, self._left_out) not in FORBIDDEN

    def _changes(self, lives: Mapping[str, Content], opened: Mapping[str, str] | None = None) -> list[Change]:
        """What has to be appended so that these paths show what lives; nothing where they do already.

        `opened` has the digests of texts that documents were opened with: one that found no room in the
        layout, looked at and left alone, still finds none.
        """
        changes: list[Change] = []
        for path, live in lives.items():
            shown = self._layers.shown_digest(path)
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
                    continue
                self._left_out[path] = content
            digest = None if text is None else text_digest(text)
            alone = digest == (opened or {}).get(path) and self.is_passed_over(path)
            never_shown = alone or path in self._set_aside
            if digest != shown and not (shown is None and never_shown):
                changes.append((path, text))
        return changes

    def _settle(self, lives: Mapping[str, Content], opened: Mapping[str, str] | None = None) -> None:
        if changes := self._changes(lives, opened):
            self.revision += 1
            self._show(changes)

    def _settle_document(self, path: str) -> None:
        document = self._documents[path]
        self._settle({path: document.text}, {path: document.opened})

    def _show(self, changes: Sequence[Change], activated: str | None = None) -> None:
        self._layers.show(changes, self.revision, activated)
        for path, text in changes:
            if text is not None:
                self._left_out.pop(path, None)

    # -- layout ------------------------------------------------------------------------------------------

    def plan_request(self, budget: Budget) -> PlanRequest:
        """A snapshot from which `planning.plan_base` makes a new layout: the first one, or a compaction."""
        newest = self._layers.log.newest_in_order()
        unsaved = [
            (entry.segment.path, self._documents[entry.segment.path].text)
            for entry in reversed(newest)
            if entry.segment.path in self._documents and entry.segment.path != self.active
        ]
        evidence = Evidence(
            open_texts={path: document.text for path, document in self._documents.items()},
            changed=tuple(entry.segment.path for entry in newest),
            previous=tuple(self._layers.base),
            previous_forms=dict(self._forms),
        )
        return PlanRequest(budget, self.revision, self.settings.max_file_bytes, evidence, tuple(unsaved))

    def set_base(self, plan: BasePlan, *, keep_versions: bool = False) -> None:
        """Take a new layout. The log keeps only what the new base doesn't show: unsaved documents, and what
        changed on disk after the plan was begun. `keep_versions`: earlier states may come back."""
        order = (entry.segment.path for entry in self._layers.log.newest_in_order())
        carried = [path for path in order if path in self._documents]
        self._layers.set_base(self._remembered(plan.files), keep_versions=keep_versions)
        self._left_out = {entry.path: entry.reason for entry in plan.left_out}
        self._set_aside, self._notes = plan.set_aside, plan.notes
        self._forms |= plan.forms
        self.revision += 1
        self._since = {path: entry for path, entry in self._since.items() if entry[0] > plan.revision}
        lives = {path: entry[1] for path, entry in self._since.items() if path not in self._documents}
        open_ones = [*carried, *(path for path in self._documents if path not in carried)]
        documents = {path: self._documents[path] for path in open_ones if path != self.active}
        self._settle(
            lives | {path: document.text for path, document in documents.items()},
            {path: document.opened for path, document in documents.items()},
        )
        self._layers.settle()

    def memory(self, workspace: str, budget: Budget, model: str) -> LayoutMemory:
        """What a later session needs to stand the same."""
        log = self._layers.log
        return LayoutMemory(
            workspace,
            budget.total,
            model,
            [RememberedFile.of(file) for file in self._layers.base.values()],
            [RememberedEntry.of(entry, log.tokens_of(entry)) for entry in log],
            log.kept,
            frozenset(path for path in self._left_out if self.is_passed_over(path)),
            self._forms,
            sorted(self._purged),
        )

    def recall(
        self, memory: LayoutMemory, left_out: Iterable[LeftOut], contents: Mapping[str, Content]
    ) -> None:
        """Stand as an earlier session left it; then the disk, as `contents` has it of all those paths, and
        the open documents are brought in as changes."""
        live = {path: content for path, content in contents.items() if isinstance(content, str)}
        entries = [e.log_entry(number, live.get(e.path)) for number, e in enumerate(memory.entries)]
        for remembered, entry in zip(memory.entries, entries, strict=True):
            self._layers.log.record_tokens(entry.segment, remembered.tokens)
        self._layers.recall([file.base_file() for file in memory.files], entries, memory.kept)
        self._left_out = {entry.path: entry.reason for entry in left_out}
        self._left_out |= dict.fromkeys(memory.passed_over, Reason.OVER_BUDGET)
        self._forms = dict(memory.forms)
        self._purged.update(memory.purges)
        self.files_changed_on_disk(contents)
        for path in self._documents:
            if path != self.active:
                self._settle_document(path)

    def preview(self, plan: BasePlan) -> RepositoryContext:
        """A context of its own that stands as this one would after `set_base(plan)`."""
        twin = copy.copy(self)
        twin._layers = self._layers.copy()
        twin._documents, twin._left_out = dict(self._documents), dict(self._left_out)
        twin._forms, twin._purged, twin._since = dict(self._forms), set(self._purged), dict(self._since)
        twin._layouts = self._layouts.copy()
        twin.set_base(plan)
        return twin

    def _remembered(self, files: Sequence[BaseFile]) -> Sequence[BaseFile]:
        """The same texts in the order in which they stood before, where they did (a branch switched back)."""
        by_path = {file.path: file for file in files}
        key = text_digest("\n".join(f"{path} {by_path[path].digest}" for path in sorted(by_path)))
        order = self._layouts.setdefault(key, tuple(by_path))
        self._layouts.move_to_end(key)
        if len(self._layouts) > _REMEMBERED_LAYOUTS:
            self._layouts.popitem(last=False)
        return [by_path[path] for path in order]

    def log_state(self, budget: Budget) -> LogState:
        """What a compaction is weighed by (`compaction.is_worth_it`)."""
        return self._layers.log_state(budget.log)

    def overflows(self, budget: Budget) -> bool:
        """Would the open file not find its room? Then compact before the next sync, not after."""
        return self.base_tokens + self.log_tokens + budget.open_file > budget.total

    # -- what others read --------------------------------------------------------------------------------

    @property
    def base_tokens(self) -> int:
        """Tokens of the base."""
        return self._layers.base_tokens

    @property
    def log_tokens(self) -> int:
        """Tokens of the log, estimated where the worker has not counted."""
        return self._layers.log.tokens

    def segments(self) -> tuple[Segment, ...]:
        """As a `SyncRequest` takes them; the same object until one of them changes."""
        return self._layers.segments()

    def uncounted(self) -> tuple[list[Segment], dict[str, str]]:
        """Log segments whose tokens are only estimated, with their texts, as `CountRequest` takes them."""
        entries = self._layers.log.uncounted()
        return [entry.segment for entry in entries], {entry.segment.digest: entry.text for entry in entries}

    def record_tokens(self, segments: Iterable[Segment], tokens: Iterable[int]) -> None:
        """The worker's counts for `uncounted()`; a negative count is no answer."""
        for segment, count in zip(segments, tokens, strict=True):
            if count >= 0:
                self._layers.log.record_tokens(segment, count)

    def locate(self, digests: Iterable[str]) -> tuple[dict[str, str], list[tuple[str, str, str]]]:
        """Texts held in memory, and for the others (path, absolute, digest) as `reread` takes them."""
        return self._layers.locate(digests)

    def live_text(self, path: str) -> str | None:
        """The editor's text of an open document, else the log's newest copy; None where only disk has it."""
        document = self._documents.get(path)
        if document is not None:
            return document.text
        entry = self._layers.log.newest(path)
        return None if entry is None or entry.segment.tombstone or entry.is_lost else entry.text

    def report(self) -> ContextReport:
        """What stands in the context and what doesn't, and why."""
        open_text = self._documents[self.active].text if self.active is not None else ""
        left_out = tuple(LeftOut(path, reason) for path, reason in sorted(self._left_out.items()))
        files = reported_files(self._layers, estimated_tokens(open_text))
        return ContextReport(self.revision, files, left_out, self._notes, self.base_tokens, self.log_tokens)
