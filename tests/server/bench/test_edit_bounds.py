"""What each edit may cost: computed from its own files, and able to fail."""

from __future__ import annotations

import msgspec
import pytest

from deltaloom_server.bench.edits.bounds import bound_parts, bound_texts, embedded_fim_order, growth
from deltaloom_server.bench.edits.counting import TokenCounts
from deltaloom_server.bench.edits.result import LLAMA_IN_PLACE, OURS, Cold, Result, Row, SizeRun
from deltaloom_server.bench.edits.script import Desk, Step

_TEXT = "one\ntwo\nthree\nfour\n"
_HEADER = 7


def _counts(steps: list[Step], order: str) -> TokenCounts:
    """A token a character, and seven for each header."""
    texts = {text: len(text) for text in bound_texts(steps, order)}
    return TokenCounts(texts, {"a.py": _HEADER, "b.py": _HEADER})


def _parts(desk: Desk, order: str = "psm") -> dict[str, int] | None:
    counts = _counts(desk.steps, order)
    return bound_parts(desk.steps[-1], counts, order, 4096)


@pytest.fixture
def desk() -> Desk:
    desk = Desk({"a.py": _TEXT, "b.py": "b\n"})
    desk.ask("first", "", "free", "a.py", _TEXT.index("two") + 3)
    return desk


def test_a_keystroke_and_a_look_up_may_cost_64(desk: Desk) -> None:
    desk.ask("k", "", "keystroke", "a.py", 5)
    assert _parts(desk) == {"fixed": 64}
    desk.ask("l", "", "look-up", "a.py", 5)
    assert _parts(desk) == {"fixed": 64}


def test_a_new_line_may_cost_the_suffix_where_it_stands_behind_the_prefix(desk: Desk) -> None:
    desk.ask("n", "", "new line", "a.py", _TEXT.index("three"))
    assert _parts(desk) == {"fixed": 64, "suffix": len("three\nfour\n")}
    assert _parts(desk, "spm") == {"fixed": 64, "suffix": 0}


def test_a_suffix_counts_for_256_at_most(desk: Desk) -> None:
    desk.edit("a.py", "x\n" + "y" * 1000)
    desk.ask("n", "", "new line", "a.py", 2)
    assert _parts(desk) == {"fixed": 64, "suffix": 256}


def test_moving_down_may_cost_the_lines_between_and_the_suffix(desk: Desk) -> None:
    desk.ask("m", "", "move", "a.py", len(_TEXT) - 1)
    assert _parts(desk) == {"fixed": 64, "changed part": len("two\nthree\n") + len("\n")}


def test_moving_up_may_cost_the_suffix_alone_or_all_where_the_suffix_stands_first(desk: Desk) -> None:
    desk.ask("down", "", "move", "a.py", len(_TEXT) - 1)
    desk.ask("up", "", "move", "a.py", _TEXT.index("two"))
    suffix = len("two\nthree\nfour\n")
    assert _parts(desk) == {"fixed": 64, "changed part": suffix}
    assert _parts(desk, "spm") == {"fixed": 64, "changed part": len("one\n") + suffix}


def test_another_file_may_cost_itself_and_the_files_changed_since(desk: Desk) -> None:
    desk.edit("a.py", "changed\n")
    desk.ask("b", "", "file", "b.py", 0)
    assert _parts(desk) == {
        "fixed": 64,
        "changed": _HEADER + len("changed\n"),
        "active": _HEADER + len("b\n") + 3,
    }


def test_a_restart_may_cost_a_hundredth_of_the_context_and_the_active_file(desk: Desk) -> None:
    desk.restart_worker()
    desk.ask("r", "", "restart", "a.py", 0)
    assert _parts(desk) == {"fixed": 64, "hundredth": 40, "active": _HEADER + len(_TEXT) + 3}


def test_what_is_read_in_idle_time_has_no_bound(desk: Desk) -> None:
    assert _parts(desk) is None


def _row(tokens: int, bound: int | None = 64, milliseconds: float = 10.0, **more: object) -> Row:
    values = {"scenario": "k", "group": "g", "rule": "keystroke", "same_everywhere": True, **more}
    return msgspec.convert({"tokens": tokens, "bound": bound, "milliseconds": milliseconds, **values}, Row)


def _run(context: int, row: Row, system: str = OURS) -> SizeRun:
    return SizeRun(system, context, Cold(context, 1.0), [row])


@pytest.mark.parametrize(
    ("row", "held"),
    [
        (_row(64), True),
        (_row(65), False),
        (_row(0, repository_context=False), False),
        (_row(500, None), None),
        (_row(500, skipped="It can't be."), None),
    ],
)
def test_a_bound_is_held_up_to_its_last_token_and_only_with_the_repository(
    row: Row, held: bool | None
) -> None:
    assert row.held is held


def test_growth_compares_the_largest_size_with_the_smallest() -> None:
    runs = [
        _run(65536, _row(12, milliseconds=21.0)),
        _run(16384, _row(99, 99)),
        _run(4096, _row(10)),
        _run(4096, _row(4000, None), LLAMA_IN_PLACE),
    ]
    [entry] = growth(runs)
    assert (entry.small_context, entry.large_context) == (4096, 65536)
    assert (entry.small_tokens, entry.large_tokens) == (10, 12)
    assert entry.tokens_held
    assert not entry.milliseconds_held
    assert entry.ratio == pytest.approx(2.1)


def test_growth_is_broken_by_more_tokens_than_a_fixed_few() -> None:
    [entry] = growth([_run(4096, _row(10, 500)), _run(65536, _row(75, 500))])
    assert not entry.tokens_held


def test_growth_needs_two_sizes_and_measured_rows() -> None:
    assert growth([_run(4096, _row(10))]) == []
    assert growth([_run(4096, _row(10, skipped="no")), _run(65536, _row(10))]) == []
    assert growth([_run(4096, _row(10, same_everywhere=False)), _run(65536, _row(10))]) == []


def test_a_result_names_what_was_not_kept() -> None:
    runs = [_run(4096, _row(65)), _run(65536, _row(500, milliseconds=50.0))]
    broken = Result("1", "here", runs, growth(runs)).broken
    assert broken[0] == "4,096 tokens, k: 65 read, at most 64"
    assert "500 tokens read at 65,536, 65 at 4,096" in broken[2]
    assert "5.0 times the milliseconds" in broken[3]


def test_the_embedded_models_order_is_known() -> None:
    assert embedded_fim_order() in {"psm", "spm"}
