"""The buffer against a reference that keeps one string and counts code units one by one."""

from __future__ import annotations

import logging
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lsprotocol.types import (
    Position,
    Range,
    TextDocumentContentChangePartial,
    TextDocumentContentChangeWholeDocument,
)

from deltaloom_server.documents import Change, TextDocument
from deltaloom_server.errors import DeltaloomError, InvalidPosition
from deltaloom_server.positions import PositionEncoding

UTF8, UTF16, UTF32 = PositionEncoding.UTF8, PositionEncoding.UTF16, PositionEncoding.UTF32
URI = "file:///a.py"


def change(start: tuple[int, int], end: tuple[int, int], text: str) -> Change:
    return TextDocumentContentChangePartial(range=Range(Position(*start), Position(*end)), text=text)


def whole(text: str) -> Change:
    return TextDocumentContentChangeWholeDocument(text=text)


def document(text: str, encoding: PositionEncoding = UTF16) -> TextDocument:
    return TextDocument(URI, text, language_id="python", version=1, encoding=encoding)


# -- the reference: slow, obvious, and sharing no code with what it checks -----------------------------------


def whole_characters(text: str) -> str:
    """Surrogate halves that meet become one character, as in the editor's own utf-16 text."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def reference_lines(text: str) -> list[tuple[int, int]]:
    """(start, end of content) of each line."""
    lines, start, at = [], 0, 0
    while at < len(text):
        if text[at] in "\r\n":
            lines.append((start, at))
            at += 2 if text[at : at + 2] == "\r\n" else 1
            start = at
        else:
            at += 1
    lines.append((start, len(text)))
    return lines


def units_of(character: str, encoding: PositionEncoding) -> int:
    code = ord(character)
    if encoding is UTF8:
        return 1 + (code > 0x7F) + (code > 0x7FF) + (code > 0xFFFF)
    return 1 + (encoding is UTF16 and code > 0xFFFF)


def reference_offset(text: str, line: int, character: int, encoding: PositionEncoding) -> int:
    lines = reference_lines(text)
    if line >= len(lines):
        return len(text)
    offset, end = lines[line]
    while offset < end and character >= units_of(text[offset], encoding):
        character -= units_of(text[offset], encoding)
        offset += 1
    return offset


def reference_apply(text: str, one: Change, encoding: PositionEncoding) -> str:
    if isinstance(one, TextDocumentContentChangeWholeDocument):
        return whole_characters(one.text)
    places = (one.range.start, one.range.end)
    start, end = sorted(reference_offset(text, place.line, place.character, encoding) for place in places)
    return whole_characters(text[:start] + one.text + text[end:])


# -- property ------------------------------------------------------------------------------------------------

ALPHABET = "\n\r\t \x0c\x0b\x85\u2028\u2029ab)é\u0301中\U0001f600\U00010437\ud83d\ude00"
texts = st.lists(st.sampled_from([*ALPHABET, "\r\n", "\n\r", "word"]), max_size=25).map("".join)
positions = st.tuples(st.integers(0, 9), st.one_of(st.integers(0, 12), st.just(10**6)))
changes = st.one_of(
    st.builds(change, positions, positions, texts),
    st.builds(change, positions, positions, st.just("")),
    st.builds(change, positions, positions, st.sampled_from(["\n", "\r", "\ud83d", "\ude00", "x"])),
    st.builds(whole, texts),
)


@settings(max_examples=400, deadline=None)
@given(texts, st.sampled_from(PositionEncoding), st.lists(st.lists(changes, max_size=4), max_size=4))
def test_buffer_equals_the_reference_after_every_notification(
    text: str, encoding: PositionEncoding, notifications: list[list[Change]]
) -> None:
    ours, expected = document(text, encoding), whole_characters(text)
    for version, notification in enumerate(notifications, start=2):
        ours.apply(notification, version)
        for one in notification:
            expected = reference_apply(expected, one, encoding)
        assert ours.text == expected
        lines = reference_lines(expected)
        assert ours.line_count == len(lines)
        assert [ours.line_text(line) for line in range(len(lines))] == [expected[a:b] for a, b in lines]


@settings(max_examples=200, deadline=None)
@given(texts, st.sampled_from(PositionEncoding), positions)
def test_offsets_and_positions_agree_with_the_reference(
    text: str, encoding: PositionEncoding, place: tuple[int, int]
) -> None:
    ours = document(text, encoding)
    text = ours.text
    assert ours.offset_at(*place) == reference_offset(text, *place, encoding)
    for offset in range(len(text) + 1):
        found = ours.position_at(offset)
        inside_line_end = text[max(offset - 1, 0) : offset + 1] == "\r\n" and offset > 0
        assert ours.offset_at(found.line, found.character) == offset - inside_line_end
    cursor = ours.snapshot().at_cursor(*place)
    assert cursor.prefix + cursor.typed + cursor.suffix == text
    assert len(cursor.prefix) + len(cursor.typed) == ours.offset_at(*place)
    assert not cursor.prefix or cursor.prefix.endswith(("\n", "\r"))
    assert "\n" not in cursor.typed
    assert "\r" not in cursor.typed


# -- corner cases ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "start", "end", "text", "after"),
    [
        pytest.param("", (0, 0), (0, 0), "a", "a", id="into an empty document"),
        pytest.param("abc", (0, 1), (0, 2), "", "ac", id="deletion in a line"),
        pytest.param("a\nb\nc", (0, 1), (2, 0), "", "ac", id="deletion over lines"),
        pytest.param("ab\ncd\n", (0, 99), (0, 99), "x", "abx\ncd\n", id="over-long column"),
        pytest.param("ab\ncd", (1, 99), (1, 99), "x", "ab\ncdx", id="over-long column, no newline at end"),
        pytest.param("ab\r\ncd", (0, 99), (0, 99), "x", "abx\r\ncd", id="over-long column before CRLF"),
        pytest.param("ab\n", (7, 3), (9, 0), "x", "ab\nx", id="lines past the end"),
        pytest.param("ab\n", (0, 0), (9, 0), "", "", id="everything deleted"),
        pytest.param("abc", (0, 2), (0, 1), "x", "axc", id="start after end"),
        pytest.param("a\rb", (1, 0), (1, 0), "\n", "a\r\nb", id="a CR gets its LF at the next line"),
        pytest.param("a\rb\nc", (1, 0), (1, 1), "", "a\r\nc", id="a deletion joins CR and LF"),
        pytest.param("a\nb", (0, 1), (0, 1), "\r", "a\r\nb", id="an LF gets its CR"),
        pytest.param("a\r\nb", (0, 1), (0, 1), "\r", "a\r\r\nb", id="a CR before CRLF"),
        pytest.param("a\r\nb", (0, 1), (1, 0), "", "ab", id="CRLF deleted"),
        pytest.param("a\r\nb", (0, 1), (1, 0), "\n", "a\nb", id="CRLF to LF"),
        pytest.param("a\x0cb\nc", (0, 3), (0, 3), "x", "a\x0cbx\nc", id="form feed is no line end"),
        pytest.param("a\u2028b\nc", (1, 0), (1, 1), "x", "a\u2028b\nx", id="U+2028 is no line end"),
        pytest.param("a\x85b\nc", (1, 1), (1, 1), "x", "a\x85b\ncx", id="U+0085 is no line end"),
        pytest.param("\U0001f600b", (0, 2), (0, 2), "x", "\U0001f600xb", id="after an astral character"),
        pytest.param("\U0001f600b", (0, 1), (0, 1), "x", "x\U0001f600b", id="inside a surrogate pair"),
        pytest.param("e\u0301b", (0, 1), (0, 2), "", "eb", id="combining characters are characters"),
        pytest.param("\ud83db", (0, 1), (0, 1), "\ude00", "\U0001f600b", id="halves that meet"),
        pytest.param("\ud83dxy", (0, 1), (0, 2), "", "\ud83dy", id="a lone half stays"),
    ],
)
def test_incremental_change(
    before: str, start: tuple[int, int], end: tuple[int, int], text: str, after: str
) -> None:
    ours = document(before)
    ours.apply([change(start, end, text)], 2)
    assert ours.text == after
    assert ours.line_count == len(reference_lines(after))


def test_each_change_sees_the_text_that_the_one_before_it_left() -> None:
    ours = document("one\ntwo\n")
    ours.apply(
        [change((0, 0), (1, 0), ""), change((0, 3), (0, 3), "!"), whole("x\ny"), change((1, 1), (1, 1), "z")],
        2,
    )
    assert ours.text == "x\nyz"
    assert ours.version == 2


def test_a_notification_that_cant_be_applied_changes_nothing() -> None:
    ours = document("one\ntwo\n")
    good = change((0, 0), (0, 0), "x")
    for line, character in ((-1, 0), (0, -1), (0, 1.5), (None, 0)):
        place = SimpleNamespace(line=line, character=character)
        bad = SimpleNamespace(range=SimpleNamespace(start=Position(0, 0), end=place), text="y")
        with pytest.raises(InvalidPosition):
            ours.apply([good, cast(Any, bad)], 2)
    with pytest.raises(DeltaloomError, match="reopen"):
        ours.apply([good, cast(Any, SimpleNamespace(text=None))], 2)
    assert (ours.text, ours.version) == ("one\ntwo\n", 1)


def test_a_version_that_falls_is_reported_and_applied(caplog: pytest.LogCaptureFixture) -> None:
    ours = document("secret")
    ours.apply([change((0, 0), (0, 0), "a")], 9)
    with caplog.at_level(logging.WARNING):
        ours.apply([change((0, 0), (0, 0), "b")], 3)
    assert (ours.text, ours.version) == ("basecret", 3)
    assert "version 3 came after 9" in caplog.text
    assert "secret" not in caplog.text


def test_a_snapshot_stays_as_it_was_while_the_document_goes_on() -> None:
    ours = document("a\r\nb")
    before = ours.snapshot()
    assert ours.snapshot() is before
    ours.apply([change((1, 0), (1, 1), "cd\n")], 2)
    assert (before.text, before.version, before.lines) == ("a\r\nb", 1, ("a\r\n", "b"))
    after = ours.snapshot()
    assert (after.text, after.version, after.line_count) == ("a\r\ncd\n", 2, 3)
    assert (after.uri, after.language_id, after.encoding) == (URI, "python", UTF16)


@pytest.mark.parametrize(
    ("text", "end"), [("a\r\nb\n", "\r\n"), ("a\nb\r\n", "\n"), ("a\rb", "\r"), ("a", "\n"), ("", "\n")]
)
def test_line_end_is_that_of_the_first_line(text: str, end: str) -> None:
    assert document(text).snapshot().line_end == end


def test_reading_outside_the_text() -> None:
    ours = document("ab\ncd")
    assert ours.line_text(7) == ""
    assert ours.line_text(-1) == ""
    assert ours.position_at(99) == Position(1, 2)
    assert ours.offset_at(99, 0) == 5
    with pytest.raises(InvalidPosition):
        ours.position_at(-1)
    with pytest.raises(InvalidPosition):
        ours.offset_at(-1, 0)


@pytest.mark.parametrize("encoding", list(PositionEncoding))
def test_a_long_line_and_many_lines_keep_in_step(encoding: PositionEncoding) -> None:
    ours = document("é\U0001f600" * 50_000 + "\n" + "line\n" * 20_000, encoding)
    expected = ours.text
    typed = [change((0, 90_001), (0, 90_001), "x"), change((15_000, 2), (15_003, 1), "\n\n")]
    ours.apply(typed, 2)
    for one in typed:
        expected = reference_apply(expected, one, encoding)
    assert ours.text == expected


def test_reference_and_lines_meet_at_every_boundary() -> None:
    lines = reference_lines("a\r\nb\rc\n")
    assert lines == [(0, 1), (3, 4), (5, 6), (7, 7)]
    assert all(left[1] < right[0] for left, right in pairwise(lines))
