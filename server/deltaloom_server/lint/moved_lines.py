"""Where the lines of a text have gone while it was being edited.

Invariant: a line is told to come from one of the first text only where that one, or what was written in its
place, stands there; lines that were put in between come from none.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from deltaloom_server.positions import split_lines
from deltaloom_server.security.finding import Finding, Span


class MovedLines:
    """The lines of one text, followed through edits of it."""

    def __init__(self, count: int) -> None:
        self._origins: list[int | None] = list(range(count))

    def origin(self, line: int) -> int | None:
        """The line of the first text (from 0) that a line of the present one comes from."""
        return self._origins[line] if 0 <= line < len(self._origins) else None

    def edit(self, edits: Iterable[tuple[Span, str]]) -> None:
        """Follow edits of the present text that don't overlap: each a span and what takes its place."""
        for span, text in sorted(edits, reverse=True):
            old = self._origins[span.start_line : span.end_line + 1]
            count = len(split_lines(text))
            # Whole lines put in or replaced leave the line behind them as it was.
            whole = span.start_column == span.end_column == 0
            # So does the end of a line that the last of several new ones goes on with.
            last = old[-1:] if whole or (count > 1 and len(old) > 1) else []
            replaced = old[: len(old) - len(last)]
            written = count - len(last)
            new = [*replaced[:written], *[None] * (written - len(replaced))]
            self._origins[span.start_line : span.end_line + 1] = [*new, *last]

    def moved(self, finding: Finding) -> Finding | None:
        """A finding of the first text where its line stands now; None where that has gone."""
        span = finding.span
        try:
            line = self._origins.index(span.start_line)
        except ValueError:
            return None
        last = min(line + span.end_line - span.start_line, len(self._origins) - 1)
        return msgspec.structs.replace(
            finding, span=Span(line, span.start_column, last, span.end_column), related=()
        )
