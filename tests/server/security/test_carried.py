"""What slow scanners said, carried to a text that is being edited."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from deltaloom_server.positions import content_length, split_lines
from deltaloom_server.security.carried import carry
from deltaloom_server.security.finding import (
    UNUSED_SUPPRESSION,
    Finding,
    Inspection,
    Scanner,
    Span,
    identify,
)

_LINE = st.sampled_from(
    ["", "x = 1", "  x = 1", "x  =   1", "load(m)", "    load(m)", "\tload(  m )", "load(  m )", "é = '😀'"]
)
_TEXT = st.lists(st.tuples(_LINE, st.sampled_from(["\n", "\r\n"])), max_size=9).map(
    lambda lines: "".join(line + end for line, end in lines)
)


def _finding(
    line: int, start: int, end: int, scanner: Scanner, rule: str = "B614", height: int = 0
) -> Finding:
    return Finding(rule, "m", "a.py", Span(line, start, line + height, end), "high", "high", (scanner,))


def _inspection(text: str, findings: list[Finding], scanners: tuple[Scanner, ...]) -> Inspection:
    return Inspection("a.py", text, identify(findings, split_lines(text)), (), scanners)


@st.composite
def _cases(draw: st.DrawFn) -> tuple[Inspection, list[str], Inspection, list[str]]:
    before, now = draw(_TEXT), draw(_TEXT)
    old, new = split_lines(before), split_lines(now)
    findings = []
    for number in draw(st.lists(st.integers(0, len(old) - 1), unique=True)):
        length = content_length(old[number])
        start = draw(st.integers(0, length))
        height = draw(st.integers(0, min(2, len(old) - 1 - number)))
        end = draw(st.integers(start if not height else 0, content_length(old[number + height])))
        end = end if height else max(start, end)
        findings.append(
            _finding(number, start, end, draw(st.sampled_from(["bandit", "ruff"])), height=height)
        )
    quick = [_finding(number, 0, 0, "ruff", "S602") for number in range(0, len(new), 3)]
    return (
        _inspection(before, findings, ("bandit", "ruff")),
        old,
        _inspection(now, quick, ("ruff",)),
        new,
    )


@given(_cases())
def test_a_finding_is_carried_to_a_line_that_says_the_same_and_lies_in_the_text(
    case: tuple[Inspection, list[str], Inspection, list[str]],
) -> None:
    earlier, before, quick, now = case
    carried = carry(earlier, before, quick, now)
    said = {" ".join(before[one.span.start_line].split()) for one in earlier.findings if one.rule == "B614"}
    assert [one for one in carried.findings if one.rule == "S602"] == list(quick.findings)
    for finding in carried.findings:
        span = finding.span
        assert (span.start_line, span.start_column) <= (span.end_line, span.end_column)
        assert span.start_column <= content_length(now[span.start_line])
        assert span.end_column <= content_length(now[span.end_line])
        if finding.rule == "B614":
            assert finding.scanners == ("bandit",)
            assert " ".join(now[span.start_line].split()) in said


@given(_cases(), st.lists(st.sampled_from(["# a\n", "y = 2\n", "\n"]), max_size=3))
def test_lines_put_above_move_findings_and_keep_their_identities(
    case: tuple[Inspection, list[str], Inspection, list[str]], above: list[str]
) -> None:
    earlier, before, _, _ = case
    now = [*above, *before]
    quick = Inspection("a.py", "", (), (), ("ruff",))
    slow = [
        one for one in earlier.findings if one.scanners == ("bandit",) and before[one.span.start_line].strip()
    ]
    found = carry(earlier, before, quick, now)
    told = [one for one in found.findings if now[one.span.start_line].strip()]
    # Which of equal lines is meant is told by their number; ruff's own findings are not among them any more.
    if len({" ".join(before[one.span.start_line].split()) for one in earlier.findings}) == len(
        earlier.findings
    ):
        assert [one.identity for one in told] == [one.identity for one in slow]
        assert [one.span.start_line for one in told] == [one.span.start_line + len(above) for one in slow]


def test_what_quick_scanners_look_for_is_never_carried() -> None:
    text = "load(m)\n"
    both = Finding("S614", "m", "a.py", Span(0, 0, 0, 4), "high", "high", ("bandit", "ruff"))
    earlier = _inspection(text, [both], ("bandit", "ruff"))
    quick = Inspection("a.py", "", (), (), ("ruff",))
    assert carry(earlier, split_lines(text), quick, split_lines(text)) is quick


def test_unused_comments_are_carried_and_told_once() -> None:
    text = "x = 1  # nosec\n"
    unused = Finding(UNUSED_SUPPRESSION, "m", "a.py", Span(0, 7, 0, 14), "low", "high", ("deltaloom",))
    earlier = _inspection(text, [unused], ("bandit", "deltaloom"))
    now = split_lines("\n" + text)
    silent = Inspection("a.py", "", (), (), ("deltaloom",))
    (told,) = carry(earlier, split_lines(text), silent, now).findings
    assert told.span == Span(1, 7, 1, 14)
    knowing = Inspection("a.py", "", (told,), (), ("deltaloom",))
    assert carry(earlier, split_lines(text), knowing, now) is knowing


def test_a_span_over_lines_that_are_gone_ends_with_the_text() -> None:
    before = ["load(\n", "    m)\n", ""]
    earlier = _inspection("".join(before), [_finding(0, 0, 6, "bandit", height=1)], ("bandit", "ruff"))
    quick = Inspection("a.py", "", (), (), ("ruff",))
    (told,) = carry(earlier, before, quick, ["load("]).findings
    assert told.span == Span(0, 0, 0, 5)
