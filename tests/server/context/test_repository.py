from __future__ import annotations

import pytest

from deltaloom_model.api import Segment, text_digest
from deltaloom_server.context.compaction import is_worth_it
from deltaloom_server.context.layout import BaseFile, BasePlan, Budget
from deltaloom_server.context.reasons import LeftOut, Reason
from deltaloom_server.context.repository import RepositoryContext
from deltaloom_server.context.roots import absolute_path, name_roots
from deltaloom_server.errors import UnknownDocument
from deltaloom_server.settings import ContextSettings


def base_of(files: dict[str, str], revision: int = 0, **plan: object) -> BasePlan:
    base = tuple(BaseFile(path, f"/w/{path}", text_digest(text), 10) for path, text in files.items())
    return BasePlan(revision, base, **plan)  # type: ignore[arg-type]


def log_of(context: RepositoryContext) -> list[str]:
    """Log segments as `path:text`, a tombstone as `path:`."""
    texts, _ = context.locate(segment.digest for segment in context.segments())
    return [f"{s.path}:{texts[s.digest]}" for s in context.segments() if s.kind == "log"]


@pytest.fixture
def context() -> RepositoryContext:
    context = RepositoryContext(name_roots(["/w"]), ContextSettings(max_file_bytes=1000))
    context.set_base(base_of({"a.py": "a0", "b.py": "b0", "c.py": "c0"}))
    for path in ("a.py", "b.py"):
        context.document_opened(path, path[0] + "0")
    return context


def test_the_active_document_is_not_logged_while_it_is_edited(context: RepositoryContext) -> None:
    context.activate("a.py")
    for text in ("a1", "a2", "a3"):
        context.document_changed("a.py", text)
    assert log_of(context) == []


def test_a_document_left_changed_is_logged_once_with_its_last_text(context: RepositoryContext) -> None:
    context.activate("a.py")
    context.document_changed("a.py", "a1")
    context.document_changed("a.py", "a2")
    context.activate("b.py")
    assert log_of(context) == ["a.py:a2"]


def test_a_document_left_unchanged_or_undone_leaves_no_trace(context: RepositoryContext) -> None:
    context.activate("a.py")
    context.activate("b.py")
    context.document_changed("b.py", "b1")
    context.document_changed("b.py", "b0")
    context.activate("a.py")
    assert log_of(context) == []


def test_going_back_and_forth_without_editing_gives_the_same_sequences(context: RepositoryContext) -> None:
    context.document_changed("a.py", "a1")
    context.document_changed("b.py", "b1")
    context.activate("a.py")
    on_a = context.segments()
    context.activate("b.py")
    on_b = context.segments()
    for _ in range(3):
        context.activate("a.py")
        assert context.segments() == on_a
        context.activate("b.py")
        assert context.segments() == on_b


def test_the_open_file_does_not_stand_at_the_end_of_the_log_too(context: RepositoryContext) -> None:
    context.document_changed("a.py", "a1")
    context.activate("b.py")
    assert log_of(context) == ["a.py:a1"]
    context.activate("a.py")
    assert log_of(context) == []
    context.activate("b.py")
    assert log_of(context) == ["a.py:a1"]


def test_undo_to_the_base_after_a_stale_copy_appends_again(context: RepositoryContext) -> None:
    context.document_changed("a.py", "a1")
    context.document_changed("b.py", "b1")
    context.activate(None)
    context.document_changed("a.py", "a0")
    context.activate(None)
    assert log_of(context) == ["a.py:a1", "b.py:b1", "a.py:a0"]


def test_disk_changes_of_closed_files_are_logged_and_of_open_ones_not(context: RepositoryContext) -> None:
    context.files_changed_on_disk({"c.py": "c1"})
    context.files_changed_on_disk({"c.py": "c1"})
    context.files_changed_on_disk({"a.py": "other text on disk"})
    context.files_changed_on_disk({"new.py": "n"})
    assert log_of(context) == ["c.py:c1", "new.py:n"]


def test_deletion_and_rename_append_tombstones(context: RepositoryContext) -> None:
    context.files_changed_on_disk({"c.py": None})
    context.files_changed_on_disk({"d.py": "c0"})
    context.files_changed_on_disk({"never_seen.py": None})
    segments = context.segments()[3:]
    assert segments == (
        Segment("c.py", text_digest(""), "log", tombstone=True), Segment("d.py", text_digest("c0"), "log")
    )  # fmt: skip
    assert context.locate([text_digest("")]) == ({text_digest(""): ""}, [])


def test_a_folder_that_goes_takes_its_files_along(context: RepositoryContext) -> None:
    context.set_base(base_of({"pkg/a.py": "1", "pkg/sub/b.py": "2", "pkg2/c.py": "3"}))
    assert context.paths_under("pkg") == ("pkg/a.py", "pkg/sub/b.py")


def test_closing_without_saving_brings_the_disk_text_back(context: RepositoryContext) -> None:
    context.document_changed("a.py", "a1")
    context.activate("b.py")
    assert log_of(context) == ["a.py:a1"]
    context.document_closed("a.py", "a0")
    assert log_of(context) == [], "as it stood before: nothing is appended to say what the base says"
    context.document_closed("b.py", "b0")
    assert context.active is None
    assert log_of(context) == []


def test_opening_a_file_that_has_no_room_and_leaving_it_alone_logs_nothing(
    context: RepositoryContext,
) -> None:
    left_out = (LeftOut("big.py", Reason.OVER_BUDGET),)
    context.set_base(base_of({"a.py": "a0", "b.py": "b0", "c.py": "c0"}, left_out=left_out))
    context.document_opened("big.py", "text")
    context.activate("big.py")
    context.activate("a.py")
    assert log_of(context) == []
    context.document_changed("big.py", "text2")
    context.activate("a.py")
    assert log_of(context) == ["big.py:text2"]


