"""One editor session's state: whole between two awaits, and frozen in what others work from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsprotocol.types import (
    Position,
    Range,
    TextDocumentContentChangePartial,
    TextDocumentContentChangeWholeDocument,
)

from deltaloom_server.errors import InvalidPosition, UnknownDocument
from deltaloom_server.positions import PositionEncoding
from deltaloom_server.session import Session, Snapshot, file_path

TEXT = "a = 1\nb = 2\n"


@pytest.fixture
def root(tmp_path: Path, session: Session) -> Path:
    """A folder that is the session's workspace."""
    folder = tmp_path / "shop"
    folder.mkdir()
    session.configure(None, [str(folder)])
    session.begin_context()
    return folder


def _insertion(text: str, line: int = 0, column: int = 0) -> list[TextDocumentContentChangePartial]:
    place = Position(line, column)
    return [TextDocumentContentChangePartial(range=Range(place, place), text=text)]


def _live(session: Session, path: str) -> str | None:
    """What the context holds for a shown path, once the session has published what it has."""
    session.publish_text()
    assert session.context is not None
    return session.context.live_text(path)


# -- documents and the context -------------------------------------------------------------------------------


def test_the_context_gets_the_editors_text(session: Session, root: Path) -> None:
    uri = (root / "a.py").as_uri()
    session.open_document(uri, "python", 1, TEXT)
    assert _live(session, "a.py") == TEXT
    session.change_document(uri, 2, _insertion("# "))
    session.change_document(uri, 3, _insertion("!", 1, 5))
    assert _live(session, "a.py") == "# a = 1\nb = 2!\n"


def test_a_change_of_another_document_publishes_the_first(session: Session, root: Path) -> None:
    first, second = (root / "a.py").as_uri(), (root / "b.py").as_uri()
    for uri in (first, second):
        session.open_document(uri, "python", 1, TEXT)
    session.change_document(first, 2, _insertion("1"))
    session.change_document(second, 2, _insertion("2"))
    assert session.context is not None
    assert session.context.live_text("a.py") == "1" + TEXT
    assert session.context.active == "a.py"
    assert _live(session, "b.py") == "2" + TEXT
    assert session.context.active == "b.py"


def test_a_document_outside_every_root_never_reaches_the_context(session: Session, root: Path) -> None:
    outside = (root.parent / "shopping" / "a.py").as_uri()
    for uri in (outside, "untitled:Untitled-1"):
        session.open_document(uri, "python", 1, TEXT)
        session.change_document(uri, 2, _insertion("x"))
        snapshot = session.take_snapshot(uri, 0, 1)
        assert (snapshot.workspace, snapshot.repository) == ("", "")
        assert (snapshot.cursor.typed, snapshot.cursor.suffix) == ("x", TEXT)
        assert session.close_document(uri) is None
    assert session.context is not None
    assert (session.context.revision, session.context.active, session.context.segments()) == (0, None, ())


def test_an_invalid_change_leaves_the_text_as_it_was(session: Session, root: Path) -> None:
    uri = (root / "a.py").as_uri()
    session.open_document(uri, "python", 1, TEXT)
    bad = _insertion("y", 1, 0)[0]
    object.__setattr__(bad.range.start, "line", -1)  # past lsprotocol's own check
    with pytest.raises(InvalidPosition):
        session.change_document(uri, 2, [*_insertion("x"), bad])
    assert session.documents[uri].text == TEXT
    assert _live(session, "a.py") == TEXT


def test_a_document_opened_twice_has_the_newer_text(session: Session, root: Path) -> None:
    uri = (root / "a.py").as_uri()
    session.open_document(uri, "python", 1, TEXT)
    session.change_document(uri, 2, _insertion("x"))
    session.open_document(uri, "python", 1, "new\n")
    assert _live(session, "a.py") == "new\n"


def test_what_is_not_open_is_an_error_that_names_it(session: Session) -> None:
    with pytest.raises(UnknownDocument, match=r"a b\.py isn't open"):
        session.change_document("file:///x/a%20b.py", 1, _insertion("x"))
    with pytest.raises(UnknownDocument):
        session.take_snapshot("file:///x/a.py", 0, 0)
    assert session.close_document("file:///x/a.py") is None


# -- closing -------------------------------------------------------------------------------------------------


