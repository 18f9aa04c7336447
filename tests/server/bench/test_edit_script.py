"""The layout beside the texts, and that each step asks what its bound is about."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from deltaloom_server.bench.edits.scenarios import Day, write_day
from deltaloom_server.bench.edits.script import Compact, Desk, Step


@pytest.fixture
def day(forty_files: Mapping[str, str]) -> Day:
    return write_day(forty_files, {path: len(text) // 3 for path, text in forty_files.items()})


@pytest.fixture
def desk() -> Desk:
    desk = Desk({"a.py": "a = 1\n", "b.py": "b = 1\n", "c.py": "c = 1\n"})
    desk.ask("first", "", "free", "a.py", 0)
    return desk


def _ask(desk: Desk, path: str) -> Step:
    desk.ask("next", "", "file", path, 0)
    return desk.steps[-1]


def _named(day: Day, name: str) -> Step:
    return next(step for step in day.steps if step.name == name)


def test_a_file_left_changed_is_appended_once_and_one_left_unchanged_never(desk: Desk) -> None:
    desk.edit("a.py", "a = 2\n")
    assert _ask(desk, "a.py").appended == ()
    assert _ask(desk, "b.py").appended == (("a.py", "a = 2\n"),)
    assert _ask(desk, "c.py").appended == ()
    assert _ask(desk, "a.py").appended == ()


def test_the_newest_copy_leaves_the_log_while_its_file_is_open_there(desk: Desk) -> None:
    desk.edit("a.py", "a = 2\n")
    _ask(desk, "b.py")
    assert _ask(desk, "a.py").layout == desk.steps[0].layout


def test_a_base_keeps_its_texts_until_it_is_laid_out_anew(desk: Desk) -> None:
    desk.edit("a.py", "a = 2\n")
    desk.save("a.py")
    assert dict(_ask(desk, "b.py").layout[:3])["a.py"] == "a = 1\n"
    desk.compact()
    assert _ask(desk, "b.py").layout == (("b.py", "b = 1\n"), ("c.py", "c = 1\n"), ("a.py", "a = 2\n"))


def test_files_that_change_on_disk_are_appended_and_the_old_layout_is_found_again(desk: Desk) -> None:
    before = desk.steps[-1].layout
    desk.checkout("other", {"b.py": "b = 2\n", "c.py": "c = 2\n"})
    assert _ask(desk, "a.py").appended == (("b.py", "b = 2\n"), ("c.py", "c = 2\n"))
    desk.checkout("main", {"b.py": "b = 1\n", "c.py": "c = 1\n"})
    assert _ask(desk, "a.py").layout == before


def test_a_restarted_editor_has_what_was_saved(desk: Desk) -> None:
    desk.edit("a.py", "a = 2\n")
    desk.save("a.py")
    desk.edit("b.py", "b = 2\n")
    assert desk.is_unsaved("b.py")
    desk.restart_editor()
    step = _ask(desk, "a.py")
    assert (step.texts["a.py"], step.texts["b.py"]) == ("a = 2\n", "b = 1\n")


def test_every_cursor_lies_in_its_file(day: Day) -> None:
    for step in day.steps:
        ask = step.ask
        assert ask.prefix + ask.typed + ask.suffix == ask.text
        line, column = ask.position
        assert ask.text.split("\n")[line][:column] == ask.typed


def test_a_look_up_asks_what_was_asked_before(day: Day) -> None:
    """A look-up's bound is the strictest: the same file, text, cursor and layout must have been read."""
    seen = set()
    for step in day.steps:
        # What stands before the cursor's line and behind the cursor, after the same copies.
        key = (step.layout, step.ask.path, step.ask.prefix, step.ask.suffix)
        if step.rule == "look-up":
            assert key in seen, step.name
        seen.add(key)


def test_a_keystroke_changes_only_the_cursors_line(day: Day) -> None:
    for before, step in zip(day.steps, day.steps[1:], strict=False):
        if step.rule == "keystroke":
            assert step.layout == before.layout
            assert (step.ask.prefix, step.ask.suffix) == (before.ask.prefix, before.ask.suffix)
            assert step.ask.typed != before.ask.typed


def test_nothing_is_unsaved_when_the_context_is_laid_out_anew(day: Day) -> None:
    compaction = _named(day, "compaction")
    assert isinstance(compaction.actions[-1], Compact)
    assert dict(compaction.layout) == compaction.texts


def test_deleting_takes_whole_lines_out_of_file_12(day: Day) -> None:
    step = _named(day, "delete 200 tokens in file 12")
    before = day.steps[day.steps.index(step) - 1].ask.text
    gone = len(before) - len(step.ask.text)
    assert 0 < gone <= len(before) // 3
    starts = [0, *(at + 1 for at, letter in enumerate(before) if letter == "\n")]
    assert any(before[:at] + before[at + gone :] == step.ask.text for at in starts if at + gone in starts)
