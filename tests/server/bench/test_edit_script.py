"""The day's script: what it does to texts, and how they would stand in a log-structured context."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from deltaloom_server.bench.edits.scenarios import (
    FIRST_READING,
    SAME_FILE,
    Day,
    line_end,
    reformat,
    statement_start,
    write_day,
)
from deltaloom_server.bench.edits.script import Checkout, Compact, Desk, Edit, Save, Step


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


def test_actions_alone_lead_to_every_steps_texts(day: Day, forty_files: Mapping[str, str]) -> None:
    """What an editor and git do, replayed plainly, ends where the script says it does."""
    buffers: dict[str, str] = {}
    disk = dict(forty_files)
    for step in day.steps:
        for action in step.actions:
            if isinstance(action, Edit):
                buffers[action.path] = action.text
            elif isinstance(action, Save):
                disk[action.path] = buffers[action.path]
            elif isinstance(action, Checkout):
                source = day.branch if action.branch == "other" else day.files
                disk |= {path: source[path] for path in action.changed}
            elif type(action).__name__ == "RestartEditor":
                buffers.clear()
        assert {**disk, **buffers} == step.texts, step.name
        assert step.ask.text == step.texts[step.ask.path], step.name


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


def test_the_day_has_every_scenario_in_its_order(day: Day) -> None:
    wanted = [
        FIRST_READING,
        "append 20 tokens",
        "edit 500 tokens before the end",
        "edit in the middle",
        "first edit in file 12 of 40",
        "keystroke 1 in file 12",
        "keystroke 3 in file 12",
        "a new line in file 12",
        "further down in file 12",
        "further up in file 12",
        "then file 30, with an edit",
        "back to file 12, 30 was edited",
        "back to file 12, nothing edited",
        "back to file 12 after that",
        "exact undo",
        "delete 200 tokens in file 12",
        "save with a formatter",
        "the formatter undone, saved",
        "branch switch, four files",
        "branch switch back",
        "compaction",
        "keystroke after compaction",
        "back to file 12, nothing edited since",
        "restart of the worker",
        "restart of the editor, with saved edits",
    ]
    names = [step.name for step in day.steps]
    assert [name for name in names if name in wanted] == wanted
    measured = [step.name for step in day.steps if step.measured]
    assert len(set(measured)) == len(measured)


def test_the_same_edits_at_every_size_touch_only_the_same_file(day: Day) -> None:
    path = list(day.files)[SAME_FILE - 1]
    same = [step for step in day.steps if step.same_everywhere]
    assert len(same) > 4
    assert {step.ask.path for step in same} == {path}
    assert all(copy[0] == path for step in same for copy in step.appended)


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


@pytest.mark.parametrize(
    ("text", "near", "end"), [("ab\ncd\n", 0, 2), ("ab\n\n\ncd\n", 3, 7), ("ab", 0, 2), ("ab\n\n", 3, 4)]
)
def test_line_end_skips_blank_lines(text: str, near: int, end: int) -> None:
    assert line_end(text, near) == end


def test_a_statement_starts_at_the_top_level() -> None:
    text = "def f():\n    return 1\n\n\n@wraps\ndef g():\n    return 2\n"
    assert statement_start(text, text.index("return 2") - 4) == text.index("def g")
    assert statement_start(text, 2) == 0


@pytest.mark.parametrize("text", ["x = 1\n", 'x = "a"\n', "a = 1\n\n\nb = 2\n"])
def test_reformatting_always_changes_something(text: str) -> None:
    assert reformat(text) != text