def test_a_closed_document_keeps_its_text_until_the_disk_has_been_read(session: Session, root: Path) -> None:
    uri = (root / "a.py").as_uri()
    session.open_document(uri, "python", 1, TEXT)
    session.change_document(uri, 2, _insertion("x"))
    assert session.close_document(uri) == "a.py"
    assert _live(session, "a.py") == "x" + TEXT
    assert session.settle_closed("a.py", "disk\n")
    assert _live(session, "a.py") == "disk\n"
    assert not session.settle_closed("a.py", "again\n")


def test_a_document_opened_again_keeps_the_editors_text(session: Session, root: Path) -> None:
    uri = (root / "a.py").as_uri()
    session.open_document(uri, "python", 1, TEXT)
    session.close_document(uri)
    session.open_document(uri, "python", 1, "new\n")
    assert not session.settle_closed("a.py", "disk\n")
    assert _live(session, "a.py") == "new\n"


def test_a_document_that_can_not_be_trusted_is_not_published(session: Session, root: Path) -> None:
    uri = (root / "a.py").as_uri()
    session.open_document(uri, "python", 1, TEXT)
    session.change_document(uri, 2, _insertion("wrong"))
    assert session.drop_document(uri) == "a.py"
    assert _live(session, "a.py") == TEXT


def test_of_two_names_for_one_file_the_last_opened_counts(session: Session, root: Path) -> None:
    plain = (root / "a.py").as_uri()
    escaped = plain.replace("a.py", "%61.py")
    session.open_document(plain, "python", 1, "plain\n")
    session.open_document(escaped, "python", 1, "escaped\n")
    session.change_document(plain, 2, _insertion("x"))
    assert _live(session, "a.py") == "escaped\n"
    assert session.take_snapshot(plain, 0, 0).workspace == ""
    assert session.close_document(plain) is None
    assert _live(session, "a.py") == "escaped\n"


# -- snapshots -----------------------------------------------------------------------------------------------


def test_a_snapshot_does_not_follow_the_document(session: Session, root: Path) -> None:
    uri = (root / "a.py").as_uri()
    session.open_document(uri, "python", 7, TEXT)
    snapshot = session.take_snapshot(uri, 1, 2)
    session.change_document(uri, 8, _insertion("x"))
    assert (snapshot.document.text, snapshot.document.version) == (TEXT, 7)
    assert (snapshot.cursor.prefix, snapshot.cursor.typed) == ("a = 1\n", "b ")
    with pytest.raises(dataclasses.FrozenInstanceError):
        snapshot.line = 3  # type: ignore[misc]


def test_a_snapshot_publishes_what_was_typed_and_makes_its_document_active(
    session: Session, root: Path
) -> None:
    first, second = (root / "a.py").as_uri(), (root / "b.py").as_uri()
    for uri in (first, second):
        session.open_document(uri, "python", 1, TEXT)
    session.change_document(first, 2, _insertion("x"))
    assert session.context is not None
    snapshot = session.take_snapshot(second, 0, 0)
    assert (snapshot.path, snapshot.repository, snapshot.workspace) == ("b.py", "shop", session.workspace)
    assert session.context.active == "b.py"
    assert session.context.live_text("a.py") == "x" + TEXT


@pytest.mark.parametrize(
    ("asked", "clamped"), [((0, 99), (0, 5)), ((99, 0), (2, 0)), ((1, 2), (1, 2)), ((2, 5), (2, 0))]
)
def test_a_position_past_the_text_is_clamped_into_it(
    session: Session, asked: tuple[int, int], clamped: tuple[int, int]
) -> None:
    session.open_document("file:///a.py", "python", 1, TEXT)
    snapshot = session.take_snapshot("file:///a.py", *asked)
    assert (snapshot.line, snapshot.character) == clamped
    assert snapshot.cursor.prefix + snapshot.cursor.typed + snapshot.cursor.suffix == TEXT


def test_a_snapshot_has_the_settings_of_its_time(session: Session) -> None:
    session.open_document("file:///a.py", "python", 1, TEXT)
    before = session.take_snapshot("file:///a.py", 0, 0)
    session.reconfigure({"completion": {"max_new_tokens": 7}})
    assert before.settings.max_new_tokens != 7
    assert session.take_snapshot("file:///a.py", 0, 0).settings.max_new_tokens == 7


