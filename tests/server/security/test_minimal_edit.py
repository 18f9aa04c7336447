"""LSP edits say exactly what the gate has verified, in every client's units."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsprotocol import types

from deltaloom_server.actions import NewFile, Outcome
from deltaloom_server.context.roots import name_roots
from deltaloom_server.documents import DocumentSnapshot, TextDocument
from deltaloom_server.errors import DeltaloomError
from deltaloom_server.positions import PositionEncoding, split_lines
from deltaloom_server.security.minimal_edit import to_text_edits, workspace_edit
from deltaloom_server.security.proposal import Edit, apply_edits
from deltaloom_server.session import ClientFeatures, Session

_PIECES = st.lists(st.sampled_from(["a", "b", " ", "é", "😀", "\n", "\r\n", "\r"]), max_size=14).map("".join)


def document(text: str, encoding: PositionEncoding = PositionEncoding.UTF16) -> DocumentSnapshot:
    return DocumentSnapshot("file:///w/a.py", 3, "python", encoding, tuple(split_lines(text)))


@st.composite
def _edited(draw: st.DrawFn) -> tuple[str, list[Edit]]:
    """A text and edits of it that, as all of ours, neither begin nor end inside a line end."""
    text = draw(_PIECES)
    places = [at for at in range(len(text) + 1) if text[at - 1 : at + 1] != "\r\n" or at == 0]
    chosen = sorted(draw(st.lists(st.sampled_from(places), max_size=6)))
    pairs = zip(chosen[::2], chosen[1::2], strict=False)
    edits = [Edit(start, end, draw(_PIECES)) for start, end in pairs]
    starts = [one.start for one in edits]
    return text, [] if len(set(starts)) != len(starts) else edits


@given(_edited(), st.sampled_from(list(PositionEncoding)))
def test_applying_them_gives_what_was_verified(
    case: tuple[str, list[Edit]], encoding: PositionEncoding
) -> None:
    text, edits = case
    made = to_text_edits(document(text, encoding), edits)
    # From the last to the first, so that none moves another: what an editor does.
    buffer = TextDocument("file:///w/a.py", text, version=3, encoding=encoding)
    for one in reversed(made):
        change = types.TextDocumentContentChangePartial(range=one.range, text=one.new_text)
        buffer.apply([change], 4)
    assert buffer.text == apply_edits(text, edits)
    for one in made:
        assert (one.range.start.line, one.range.start.character) <= (
            one.range.end.line,
            one.range.end.character,
        )


@given(_edited())
def test_they_take_no_more_than_was_given_and_nothing_where_nothing_changes(
    case: tuple[str, list[Edit]],
) -> None:
    text, edits = case
    made = to_text_edits(document(text), edits)
    assert sum(len(one.new_text) for one in made) <= sum(len(one.text) for one in edits)
    if all(text[one.start : one.end] == one.text for one in edits):
        assert made == []


def test_what_is_shared_at_the_ends_is_left_alone() -> None:
    (made,) = to_text_edits(document("x = load(a)\n"), [Edit(0, 12, "x = safe_load(a)\n")])
    assert (made.range.start, made.range.end) == (types.Position(0, 4), types.Position(0, 4))
    assert made.new_text == "safe_"


def test_a_line_end_is_never_cut_in_two() -> None:
    (made,) = to_text_edits(document("a\r\nb"), [Edit(0, 3, "c\n")])
    assert (made.range.start, made.range.end) == (types.Position(0, 0), types.Position(1, 0))
    assert made.new_text == "c\n"


# -- the whole edit ------------------------------------------------------------------------------------------


@pytest.fixture
def session(tmp_path: Path) -> Session:
    made = Session("s")
    made.roots = name_roots([str(tmp_path)])
    return made


OUTCOME = Outcome("Use b", (Edit(0, 1, "b"),), "parsed", "It differs.", unsafe=True)


def test_a_client_that_knows_versions_gets_them_and_is_asked_first(session: Session) -> None:
    session.client = ClientFeatures(document_changes=True, change_annotations=True)
    made = workspace_edit(document("a"), OUTCOME, session)
    assert made is not None
    assert made.document_changes is not None
    assert made.change_annotations is not None
    (change,) = made.document_changes
    assert isinstance(change, types.TextDocumentEdit)
    assert change.text_document.version == 3
    ((name, annotation),) = made.change_annotations.items()
    assert [one.annotation_id for one in change.edits if isinstance(one, types.AnnotatedTextEdit)] == [name]
    assert annotation == types.ChangeAnnotation("Use b", True, "parsed. It differs.")


def test_older_clients_get_what_they_understand(session: Session) -> None:
    session.client = ClientFeatures(document_changes=True)
    made = workspace_edit(document("a"), OUTCOME, session)
    assert made is not None
    assert made.change_annotations is None
    session.client = ClientFeatures()
    made = workspace_edit(document("a"), OUTCOME, session)
    assert made is not None
    assert made.document_changes is None
    assert list(made.changes or {}) == ["file:///w/a.py"]
    assert workspace_edit(document("b"), OUTCOME, session) is None


@pytest.mark.parametrize("where", ["../outside.py", "there.py", "dangling.py", "out/new.py"])
def test_a_new_file_is_new_and_inside_the_workspace(session: Session, tmp_path: Path, where: str) -> None:
    (tmp_path / "out").symlink_to(tmp_path.parent)
    (tmp_path / "there.py").write_text("")
    (tmp_path / "dangling.py").symlink_to(tmp_path / "nowhere")
    session.client = ClientFeatures(document_changes=True)
    with pytest.raises(DeltaloomError, match="exists already or lies outside"):
        workspace_edit(document("a"), Outcome("New", new_file=NewFile(where, "x")), session)


def test_a_new_file_comes_with_its_text_or_is_refused(session: Session, tmp_path: Path) -> None:
    outcome = Outcome("New", new_file=NewFile("new.py", "x = 1\n"))
    with pytest.raises(DeltaloomError, match="can't create a file"):
        workspace_edit(document("a"), outcome, session)
    session.client = ClientFeatures(document_changes=True, change_annotations=True)
    made = workspace_edit(document("a"), outcome, session)
    assert made is not None
    create, change = made.document_changes or ()
    told: Any = create
    assert (told.uri, told.options.overwrite) == ((tmp_path / "new.py").as_uri(), False)
    assert isinstance(change, types.TextDocumentEdit)
    assert change.text_document.version is None
    assert [one.new_text for one in change.edits if isinstance(one, types.TextEdit)] == ["x = 1\n"]
