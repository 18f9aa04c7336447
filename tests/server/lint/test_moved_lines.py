"""Lines followed through edits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from deltaloom_server.lint.moved_lines import MovedLines
from deltaloom_server.positions import content_length, split_lines
from deltaloom_server.security.finding import Finding, Related, Span

_NEW = st.lists(st.sampled_from(["", "new", "other"]), max_size=4).map("\n".join)


def _finding(line: int, height: int = 0) -> Finding:
    span = Span(line, 0, line + height, 3)
    return Finding("r", "m", "a", span, "low", "low", ("sarif",), related=(Related(span, "x"),))


@st.composite
def _edits(draw: st.DrawFn) -> tuple[list[str], list[tuple[Span, str]]]:
    """Lines that are told apart, and edits of them that don't overlap."""
    lines = split_lines("".join(f"line {number}\n" for number in range(draw(st.integers(1, 9)))))
    places = [(row, column) for row, line in enumerate(lines) for column in range(content_length(line) + 1)]
    chosen = sorted(draw(st.lists(st.sampled_from(places), unique=True, max_size=6)))
    spans = [Span(*start, *end) for start, end in zip(chosen[::2], chosen[1::2], strict=False)]
    return lines, [(span, draw(_NEW)) for span in spans]


def _applied(lines: list[str], edits: list[tuple[Span, str]]) -> list[str]:
    text = "".join(lines)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    for span, new in sorted(edits, reverse=True):
        start, end = starts[span.start_line] + span.start_column, starts[span.end_line] + span.end_column
        text = text[:start] + new + text[end:]
    return split_lines(text)


@given(_edits())
def test_lines_that_no_edit_touched_are_found_again(case: tuple[list[str], list[tuple[Span, str]]]) -> None:
    lines, edits = case
    moved = MovedLines(len(lines))
    moved.edit(edits)
    now = _applied(lines, edits)
    touched = {line for span, _ in edits for line in range(span.start_line, span.end_line + 1)}
    origins = [moved.origin(line) for line in range(len(now) + 1)]
    assert origins[len(now)] is None
    told = [one for one in origins if one is not None]
    assert told == sorted(set(told))
    for number, line in enumerate(lines):
        if number not in touched:
            assert now[origins.index(number)] == line


@given(_edits())
def test_one_edit_after_another_is_as_all_at_once(
    case: tuple[list[str], list[tuple[Span, str]]],
) -> None:
    lines, edits = case
    together, single = MovedLines(len(lines)), MovedLines(len(lines))
    together.edit(edits)
    for one in sorted(edits, reverse=True):
        single.edit([one])
    count = len(_applied(lines, edits))
    assert [together.origin(n) for n in range(count)] == [single.origin(n) for n in range(count)]


def test_lines_put_above_one_come_from_none_and_move_it() -> None:
    moved = MovedLines(3)
    moved.edit([(Span(1, 0, 1, 0), "import a\nimport b\n")])
    assert [moved.origin(line) for line in range(6)] == [0, None, None, 1, 2, None]
    found = moved.moved(_finding(1, height=1))
    assert found is not None
    assert (found.span, found.related) == (Span(3, 0, 4, 3), ())


def test_a_line_that_is_rewritten_is_still_that_line_and_one_that_is_removed_is_gone() -> None:
    moved = MovedLines(4)
    moved.edit([(Span(0, 2, 0, 5), "load(\n    x,\n)"), (Span(2, 0, 3, 0), "")])
    assert [moved.origin(line) for line in range(5)] == [0, None, None, 1, 3]
    assert moved.moved(_finding(2)) is None
    assert moved.moved(_finding(0)) is not None
    moved.edit([(Span(3, 0, 3, 0), "\n")])
    assert [moved.origin(line) for line in range(6)] == [0, None, None, None, 1, 3]
