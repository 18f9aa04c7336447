"""On which lines a suppression comment counts for which finding.

Invariant: each family counts where its own tool has it count. `noqa` is read on the line where ruff looks for
it (the last line of a string or of lines joined by backslashes that the finding begins in), `nosec` on any
line of the call or statement that bandit looks at, `nosemgrep` on the finding's first line or alone above it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import cached_property

from deltaloom_server.positions import split_lines
from deltaloom_server.security.codemods.source import Function, Source
from deltaloom_server.security.finding import Finding, Span
from deltaloom_server.security.suppressions.comments import PythonLayout
from deltaloom_server.security.suppressions.directives import Directive

_TEXT_RULES = frozenset({"S104", "S105", "S108", "S608"})
"""What bandit looks for in a string, wherever it stands."""


class Placement:
    """The lines of one text. `layout` is None for other languages than Python."""

    def __init__(self, text: str, layout: PythonLayout | None) -> None:
        self._text = text
        self._layout = layout

    def covers(self, directive: Directive, finding: Finding, until: int) -> bool:
        """Is the finding in the directive's reach? `until`: the last line of a range that it begins."""
        line, first = directive.span.start_line, finding.span.start_line
        match directive.scope:
            case "file":
                return True
            case "begin":
                return line <= first <= until
            case "end":
                return False
            case "next" if directive.family == "allowlist":
                return first == line + 1
            case "next":
                start, end = self._after(line)
                return start <= first <= end
        match directive.family:
            case "nosec":
                start, end = self._looked_at(finding, line)
                return start <= line <= end
            case "noqa":
                return self._noqa_line(first) == line
            case "nosemgrep":
                return line == first or (line == first - 1 and directive.alone)
            case _:
                return finding.span.start_line <= line <= finding.span.end_line

    def range_end(self, begin: Directive, marks: Iterable[Directive]) -> int:
        """The last line of what a `ruff: disable` begins: its `enable` among `marks`, or its block's end."""
        depth = 1
        ends = len(self._lines)
        for mark in marks:
            if mark.span.start_line > begin.span.start_line and _pair(begin, mark):
                depth += 1 if mark.scope == "begin" else -1
                if not depth:
                    ends = mark.span.start_line
                    break
        for number in range(begin.span.start_line + 1, ends):
            line = self._lines[number]
            words = line.lstrip(" \t\f")
            if words.strip() and words[0] != "#" and len(line) - len(words) < begin.span.start_column:
                return number - 1
        return ends

    @cached_property
    def _lines(self) -> list[str]:
        return split_lines(self._text)

    @cached_property
    def _source(self) -> Source | None:
        return Source.parse(self._text)

    def _noqa_line(self, line: int) -> int:
        """Where ruff reads a `noqa` for what begins on this line."""
        joined = self._layout.joined if self._layout is not None else ()
        return next((last for first, last in joined if first <= line <= last), line)

    def _after(self, line: int) -> tuple[int, int]:
        """First and last line of the next statement; of the next line of code where a statement goes on."""
        for first, last in self._layout.statements if self._layout is not None else ():
            if first < line < last:
                inside = (n for n in range(line + 1, last + 1) if _is_code(self._lines[n]))
                following = next(inside, last)
                return following, following
            if first > line:
                return first, last
        return line + 1, line

    def _looked_at(self, finding: Finding, line: int) -> tuple[int, int]:
        """First and last line of what bandit looks at; at least the finding's own."""
        own = (finding.span.start_line, finding.span.end_line)
        if own[0] <= line <= own[1] or self._source is None:
            return own
        node = self._node(finding, self._source)
        if node is None:
            return own
        return min(own[0], node.lineno - 1), max(own[1], (node.end_lineno or node.lineno) - 1)

    def _node(self, finding: Finding, source: Source) -> ast.expr | ast.stmt | ast.excepthandler | None:
        around = _around(source, finding.span)
        if not around:
            return None
        if finding.rule in _TEXT_RULES:
            inner = around[0]
            return around[1] if isinstance(inner, ast.Constant) and len(around) > 1 else inner
        if finding.rule == "S107":
            return next((node for node in around if isinstance(node, Function)), None)
        for node in around:
            if isinstance(node, ast.Call | ast.excepthandler | ast.Import | ast.ImportFrom | ast.Assert):
                return node
            if isinstance(node, ast.stmt):
                return None if hasattr(node, "body") else node
        return None


def _around(source: Source, span: Span) -> list[ast.expr | ast.stmt | ast.excepthandler]:
    """Nodes that hold a span, the innermost first."""
    start = source.offset_of(span.start_line, span.start_column)
    end = max(start, source.offset_of(span.end_line, span.end_column))
    found = [
        node
        for node in ast.walk(source.tree)
        if isinstance(node, ast.expr | ast.stmt | ast.excepthandler)
        and node.lineno - 1 <= span.start_line
        and (node.end_lineno or 0) - 1 >= span.end_line
        and source.start(node) <= start
        and source.end(node) >= end
    ]
    return sorted(found, key=lambda node: source.end(node) - source.start(node))


def _is_code(line: str) -> bool:
    return not line.lstrip().startswith("#") and not line.isspace()


def _pair(begin: Directive, end: Directive) -> bool:
    return begin.codes == end.codes and begin.span.start_column == end.span.start_column
