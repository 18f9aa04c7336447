"""What the slow scanners said of an earlier text, carried to the text as it is while a person types.

Invariant: a finding is carried only to a line that says the same as its own did, and keeps its identity; what
the quick scanners look for is never carried, as they have looked at the new text themselves.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from deltaloom_server.positions import content_length
from deltaloom_server.security.finding import UNUSED_SUPPRESSION, Finding, Inspection, Span, identify


def carry(earlier: Inspection, before: Sequence[str], quick: Inspection, now: Sequence[str]) -> Inspection:
    """`quick` with those findings of `earlier` that only the slow scanners see.

    `before` and `now` are the lines of the two texts.
    """
    seen = set(quick.scanners)
    told = {one.identity for one in quick.findings}
    slow = [
        one
        for one in earlier.findings
        if not set(one.scanners) & seen
        # Whether a comment suppresses nothing is known only when all have looked.
        or (one.rule == UNUSED_SUPPRESSION and one.identity not in told)
    ]
    if not slow:
        return quick
    places: dict[str, list[int]] = {}
    for number, line in enumerate(now):
        places.setdefault(_normal(line), []).append(number)
    earlier_places: dict[str, list[int]] = {}
    for number, line in enumerate(before):
        earlier_places.setdefault(_normal(line), []).append(number)
    carried = []
    for finding in slow:
        line = _normal(before[finding.span.start_line])
        which = earlier_places[line].index(finding.span.start_line)
        there = places.get(line, [])
        if which < len(there):
            carried.append(_moved(finding, there[which], before, now))
    return msgspec.structs.replace(quick, findings=identify((*quick.findings, *carried), now))


def _normal(line: str) -> str:
    return " ".join(line.split())


def _moved(finding: Finding, line: int, before: Sequence[str], now: Sequence[str]) -> Finding:
    span = finding.span
    old, new = before[span.start_line], now[line]
    # The same words may be indented otherwise now.
    shift = (len(new) - len(new.lstrip())) - (len(old) - len(old.lstrip()))
    last = min(line + span.end_line - span.start_line, len(now) - 1)
    # What stands between the words may be shorter now.
    start = min(max(0, span.start_column + shift), content_length(new))
    end = span.end_column + shift if last == line else span.end_column
    end = min(max(end, start if last == line else 0), content_length(now[last]))
    return msgspec.structs.replace(finding, span=Span(line, start, last, end))
