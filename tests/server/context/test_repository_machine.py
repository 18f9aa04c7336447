"""Any sequence of edits, switches, saves, disk changes and compactions, against a plain model."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from deltaloom_model.api import Segment, text_digest
from deltaloom_server.context.layout import BaseFile, BasePlan, Budget, base_order
from deltaloom_server.context.reasons import WorkspaceFile
from deltaloom_server.context.repository import RepositoryContext
from deltaloom_server.context.roots import name_roots
from deltaloom_server.settings import ContextSettings

PATHS = st.sampled_from(["a.py", "b.py", "c.py", "new.py"])
TEXTS = st.sampled_from(["", "one\n", "two\n", "three\n"])


def trimmed(log: tuple[Segment, ...], active: str | None) -> tuple[Segment, ...]:
    """Without the entries at the end that are the active document's: it stands last anyway."""
    while log and log[-1].path == active:
        log = log[:-1]
    return log


class ContextMachine(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.disk: dict[str, str] = {"a.py": "one\n", "b.py": "two\n", "c.py": "three\n"}
        self.editor: dict[str, str] = {}
        self.opened: dict[str, str] = {}
        self.active: str | None = None
        self.context = RepositoryContext(name_roots(["/w"]), ContextSettings())
        self.compact()

    @rule(path=PATHS)
    def open(self, path: str) -> None:
        if path not in self.editor:
            self.editor[path] = self.opened[path] = self.disk.get(path, "")
            self.context.document_opened(path, self.editor[path])

    @rule(path=PATHS, text=TEXTS)
    def type(self, path: str, text: str) -> None:
        if path in self.editor:
            self.editor[path] = text
            self.active = path
            self.context.document_changed(path, text)

    @rule(path=PATHS)
    def switch(self, path: str) -> None:
        self.active = path if path in self.editor else None
        self.context.activate(self.active)

    @rule(path=PATHS)
    def save(self, path: str) -> None:
        if path in self.editor:
            self.change_on_disk(path, self.editor[path])

    @rule(path=PATHS)
    def close(self, path: str) -> None:
        if path in self.editor:
            del self.editor[path]
            self.active = None if self.active == path else self.active
            self.context.document_closed(path, self.disk.get(path))

    @rule(path=PATHS, text=TEXTS)
    def change_on_disk(self, path: str, text: str) -> None:
        self.disk[path] = text
        self.context.files_changed_on_disk({path: text})

    @rule(path=PATHS)
    def delete_on_disk(self, path: str) -> None:
        self.disk.pop(path, None)
        self.context.files_changed_on_disk({path: None})

    @rule()
    def compact(self) -> None:
        request = self.context.plan_request(Budget(4096))
        files = [WorkspaceFile(path, "/w/" + path, 1, 0) for path, text in self.disk.items() if text]
        ordered = base_order(files, request.evidence)
        base = tuple(BaseFile(f.path, f.absolute, text_digest(self.disk[f.path]), 5) for f in ordered)
        self.context.set_base(BasePlan(request.revision, base))
        self.base = self.context.segments()[: len(base)]
        self.log: tuple[Segment, ...] = ()
        self.revision, self.last = -1, ()
        self.earlier: set[tuple[Segment, ...]] = set()
        self.stood: dict[object, tuple[Segment, ...]] = {}
        assert {(s.path, s.digest) for s in self.base} == {(f.path, f.digest) for f in base}

    @precondition(lambda self: hasattr(self, "context"))
    @invariant()
    def newest_occurrence_is_the_live_text(self) -> None:
        newest: dict[str, Segment] = {segment.path: segment for segment in self.context.segments()}
        for path in {*self.disk, *self.editor, *newest}:
            if path == self.active:
                continue
            live = self.editor.get(path, self.disk.get(path))
            shown = newest.get(path)
            if shown is None:
                # Never shown is right for what is gone, empty, or open as it was when it was opened.
                assert not live or live == self.opened.get(path), path
            elif shown.tombstone:
                assert not live, path  # gone, or empty, which shows no more
            else:
                assert live is not None
                assert shown.digest == text_digest(live), path

    @precondition(lambda self: hasattr(self, "context"))
    @invariant()
    def base_stands_and_the_log_only_grows(self) -> None:
        segments = self.context.segments()
        assert segments[: len(self.base)] == self.base
        log = segments[len(self.base) :]
        assert all(segment.kind == "log" for segment in log)
        kept = trimmed(self.log, self.active)
        assert log[: len(kept)] == kept or any(past[: len(log)] == log for past in self.earlier)
        self.log = log
        self.earlier.add(log)

    @precondition(lambda self: hasattr(self, "context"))
    @invariant()
    def the_same_live_texts_stand_the_same_way(self) -> None:
        """Going back to what was there before is a look-up, whatever way it is come to."""
        newest: dict[str, Segment] = {segment.path: segment for segment in self.context.segments()}
        shown = frozenset(
            (path, s.digest) for path, s in newest.items() if path != self.active and not s.tombstone
        )
        segments = self.context.segments()
        assert self.stood.setdefault((self.active, shown), segments) == segments

    @precondition(lambda self: hasattr(self, "context"))
    @invariant()
    def revision_rises_with_every_change(self) -> None:
        segments = self.context.segments()
        if segments != self.last:
            assert self.context.revision > self.revision
        self.revision, self.last = self.context.revision, segments

    @precondition(lambda self: hasattr(self, "context"))
    @invariant()
    def log_texts_can_be_given_again(self) -> None:
        log = [segment.digest for segment in self.context.segments() if segment.kind == "log"]
        found, missing = self.context.locate(log)
        assert set(found) == set(log)
        assert missing == []


TestContextMachine = ContextMachine.TestCase
TestContextMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
