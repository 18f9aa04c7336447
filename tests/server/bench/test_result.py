"""What a run found: what counts as kept, and that JSON gives back the very same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deltaloom_server.bench.edits.bounds import growth
from deltaloom_server.bench.edits.result import (
    LLAMA_LOG,
    OURS,
    Cold,
    Growth,
    Result,
    Row,
    SizeRun,
    encode_result,
    load_result,
)
from deltaloom_server.errors import DeltaloomError


def _row(tokens: int, bound: int | None = 64, **more: object) -> Row:
    given = {"scenario": "a keystroke", "group": "a keystroke", "rule": "keystroke", "milliseconds": 10.0}
    return Row(**{**given, **more}, tokens=tokens, bound=bound)  # type: ignore[arg-type]


def _result(*rows: Row) -> Result:
    run = SizeRun(OURS, 4096, Cold(2500, 900.0), list(rows), files=40, model="nano")
    return Result("1.0", "here", [run], growth=[])


def test_a_bound_is_kept_up_to_the_very_token() -> None:
    assert _row(64).held is True
    assert _row(65).held is False


def test_an_answer_from_the_open_file_alone_keeps_no_bound() -> None:
    row = _row(1, repository_context=False)

    assert row.held is False
    assert "from the open file alone" in _result(row).broken[0]


def test_what_has_no_bound_or_was_skipped_is_neither_kept_nor_broken() -> None:
    assert _row(9999, None).held is None
    assert _row(9999, skipped="It can't be asked.").held is None
    assert _result(_row(9999, None), _row(9999, skipped="It can't be asked.")).broken == []


def test_a_broken_bound_is_told_with_its_figures() -> None:
    (sentence,) = _result(_row(64), _row(1065)).broken

    assert sentence == "4,096 tokens, a keystroke: 1,065 read, at most 64"


def test_growth_compares_the_same_edit_at_the_smallest_and_the_largest_size() -> None:
    sizes = (16384, 65536, 4096)
    runs = [
        SizeRun(
            OURS,
            size,
            Cold(size, 1.0),
            [
                _row(10 + size // 8192, same_everywhere=True, milliseconds=size / 256),
                _row(500, None, scenario="first edit in a file", same_everywhere=False),
            ],
        )
        for size in sizes
    ]
    theirs = SizeRun(LLAMA_LOG, 131072, Cold(1, 1.0), [_row(9, same_everywhere=True)])

    (entry,) = growth([*runs, theirs])

    assert (entry.small_context, entry.large_context) == (4096, 65536)
    assert (entry.small_tokens, entry.large_tokens) == (10, 18)
    assert entry.ratio == 16.0
    assert entry.tokens_held
    assert not entry.milliseconds_held


@pytest.mark.parametrize(("large", "held"), [(39.0, True), (41.0, False)])
def test_a_time_of_a_few_milliseconds_counts_as_twenty(large: float, held: bool) -> None:
    small, more = (_row(1, same_everywhere=True, milliseconds=time) for time in (3.0, large))
    runs = [SizeRun(OURS, 4096, Cold(1, 1.0), [small]), SizeRun(OURS, 65536, Cold(1, 1.0), [more])]

    assert growth(runs)[0].milliseconds_held is held


def test_growth_needs_two_sizes_and_rows_that_were_measured_at_both() -> None:
    one = SizeRun(OURS, 4096, Cold(1, 1.0), [_row(1, same_everywhere=True)])
    skipped = SizeRun(OURS, 65536, Cold(1, 1.0), [_row(1, same_everywhere=True, skipped="No.")])

    assert growth([one]) == []
    assert growth([one, skipped]) == []


def test_growth_beyond_what_is_allowed_is_told() -> None:
    entry = Growth("a keystroke", 4096, 65536, 12, 700, 10.0, 25.0, False, False)
    tokens, times = Result("1.0", "here", [], [entry]).broken

    assert tokens == "a keystroke: 700 tokens read at 65,536, 12 at 4,096"
    assert times.startswith("a keystroke: 2.5 times the milliseconds")


def test_json_gives_back_the_very_same_and_says_what_was_kept(tmp_path: Path) -> None:
    before = _result(
        _row(64, read={"anchor": 60, "typed": 4}, bound_parts={"fixed": 64}),
        _row(70),
        _row(5, None, skipped="It can't be asked."),
    )
    file = tmp_path / "edits.json"
    file.write_text(encode_result(before))

    assert load_result(file) == before
    assert [row["held"] for row in json.loads(file.read_text())["runs"][0]["rows"]] == [True, False, None]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[]", "isn't a result"),
        ("{", "isn't a result"),
        ('{"version": "1", "machine": "x", "runs": [], "format": 0}', "another version"),
    ],
)
def test_what_is_no_result_is_refused_with_a_reason(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "edits.json"
    file.write_text(text)

    with pytest.raises(DeltaloomError, match=sentence):
        load_result(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeltaloomError, match=r"missing\.json can't be read"):
        load_result(tmp_path / "missing.json")
