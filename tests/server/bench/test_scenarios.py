"""The day's script: a step says everything, and what it says fits together."""

from __future__ import annotations

import ast
from collections.abc import Mapping

import pytest

from deltaloom_server.bench.edits.scenarios import (
    SAME_FILE,
    Day,
    line_end,
    reformat,
    statement_start,
    write_day,
)
from deltaloom_server.bench.edits.script import Checkout, Desk, Edit, RestartEditor, Save, Step


@pytest.fixture
def day(forty_files: Mapping[str, str]) -> Day:
    return write_day(forty_files, {path: len(text) // 3 for path, text in forty_files.items()})


def _step(day: Day, name: str) -> Step:
    return next(step for step in day.steps if step.name == name)


def test_replaying_the_actions_gives_every_step_its_texts(day: Day) -> None:
    editor: dict[str, str] = {}
    disk = dict(day.files)
    branches = {"main": dict(day.files), "other": {**day.files, **day.branch}}
    for step in day.steps:
        for action in step.actions:
            match action:
                case Edit(path, text):
                    editor[path] = text
                case Save(path):
                    disk[path] = editor[path]
                case Checkout(branch, changed):
                    assert not set(changed) & set(editor), "an editor would have to ask what to do"
                    disk |= {path: branches[branch][path] for path in changed}
                case RestartEditor():
                    editor.clear()
                case _:
                    pass
        assert {**disk, **editor} == step.texts, step.name
        assert step.ask.text == step.texts[step.ask.path], step.name


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


def test_every_scenario_asked_for_is_there_in_its_order(day: Day) -> None:
    measured = [step.name for step in day.steps if step.measured]
    wanted = [
        "append 20 tokens",
        "edit 500 tokens before the end",
        "edit in the middle",
        "first edit in file 12 of 40",
        "keystroke 1 in file 12",
        "keystroke 2 in file 12",
        "keystroke 3 in file 12",
        "a new line in file 12",
        "further down in file 12",
        "further up in file 12",
        "to file 30, nothing edited",
        "back to file 12, nothing edited",
        "to file 30, with another edit",
        "back to file 12 after that",
        "exact undo",
        "delete 200 tokens in file 12",
        "save with a formatter",
        "the formatter undone, saved",
        "branch switch, four files",
        "branch switch back",
        "compaction",
        "keystroke after compaction",
        "a new line after compaction",
        "restart of the worker",
        "restart of the editor, with saved edits",
    ]

    assert [name for name in measured if name in wanted] == wanted
    assert len(measured) == len(set(measured))


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


def test_edits_leave_files_that_can_be_parsed_but_for_the_line_begun(day: Day) -> None:
    for step in day.steps:
        text, (line, _) = step.ask.text, step.ask.position
        lines = text.split("\n")
        rest = "\n".join("" if number == line else each for number, each in enumerate(lines))
        if step.ask.typed.startswith("value = "):
            ast.parse(rest.replace("value = \n", "\n"))


def test_places_are_at_statements_and_at_ends_of_lines_with_something_on_them() -> None:
    text = "import a\n\n\ndef f():\n    return 1\n\n\nx = 2\n"

    assert statement_start(text, text.index("f()")) == text.index("def")
    assert statement_start(text, len(text)) == len(text)
    assert line_end(text, text.index("return")) == text.index("\n\n\nx")
    assert line_end(text, text.index("\n\n\nx") + 1) == len(text) - 1
    assert line_end("", 0) == 0


def test_a_formatter_always_changes_something() -> None:
    for text in ("x = 1\n", 'x = "1"\n', "a\n\n\nb\n"):
        assert reformat(text) != text


def test_a_file_gone_back_to_unchanged_leaves_the_log_where_it_was() -> None:
    desk = Desk({"a": "1\n", "b": "2\n", "c": "3\n"})
    desk.insert("a", 0, "x")
    desk.ask("one", "", "free", "a", 0)
    desk.ask("two", "", "free", "b", 0)
    desk.ask("three", "", "free", "c", 0)

    assert [step.appended for step in desk.steps[1:]] == [(("a", "x1\n"),), ()]


def test_the_branch_differs_in_small_files_that_are_never_open(day: Day) -> None:
    opened = {step.ask.path for step in day.steps}
    opened |= {action.path for step in day.steps for action in step.actions if isinstance(action, Edit)}
    closed = sorted(len(text) for path, text in day.files.items() if path not in opened)

    assert not opened & set(day.branch)
    assert sorted(len(day.files[path]) for path in day.branch) == closed[:4]
