"""The plot: what is drawn, and that it can be made from a result alone."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from deltaloom_server.bench.edits.plot import group_lines, plotted_groups, write_plot
from deltaloom_server.bench.edits.result import LLAMA_IN_PLACE, LLAMA_LOG, OURS, Cold, Result, Row, SizeRun
from deltaloom_server.errors import DeltaloomError


def _row(scenario: str, group: str, tokens: int, **more: object) -> Row:
    return Row(scenario=scenario, group=group, rule="keystroke", tokens=tokens, **more)  # type: ignore[arg-type]


def _result() -> Result:
    runs = []
    for context in (65536, 4096):
        ours = [
            _row("keystroke 1", "a keystroke", 10),
            _row("keystroke 2", "a keystroke", 13),
            _row("a new line", "a new line", 40),
            Row(scenario="compaction", group="compaction", rule="free", tokens=context),
            _row("never measured", "never", 0, skipped="It can't be."),
        ]
        theirs = [_row("keystroke 1", "a keystroke", context // 2)]
        runs.append(SizeRun(OURS, context, Cold(context - 100, 1.0), ours))
        runs.append(SizeRun(LLAMA_IN_PLACE, context, Cold(context, 1.0), theirs))
    return Result("1", "here", runs)


def test_a_kind_of_edit_shows_its_dearest_scenario_at_each_size_smallest_first() -> None:
    lines = group_lines(_result(), "a keystroke")

    assert lines == {OURS: [(4096, 13), (65536, 13)], LLAMA_IN_PLACE: [(4096, 2048), (65536, 32768)]}
    assert LLAMA_LOG not in lines


def test_what_has_no_bound_or_was_not_measured_gets_no_panel() -> None:
    assert plotted_groups(_result()) == ["a keystroke", "a new line"]


def test_the_file_names_kinds_sizes_and_figures_as_text(tmp_path: Path) -> None:
    target = tmp_path / "edits.svg"

    write_plot(_result(), target)

    texts = {
        "".join(node.itertext()).strip()
        for node in ElementTree.parse(target).iter("{http://www.w3.org/2000/svg}text")
    }
    assert {"a keystroke", "a new line", "4K", "64K", OURS, LLAMA_IN_PLACE} <= texts
    assert {"first reading", "13", "40"} <= texts
    assert "never" not in texts


def test_equal_results_give_the_equal_file(tmp_path: Path) -> None:
    one, other = tmp_path / "one.svg", tmp_path / "other.svg"

    write_plot(_result(), one)
    write_plot(_result(), other)

    assert one.read_bytes() == other.read_bytes()
    assert not re.search(rb"<dc:date>", one.read_bytes())


def test_nothing_read_still_has_a_place_on_the_logarithmic_axis(tmp_path: Path) -> None:
    run = SizeRun(OURS, 4096, Cold(4000, 1.0), [_row("undo", "undo", 0)])

    write_plot(Result("1", "here", [run]), tmp_path / "edits.svg")

    assert ">0</text>" in (tmp_path / "edits.svg").read_text()


def test_without_matplotlib_one_sentence_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    with pytest.raises(DeltaloomError, match=r"deltaloom\[bench\]"):
        write_plot(_result(), tmp_path / "edits.svg")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeltaloomError, match="can't be written"):
        write_plot(_result(), tmp_path / "missing" / "edits.svg")


def test_a_result_without_edits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeltaloomError, match="nothing to plot"):
        write_plot(Result("1", "here", []), tmp_path / "edits.svg")
