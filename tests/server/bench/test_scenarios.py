"""The day's script as a whole: layouts, undos and branches fit together, at every size alike."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from deltaloom_server.bench.edits.scenarios import (
    SAME_FILE,
    Day,
    write_day,
)
from deltaloom_server.bench.edits.script import Step


@pytest.fixture
def day(forty_files: Mapping[str, str]) -> Day:
    return write_day(forty_files, {path: len(text) // 3 for path, text in forty_files.items()})


def _step(day: Day, name: str) -> Step:
    return next(step for step in day.steps if step.name == name)


def test_the_layout_shows_every_file_but_the_active_one_as_it_is(day: Day) -> None:
    for step in day.steps:
        shown = dict(step.layout)
        for path, text in step.texts.items():
            assert shown[path] == text or path == step.ask.path, (step.name, path)


def test_what_a_step_appends_is_all_that_the_layout_before_lacked(day: Day) -> None:
    for before, step in zip(day.steps, day.steps[1:], strict=False):
        kept = len(step.layout) - len(step.appended)
        assert step.layout[:kept] == before.layout[:kept], step.name
        assert step.layout[kept:] == step.appended, step.name


def test_an_undo_is_exact(day: Day) -> None:
    for undone, name in (
        ("exact undo", "a paste in file 12"),
        ("that undone", "delete 200 tokens in file 12"),
        ("the formatter undone, saved", "save with a formatter"),
    ):
        names = [step.name for step in day.steps]
        before = day.steps[names.index(name) - 1]
        assert _step(day, undone).texts == before.texts
        assert _step(day, name).texts != before.texts


def test_a_branch_switch_changes_four_closed_files_and_back_changes_them_back(day: Day) -> None:
    there, back = _step(day, "branch switch, four files"), _step(day, "branch switch back")
    before = day.steps[day.steps.index(there) - 1]

    assert {path for path in day.files if there.texts[path] != before.texts[path]} == set(day.branch)
    assert len(day.branch) == 4
    assert back.texts == before.texts
    assert back.layout == before.layout


def test_the_same_edits_are_made_in_one_file_with_only_its_own_text(
    forty_files: Mapping[str, str], day: Day
) -> None:
    same = list(forty_files)[SAME_FILE - 1]
    longer = {path: text if path == same else text * 5 for path, text in forty_files.items()}
    large = write_day(longer, {path: len(text) // 3 for path, text in longer.items()})

    def asked(of: Day) -> list[tuple[str, str, int]]:
        return [(step.name, step.ask.text, step.ask.offset) for step in of.steps if step.same_everywhere]

    assert asked(day) == asked(large)
    assert len(asked(day)) >= 6