@pytest.mark.parametrize(
    ("encoding", "column"),
    [(PositionEncoding.UTF8, 4), (PositionEncoding.UTF16, 2), (PositionEncoding.UTF32, 1)],
)
def test_columns_count_in_the_negotiated_units(
    session: Session, encoding: PositionEncoding, column: int
) -> None:
    session.encoding = encoding
    session.open_document("file:///a.py", "python", 1, "😀x")
    assert session.take_snapshot("file:///a.py", 0, column).cursor.typed == "😀"


# -- roots and settings --------------------------------------------------------------------------------------


def test_other_roots_begin_a_new_context_with_every_open_document(session: Session, root: Path) -> None:
    uri = (root / "a.py").as_uri()
    session.open_document(uri, "python", 1, TEXT)
    session.change_document(uri, 2, _insertion("x"))
    old, workspace = session.context, session.workspace
    session.change_roots([str(root.parent)])
    assert session.context is not old
    assert session.workspace != workspace
    assert _live(session, "shop/a.py") == "x" + TEXT
    session.change_roots([])
    assert session.context is None
    assert session.workspace == ""
    assert session.take_snapshot(uri, 0, 1).cursor.typed == "x"


def test_the_workspaces_key_depends_on_its_folders_alone(tmp_path: Path) -> None:
    folders = [str(tmp_path / name) for name in ("a", "b")]
    first, second, third = Session("1"), Session("2"), Session("3")
    first.configure(None, folders)
    second.configure({"log": {"level": "debug"}}, folders)
    third.configure(None, folders[:1])
    assert first.workspace == second.workspace != third.workspace
    assert (first.repository, third.repository) == ("a+b", "a")


def test_new_editor_settings_replace_the_old_and_the_project_is_read_again(tmp_path: Path) -> None:
    session = Session("s")
    assert session.configure({"completion": {"multiline": False}}, [str(tmp_path)]) == ()
    (tmp_path / "deltaloom.toml").write_text("[completion]\nmax_new_tokens = 5\nwrong = 1\n")
    (problem,) = session.reconfigure()
    assert "wrong" in problem
    completion = session.settings.completion
    assert (completion.multiline, completion.max_new_tokens) == (False, 5)
    session.reconfigure({})
    assert session.settings.completion.multiline


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:///a/b%20c.py", "/a/b c.py"),
        ("file://localhost/a.py", "/a.py"),
        ("file:///a/../b.py", "/b.py"),
        ("file:///a%2Fb.py", "/a/b.py"),
        ("file://elsewhere/a.py", None),
        ("file:a.py", None),
        ("file:///a%00.py", None),
        ("untitled:Untitled-1", None),
        ("vscode-vfs://github/a/b.py", None),
        ("", None),
    ],
)
def test_only_this_machines_files_have_a_path(uri: str, path: str | None) -> None:
    assert file_path(uri) == path


# -- any order of notifications ------------------------------------------------------------------------------

_NAMES = st.sampled_from(["a.py", "sub/b.py"])
_STEPS = st.lists(
    st.tuples(st.sampled_from(["open", "change", "whole", "close", "drop", "look", "settle"]), _NAMES),
    max_size=20,
)


@given(_STEPS)
def test_after_any_notifications_the_context_holds_every_open_documents_text(
    steps: list[tuple[str, str]],
) -> None:
    session, texts = Session("s"), dict[str, str]()
    session.configure(None, ["/nowhere/shop"])
    session.begin_context()
    for number, (step, name) in enumerate(steps):
        uri = f"file:///nowhere/shop/{name}"
        if step == "open":
            texts[name] = f"{number}\n"
            session.open_document(uri, "python", number, texts[name])
        elif step in ("close", "drop"):
            path = session.close_document(uri) if step == "close" else session.drop_document(uri)
            assert path == (name if name in texts else None)
            texts.pop(name, None)
        elif step == "settle":
            session.settle_closed(name, "disk\n")
        elif name not in texts:
            with pytest.raises(UnknownDocument):
                session.change_document(uri, number, [])
        elif step == "look":
            snapshot: Snapshot = session.take_snapshot(uri, 0, 0)
            assert (snapshot.document.text, snapshot.path) == (texts[name], name)
        else:
            whole = step == "whole"
            texts[name] = f"{number}!" if whole else f"{number} {texts[name]}"
            change = TextDocumentContentChangeWholeDocument(f"{number}!")
            session.change_document(uri, number, [change] if whole else _insertion(f"{number} "))
        assert {uri.removeprefix("file:///nowhere/shop/") for uri in session.documents} == set(texts)
    for name, text in texts.items():
        assert _live(session, name) == text
