"""Each scenario's bound: from its own files, as what is claimed says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from deltaloom_server.bench.edits.bounds import bound_parts, bound_texts
from deltaloom_server.bench.edits.counting import TokenCounts
from deltaloom_server.bench.edits.scenarios import Day, write_day
from deltaloom_server.bench.edits.script import Step

_CONTEXT = 16_384


class _Characters(Mapping[str, int]):
    """A token a character; only what was asked for beforehand is known."""

    def __init__(self, known: set[str]) -> None:
        self._known = known

    def __getitem__(self, text: str) -> int:
        if text not in self._known:
            raise KeyError(text)
        return len(text)

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


@pytest.fixture
def day(forty_files: Mapping[str, str]) -> Day:
    return write_day(forty_files, {path: len(text) for path, text in forty_files.items()})


def _bounds(day: Day, order: str) -> dict[str, dict[str, int] | None]:
    paths = set(day.files)
    counts = TokenCounts(_Characters(bound_texts(day.steps, order)), _Characters(paths))
    return {step.name: bound_parts(step, counts, order, _CONTEXT) for step in day.steps}


def _segment(path: str, text: str) -> int:
    return len(path) + len(text)


def _step(day: Day, name: str) -> Step:
    return next(step for step in day.steps if step.name == name)


def test_everything_that_a_bound_asks_for_was_counted_beforehand(day: Day) -> None:
    for order in ("psm", "spm"):
        bounds = _bounds(day, order)
        assert {name for name, parts in bounds.items() if parts is None} == {
            step.name for step in day.steps if step.rule == "free"
        }


def test_a_keystroke_and_whatever_is_a_look_up_cost_64(day: Day) -> None:
    bounds = _bounds(day, "psm")

    for name in (
        "keystroke 2 in file 12",
        "exact undo",
        "branch switch back",
        "back to file 12, nothing edited",
    ):
        assert bounds[name] == {"fixed": 64}, name


def test_a_new_line_adds_the_suffix_only_where_the_model_reads_it_last(day: Day) -> None:
    assert _bounds(day, "spm")["a new line in file 12"] == {"fixed": 64, "suffix": 0}
    suffix = len(_step(day, "a new line in file 12").ask.suffix)
    assert suffix > 256
    assert _bounds(day, "psm")["a new line in file 12"] == {"fixed": 64, "suffix": 256}


def test_a_first_edit_costs_that_file_and_the_one_left_changed(day: Day) -> None:
    step = _step(day, "first edit in file 12 of 40")
    parts = _bounds(day, "psm")[step.name]

    assert parts is not None
    assert parts["fixed"] == 64
    assert parts["active"] == _segment(step.ask.path, step.ask.text) + 3
    assert parts["changed"] == sum(_segment(*copy) for copy in step.appended)


def test_going_back_costs_the_files_changed_since_and_the_active_one(day: Day) -> None:
    step = _step(day, "back to file 12, 30 was edited")
    thirty, text = step.appended[-1]
    parts = _bounds(day, "psm")[step.name]

    assert thirty == "pkg/part_30.py"
    assert text == step.texts[thirty] != day.files[thirty]
    assert parts == {
        "fixed": 64,
        "changed": sum(_segment(*copy) for copy in step.appended),
        "active": _segment(step.ask.path, step.ask.text) + 3,
    }


def test_moving_costs_the_lines_that_the_prefix_gained_the_suffix_and_the_line_so_far(day: Day) -> None:
    step = _step(day, "further down in file 12")
    assert step.before is not None
    gained = step.ask.prefix[len(step.before.prefix) :]

    assert step.ask.prefix.startswith(step.before.prefix)
    suffix = min(256, len(step.ask.suffix))
    changed = len(gained) + suffix + len(step.ask.typed)
    assert _bounds(day, "psm")[step.name] == {"fixed": 64, "changed part": changed}


def test_a_restart_costs_a_hundredth_of_the_context_and_the_active_file(day: Day) -> None:
    step = _step(day, "restart of the worker")

    assert _bounds(day, "psm")[step.name] == {
        "fixed": 64,
        "hundredth": 163,
        "active": _segment(step.ask.path, step.ask.text) + 3,
    }
