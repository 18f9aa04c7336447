"""`deltaloom bench edits` over a saved result: nothing is measured, everything is shown."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from deltaloom_server.bench.edits import main
from deltaloom_server.bench.edits.result import (
    LLAMA_IN_PLACE,
    OURS,
    Cold,
    Growth,
    Result,
    Row,
    SizeRun,
    encode_result,
)
from deltaloom_server.errors import DeltaloomError


def _row(scenario: str, tokens: int, bound: int | None, **more: object) -> Row:
    return Row(scenario=scenario, group=scenario, rule="keystroke", tokens=tokens, bound=bound, **more)  # type: ignore[arg-type]


def _result(read: int) -> Result:
    runs = [
        SizeRun(
            OURS,
            context,
            Cold(context - 1111, 2500.0),
            [
                _row("a keystroke", read, 64, read={"anchor": read}, milliseconds=12.0),
                _row("compaction", 0, None, skipped="This server can't be asked."),
            ],
            files=40,
            model="nano 0123",
        )
        for context in (4096, 65536)
    ]
    theirs = [_row("a keystroke", 1234, None, milliseconds=99.0)]
    runs.append(SizeRun(LLAMA_IN_PLACE, 4096, Cold(4000, 1.0), theirs, model="qwen.gguf"))
    growth = [Growth("a keystroke", 4096, 65536, read, read, 12.0, 13.0, True, True)]
    return Result("1.0", "a machine", runs, growth)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    file = tmp_path / "kept.json"
    file.write_text(encode_result(_result(63)))
    return file


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    file = tmp_path / "broken.json"
    file.write_text(encode_result(_result(777)))
    return file


def test_a_saved_result_is_printed_again_as_it_was(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--from", str(kept), "--json"]) == 0

    assert json.loads(capsys.readouterr().out) == json.loads(kept.read_text())


def test_the_table_has_the_first_reading_the_bounds_and_the_reasons(
    kept: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")

    assert main(["--from", str(kept)]) == 0

    shown = capsys.readouterr().out
    for text in ("2,985", "64,425", "63", "64", "63 anchor", "This server can't be asked.", "1,234"):
        assert text in shown


def test_check_fails_with_each_bound_that_was_not_kept(
    kept: Path, broken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--from", str(kept), "--check"]) == 0
    assert main(["--from", str(broken)]) == 0
    assert capsys.readouterr().err == ""

    assert main(["--from", str(broken), "--check"]) == 1

    told = capsys.readouterr().err.splitlines()
    assert told == [
        "not kept: 4,096 tokens, a keystroke: 777 read, at most 64",
        "not kept: 65,536 tokens, a keystroke: 777 read, at most 64",
    ]


def test_the_page_shows_every_row_with_its_bound_and_the_plot(
    broken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, plot = tmp_path / "edits.md", tmp_path / "edits.svg"

    assert main(["--from", str(broken), "--markdown", str(page), "--plot", str(plot)]) == 0

    text = page.read_text()
    assert capsys.readouterr().out == ""
    assert "| a keystroke | **777** / 64 | **777** / 64 |" in text
    assert "| a keystroke | 1,234 |" in text
    assert "The repository stands in its own order" in text
    assert "2,985 | 64,425" in text
    assert "| compaction | - | - |" in text
    assert "This server can't be asked." in text
    assert "](edits.svg)" in text
    assert plot.read_text().startswith("<?xml")


def test_a_page_that_cannot_be_written_is_named(kept: Path, tmp_path: Path) -> None:
    with pytest.raises(DeltaloomError, match="can't be written"):
        main(["--from", str(kept), "--markdown", str(tmp_path / "missing" / "edits.md")])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--context", "2048"], "at least 4096"),
        (["--gguf", "x"], "Give both"),
        (["--llama-server", "x"], "Give both"),
        (["--llama-server", "/nowhere/llama-server", "--gguf", "/nowhere/x"], "--llama-server"),
        (["--llama-server", sys.executable, "--gguf", "/nowhere/x.gguf"], "--gguf"),
    ],
)
def test_what_cannot_be_measured_is_told_before_anything_is(arguments: list[str], sentence: str) -> None:
    with pytest.raises(DeltaloomError, match=sentence):
        main(arguments)


def test_a_plot_without_matplotlib_is_refused_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)

    with pytest.raises(DeltaloomError, match=r"deltaloom\[bench\]"):
        main(["--plot", str(tmp_path / "edits.svg")])
