"""Lines, columns and encodings, each case as LSP 3.17 has it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltaloom_server.errors import InvalidPosition
from deltaloom_server.positions import (
    PositionEncoding,
    checked_position,
    column_of_units,
    content_length,
    join_surrogates,
    negotiate,
    split_lines,
    units_of_column,
)

UTF8, UTF16, UTF32 = PositionEncoding.UTF8, PositionEncoding.UTF16, PositionEncoding.UTF32


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (None, UTF16),
        ([], UTF16),
        (["utf-16"], UTF16),
        (["utf-16", "utf-8"], UTF8),
        (["utf-32", "utf-16"], UTF16),
        (["utf-32"], UTF32),
        (["utf-7"], UTF16),
    ],
)
def test_encoding_is_utf8_where_offered_and_utf16_where_nothing_is(
    offered: list[str] | None, chosen: PositionEncoding
) -> None:
    assert negotiate(offered) is chosen


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", [""]),
        ("a", ["a"]),
        ("a\n", ["a\n", ""]),
        ("a\r\nb\rc\n\r", ["a\r\n", "b\r", "c\n", "\r", ""]),
        ("\r\r\n\n", ["\r", "\r\n", "\n", ""]),
        ("a\x0cb\x0bc\x1cd\x85e\u2028f\u2029g", ["a\x0cb\x0bc\x1cd\x85e\u2028f\u2029g"]),
    ],
)
def test_lines_end_with_newline_and_carriage_return_only(text: str, lines: list[str]) -> None:
    assert split_lines(text) == lines


@given(st.text(alphabet="a\r\n\x0c\u2028\x85\U0001f600", max_size=40))
def test_lines_make_up_the_text_again(text: str) -> None:
    lines = split_lines(text)
    assert "".join(lines) == text
    assert all(content_length(line) < len(line) for line in lines[:-1])
    assert content_length(lines[-1]) == len(lines[-1])


@pytest.mark.parametrize(
    ("units", "encoding", "column"),
    [
        (0, UTF16, 0),
        (1, UTF16, 1),
        (2, UTF16, 1),  # between the halves of the pair
        (3, UTF16, 2),
        (4, UTF16, 3),
        (1, UTF8, 1),
        (2, UTF8, 1),
        (4, UTF8, 1),  # inside the four bytes
        (5, UTF8, 2),
        (6, UTF8, 2),  # inside the two bytes of é
        (7, UTF8, 3),
        (3, UTF32, 3),
        (99, UTF8, 4),
        (99, UTF16, 4),
        (10**15, UTF32, 4),
    ],
)
def test_columns_are_code_units_and_never_inside_a_character(
    units: int, encoding: PositionEncoding, column: int
) -> None:
    assert column_of_units("a\U0001f600éz\r\n", units, encoding) == column


@given(
    st.text(alphabet="ab\té\u0301\u4e2d\U0001f600\ud83d\ude00", max_size=30).map(join_surrogates),
    st.sampled_from(PositionEncoding),
)
def test_every_column_survives_the_way_to_units_and_back(line: str, encoding: PositionEncoding) -> None:
    for column in range(len(line) + 1):
        assert column_of_units(line, units_of_column(line, column, encoding), encoding) == column


def test_half_characters_become_whole_where_they_meet() -> None:
    assert join_surrogates("x\ud83d\ude00y\ud83d") == "x\U0001f600y\ud83d"
    assert join_surrogates("\ud83d\ud83d\ude00\ude00") == "\ud83d\U0001f600\ude00"


@pytest.mark.parametrize("number", [-1, 1.0, True, None, "1"])
def test_what_cant_be_a_position_is_refused(number: object) -> None:
    with pytest.raises(InvalidPosition):
        checked_position(number, 0)
    with pytest.raises(InvalidPosition):
        checked_position(0, number)
