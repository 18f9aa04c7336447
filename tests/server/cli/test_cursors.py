"""The cursors that the demo and the benchmarks ask at."""

from __future__ import annotations

from pathlib import Path

from deltaloom_server.cli.cursors import find_cursors

CODE = "import os\n\n" + "\n".join(
    f"def area_{n}(width, height):\n    size = width * height + {n}\n    return size if size else None\n"
    for n in range(6)
)


def test_the_cursor_stands_after_the_beginning_of_a_statement(tmp_path: Path) -> None:
    (tmp_path / "area.py").write_text(CODE)
    (cursor,) = find_cursors(tmp_path, 3)
    line = CODE.split("\n")[cursor.line]
    assert line == cursor.typed + cursor.rest
    assert cursor.typed.strip()
    assert len(cursor.rest) > 5


def test_only_the_rest_of_that_line_is_taken_out(tmp_path: Path) -> None:
    (tmp_path / "area.py").write_text(CODE)
    (cursor,) = find_cursors(tmp_path, 1)
    without = cursor.text_without_rest(CODE).split("\n")
    assert without[cursor.line] == cursor.typed
    without[cursor.line] += cursor.rest
    assert "\n".join(without) == CODE


def test_two_runs_choose_the_same_and_longer_files_come_first(tmp_path: Path) -> None:
    (tmp_path / "b.py").write_text(CODE)
    (tmp_path / "a.py").write_text(CODE + CODE)
    (tmp_path / "c.py").write_text("x = 1\n")
    first = find_cursors(tmp_path, 5)
    assert [cursor.path.name for cursor in first] == ["a.py", "b.py"]
    assert first == find_cursors(tmp_path, 5)


def test_files_whose_lines_lsp_would_count_otherwise_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(CODE.replace("import os\n", "import os\n\x0c\n"))
    assert find_cursors(tmp_path, 1) == []


def test_tool_folders_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "a.py").write_text(CODE)
    assert find_cursors(tmp_path, 1) == []