@pytest.mark.parametrize("reason", [Reason.IGNORED, Reason.SECRET])
def test_a_file_that_becomes_ignored_or_secret_is_purged(context: RepositoryContext, reason: Reason) -> None:
    context.document_changed("a.py", "a1")
    context.document_changed("b.py", "b1")
    context.document_changed("a.py", "a2")
    context.activate("b.py")
    revision = context.revision
    context.files_changed_on_disk({"a.py": reason})
    assert {segment.path for segment in context.segments()} == {"b.py", "c.py"}
    assert context.revision > revision
    assert context.take_purged() == {"a.py"}
    assert context.take_purged() == frozenset()
    context.document_changed("a.py", "a3")
    context.activate("b.py")
    assert "a.py" not in {segment.path for segment in context.segments()}


def test_a_key_typed_into_a_document_never_reaches_the_log(context: RepositoryContext) -> None:
    context.document_changed("a.py", "key = '" + "AKIA" + "Q4SD7XYZ2345ABCD'")
    context.activate("b.py")
    assert "a.py" not in {segment.path for segment in context.segments()}
    assert LeftOut("a.py", Reason.SECRET) in context.report().left_out


@pytest.mark.parametrize("path", [".env", "keys/server.pem", "node_modules/x/index.js", "ignored.py"])
def test_documents_that_were_left_out_stay_out_when_edited(path: str) -> None:
    context = RepositoryContext(name_roots(["/w"]), ContextSettings())
    left_out = (LeftOut("ignored.py", Reason.IGNORED), LeftOut("node_modules/", Reason.DEPENDENCY))
    context.set_base(base_of({}, left_out=left_out))
    context.document_opened(path, "x")
    context.document_changed(path, "y")
    context.activate(None)
    assert context.segments() == ()


def test_a_file_that_can_no_longer_be_shown_becomes_a_tombstone(context: RepositoryContext) -> None:
    context.document_changed("a.py", "x" * 1001)
    context.activate(None)
    context.files_changed_on_disk({"c.py": Reason.INVALID_UTF8})
    assert [segment.tombstone for segment in context.segments()[3:]] == [True, True]
    assert {entry.path: entry.reason for entry in context.report().left_out} == {
        "a.py": Reason.OVERSIZE, "c.py": Reason.INVALID_UTF8
    }  # fmt: skip
    context.files_changed_on_disk({"c.py": "c2"})
    assert log_of(context)[-1] == "c.py:c2"


def test_an_emptied_file_is_shown_empty(context: RepositoryContext) -> None:
    context.files_changed_on_disk({"c.py": Reason.EMPTY})
    assert context.segments()[-1] == Segment("c.py", text_digest(""), "log")


def test_changes_during_planning_survive_the_new_layout(context: RepositoryContext) -> None:
    context.files_changed_on_disk({"b2.py": "before"})
    request = context.plan_request(Budget(1000))
    context.files_changed_on_disk({"c.py": "after"})
    context.files_changed_on_disk({"gone.py": "x"})
    context.files_changed_on_disk({"gone.py": None})
    context.set_base(
        base_of(
            {"a.py": "a0", "b.py": "b0", "b2.py": "before", "c.py": "c0", "gone.py": "x"}, request.revision
        )
    )
    assert log_of(context) == ["c.py:after", "gone.py:"]


def test_compaction_is_due_when_the_log_passes_its_eighth(context: RepositoryContext) -> None:
    budget = Budget(800)
    context.document_changed("a.py", "a1")
    context.activate("b.py")
    segments, texts = context.uncounted()
    assert list(texts.values()) == ["a1"]
    context.record_tokens(segments, [100])
    assert context.uncounted() == ([], {})
    assert not is_worth_it(context.log_state(budget), 0)
    context.document_changed("b.py", "b1")
    context.activate(None)
    context.record_tokens(context.uncounted()[0], [1])
    assert context.log_tokens == 101
    assert is_worth_it(context.log_state(budget), 0)
    context.set_base(base_of({"a.py": "a0", "b.py": "b0", "c.py": "c0"}, context.revision))
    assert log_of(context) == ["a.py:a1", "b.py:b1"]
    assert context.log_tokens == 101
    assert not is_worth_it(context.log_state(budget), 3600)


def test_the_report_says_where_each_file_stands(context: RepositoryContext) -> None:
    context.document_changed("a.py", "a1")
    context.activate("b.py")
    report = context.report()
    assert [(file.path, file.region, file.current) for file in report.files] == [
        ("a.py", "base", False), ("b.py", "base", False), ("c.py", "base", True), ("a.py", "log", True),
        ("b.py", "open", True),
    ]  # fmt: skip
    assert report.base_tokens == 30


def test_documents_that_are_not_open_are_refused(context: RepositoryContext) -> None:
    with pytest.raises(UnknownDocument):
        context.document_changed("c.py", "c1")
    with pytest.raises(UnknownDocument):
        context.document_closed("c.py", None)


def test_shown_paths_name_the_root_only_where_there_are_several() -> None:
    one = RepositoryContext(name_roots(["/w/app"]), ContextSettings())
    assert one.shown_path("/w/app/src/a.py") == "src/a.py"
    assert one.shown_path("/w/application/a.py") is None
    assert one.shown_path("/w/app/../x.py") is None
    two = RepositoryContext(name_roots(["/w/app", "/v/app", "/v/app/lib"]), ContextSettings())
    for absolute, shown in {
        "/w/app/a.py": "app/a.py",
        "/v/app/b/c.py": "app-2/b/c.py",
        "/v/app/lib/d.py": "lib/d.py",
    }.items():
        assert two.shown_path(absolute) == shown
        assert absolute_path(shown, two.roots) == absolute
