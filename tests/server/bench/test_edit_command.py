"""The command line: results read back, shown, written and checked."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from deltaloom_server.bench.edits.bounds import growth
from deltaloom_server.bench.edits.command import main
from deltaloom_server.bench.edits.llama_options import cache_options
from deltaloom_server.bench.edits.result import (
    LLAMA_IN_PLACE,
    OURS,
    Cold,
    Result,
    Row,
    SizeRun,
    encode_result,
    load_result,
)
from deltaloom_server.errors import DeltaloomError


def _result(tokens: int = 12) -> Result:
    runs = []
    for context in (4096, 65536):
        rows = [
            Row(
                scenario="keystroke 1", group="a keystroke", rule="keystroke", tokens=tokens,
                read={"typed": tokens}, context_tokens=context, milliseconds=12.5, bound=64,
                bound_parts={"fixed": 64}, same_everywhere=True, read_afterwards={"log": 3},
            ),
            Row(scenario="compaction", group="compaction", rule="free", skipped="It can't be asked for."),
        ]  # fmt: skip
        runs.append(SizeRun(OURS, context, Cold(context, 900.0), rows, 40, "nano 1234"))
        theirs = [Row(scenario="keystroke 1", group="a keystroke", rule="keystroke", tokens=context)]
        runs.append(SizeRun(LLAMA_IN_PLACE, context, Cold(context + 9, 1.0), theirs, 40, "model.gguf"))
    return Result("1.2", "a machine", runs, growth(runs))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "edits.json"
    path.write_text(encode_result(_result()))
    return path


def test_a_result_is_read_back_as_it_was_written(source: Path) -> None:
    assert load_result(source) == _result()


def test_json_says_for_each_row_whether_its_bound_was_kept(source: Path) -> None:
    tree = json.loads(source.read_text())

    assert [row["held"] for row in tree["runs"][0]["rows"]] == [True, None]
    assert tree["runs"][0]["cold"] == {"tokens": 4096, "milliseconds": 900.0}
    assert tree["growth"][0]["tokens_held"] is True


@pytest.mark.parametrize(
    ("content", "said"),
    [("[]", "isn't a result"), ("{", "isn't a result"), ('{"version": "1"}', "isn't a result")],
)
def test_a_file_that_is_no_result_is_refused(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(content)

    with pytest.raises(DeltaloomError, match=said):
        load_result(path)


def test_a_result_of_another_format_is_refused(source: Path) -> None:
    source.write_text(source.read_text().replace('"format": 1', '"format": 2'))

    with pytest.raises(DeltaloomError, match="another version"):
        load_result(source)


def test_a_missing_result_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeltaloomError, match=r"nothing.json can't be read"):
        main(["--from", str(tmp_path / "nothing.json")])


def test_the_table_shows_every_row_and_what_was_skipped(
    source: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["--from", str(source)]) == 0

    shown = capsys.readouterr().out
    for part in ("keystroke 1", "12 typed; 3 afterwards", "It can't be asked for.", "cold", "model.gguf"):
        assert part in shown


def test_check_tells_kept_bounds_from_broken_ones(
    tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--from", str(source), "--check"]) == 0
    broken = tmp_path / "broken.json"
    broken.write_text(encode_result(_result(65)))
    assert main(["--from", str(broken)]) == 0
    capsys.readouterr()

    assert main(["--from", str(broken), "--check"]) == 1
    assert "keystroke 1: 65 read, at most 64" in capsys.readouterr().err


def test_the_page_has_a_row_for_each_edit_and_marks_broken_bounds(tmp_path: Path, source: Path) -> None:
    page = tmp_path / "edits.md"
    assert main(["--from", str(source), "--markdown", str(page)]) == 0

    text = page.read_text()
    assert "| edit | 4,096 | 65,536 |" in text
    assert "| *cold* | 4,096 | 65,536 |" in text
    assert "| keystroke 1 | 12 / 64 | 12 / 64 |" in text
    assert "| compaction | - | - |" in text
    assert "Not measured (-): It can't be asked for." in text
    assert "## Growth" in text
    assert "edits.svg)" not in text
    source.write_text(encode_result(_result(65)))
    main(["--from", str(source), "--markdown", str(page)])
    assert "| keystroke 1 | **65** / 64 | **65** / 64 |" in page.read_text()


def test_a_page_that_cannot_be_written_is_named(tmp_path: Path, source: Path) -> None:
    with pytest.raises(DeltaloomError, match="can't be written"):
        main(["--from", str(source), "--markdown", str(tmp_path / "missing" / "edits.md")])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--context", "2048"], "at least 4096"),
        (["--llama-server", "x"], "Give both"),
        (["--gguf", "x"], "Give both"),
        (["--llama-server", "/nowhere/x", "--gguf", "/nowhere/y"], "isn't a program"),
    ],
)
def test_wrong_options_are_told_before_anything_is_measured(arguments: list[str], said: str) -> None:
    with pytest.raises(DeltaloomError, match=said):
        main(arguments)


def test_a_missing_model_is_told_before_anything_is_measured(llama_program: Path) -> None:
    with pytest.raises(DeltaloomError, match=r"y\.gguf isn't a file"):
        main(["--llama-server", str(llama_program), "--gguf", "/nowhere/y.gguf"])


def test_only_options_that_the_programs_help_names_are_given(tmp_path: Path) -> None:
    program = tmp_path / "llama-server"
    program.write_text(f"#!{sys.executable}\nprint('-c, --ctx-size N\\n--cache-ram, -cram N  mebibytes')\n")
    program.chmod(0o755)

    assert cache_options(program) == ("--cache-ram", "8192")
    assert cache_options(tmp_path / "missing") == ()
