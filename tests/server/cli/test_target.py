"""FILE:LINE:COL points where a person means it to."""

from __future__ import annotations

from pathlib import Path

import pytest

from deltaloom_server.cli.target import parse_target
from deltaloom_server.errors import DeltaloomError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.py"
    path.write_bytes("x = 1\r\ny = '\U0001f680'\n\x0cz\rlast".encode())
    return path


def test_lines_and_columns_count_from_one(file: Path) -> None:
    target = parse_target(f"{file}:1:1", None)
    assert (target.line, target.column) == (0, 0)


def test_the_column_after_the_last_character_is_allowed(file: Path) -> None:
    assert parse_target(f"{file}:1:6", None).column == 5
    with pytest.raises(DeltaloomError, match="from 1 to 6"):
        parse_target(f"{file}:1:7", None)


def test_form_feeds_do_not_end_a_line_and_lone_carriage_returns_do(file: Path) -> None:
    assert parse_target(f"{file}:3:3", None).column == 2
    assert parse_target(f"{file}:4:5", None).column == 4
    with pytest.raises(DeltaloomError, match="lines go from 1 to 4"):
        parse_target(f"{file}:5:1", None)


@pytest.mark.parametrize(("encoding", "units"), [("utf-32", 6), ("utf-16", 7), ("utf-8", 9)])
def test_an_astral_character_counts_in_the_encodings_units(file: Path, encoding: str, units: int) -> None:
    assert parse_target(f"{file}:2:7", None).character(encoding) == units


@pytest.mark.parametrize("argument", ["a.py", "a.py:1", ":1:1", "a.py:x:1", "a.py:1:-1", "a.py:1:"])
def test_a_malformed_argument_gets_an_example(argument: str) -> None:
    with pytest.raises(DeltaloomError, match="FILE:LINE:COL"):
        parse_target(argument, None)


def test_line_zero_is_refused(file: Path) -> None:
    with pytest.raises(DeltaloomError, match="no line 0"):
        parse_target(f"{file}:0:1", None)


def test_a_name_with_colons_is_a_name(tmp_path: Path) -> None:
    path = tmp_path / "a:b:c.py"
    path.write_text("x")
    assert parse_target(f"{path}:1:2", None).path == path


def test_the_workspace_is_the_repository_around_the_file(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.py").write_text("x")
    assert parse_target(f"{tmp_path}/deep/a.py:1:1", None).workspace == tmp_path


def test_a_file_outside_the_workspace_is_refused(file: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with pytest.raises(DeltaloomError, match="isn't inside"):
        parse_target(f"{file}:1:1", tmp_path / "other")


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DeltaloomError, match="UTF-8"):
        parse_target(f"{tmp_path}/a.bin:1:1", None)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(DeltaloomError, match="can't be read"):
        parse_target(f"{tmp_path}/none.py:1:1", None)
