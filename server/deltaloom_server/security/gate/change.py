"""`Change`: a Python text before and after some edits, and the one unit in which they may differ.

Invariant: the unit is chosen in the text before, from the finding's place alone, never from the edits.
"""

from __future__ import annotations

import ast
import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from deltaloom_server.positions import line_starts, split_lines
from deltaloom_server.security.codemods.source import Function, Source
from deltaloom_server.security.finding import Span
from deltaloom_server.security.proposal import Edit

_MOST_DIFFED_LINES = 4000


@dataclass(frozen=True, slots=True)
class Hunk:
    """One difference: code points [start, end) before have become [new_start, new_end) after."""

    start: int
    end: int
    new_start: int
    new_end: int

    @property
    def growth(self) -> int:
        return (self.new_end - self.new_start) - (self.end - self.start)


def hunks_of(text: str, edits: Iterable[Edit]) -> tuple[Hunk, ...]:
    """What really differs, in order: an edit that writes the whole file anew counts for its changed lines."""
    found: list[Hunk] = []
    shift = 0
    for edit in sorted(edits):
        old = text[edit.start : edit.end]
        for start, end, new_start, new_end in _differences(old, edit.text):
            at = edit.start + start
            new_at = edit.start + shift + new_start
            found.append(Hunk(at, edit.start + end, new_at, edit.start + shift + new_end))
        shift += len(edit.text) - len(old)
    return tuple(found)


def _differences(old: str, new: str) -> Iterator[tuple[int, int, int, int]]:
    head, tail = _common(old, new)
    if head == len(old) == len(new):
        return
    middle, new_middle = old[head : len(old) - tail], new[head : len(new) - tail]
    lines, new_lines = split_lines(middle), split_lines(new_middle)
    if min(len(lines), len(new_lines)) < 2 or max(len(lines), len(new_lines)) > _MOST_DIFFED_LINES:
        yield head, len(old) - tail, head, len(new) - tail
        return
    at, new_at = _line_starts(lines, head), _line_starts(new_lines, head)
    matcher = difflib.SequenceMatcher(None, lines, new_lines, autojunk=False)
    for kind, first, last, new_first, new_last in matcher.get_opcodes():
        if kind != "equal":
            yield at[first], at[last], new_at[new_first], new_at[new_last]


def _common(old: str, new: str) -> tuple[int, int]:
    """Code points that both share at their beginning and, of what is left, at their end."""
    limit = min(len(old), len(new))
    head = next((at for at in range(limit) if old[at] != new[at]), limit)
    limit -= head
    tail = next((at for at in range(limit) if old[-1 - at] != new[-1 - at]), limit)
    return head, tail


def _line_starts(lines: Sequence[str], offset: int) -> list[int]:
    return [offset + start for start in line_starts(lines)]


def fingerprints(root: ast.AST) -> dict[ast.AST, int]:
    """A number for each node below (and) `root`: equal trees have equal ones, positions don't count."""
    known: dict[ast.AST, int] = {}

    def of(value: object) -> int:
        if isinstance(value, ast.AST):
            fields = tuple(of(getattr(value, name, None)) for name in value._fields if name != "type_comment")
            number = hash((type(value).__name__, fields))
            known[value] = number
            return number
        if isinstance(value, list):
            return hash(("list", tuple(of(one) for one in value)))
        return hash((type(value).__name__, repr(value)))

    of(root)
    return known


@dataclass(frozen=True)
class Change:
    """`old` and `new`: the statements of the unit, before and after. `function`: `old`'s, where it is one.

    `region` and `new_region`: the unit's code points. With `old` empty the place holds no statement (a
    comment, or an import that is judged with the imports).
    """

    path: str
    before: Source
    after: Source
    hunks: tuple[Hunk, ...]
    region: tuple[int, int]
    new_region: tuple[int, int]
    old: tuple[ast.stmt, ...] = ()
    new: tuple[ast.stmt, ...] = ()
    span: Span | None = None

    @cached_property
    def added(self) -> tuple[ast.AST, ...]:
        """Nodes of the new unit that the old one has not, or has fewer of."""
        return _surplus(self.new, self.old)

    @cached_property
    def removed(self) -> tuple[ast.AST, ...]:
        """Nodes of the old unit that the new one has not, or has fewer of."""
        return _surplus(self.old, self.new)

    @cached_property
    def added_set(self) -> frozenset[ast.AST]:
        return frozenset(self.added)

    def lines_after(self, hunk: Hunk) -> str:
        return whole_lines(self.after, hunk.new_start, hunk.new_end)


def whole_lines(source: Source, start: int, end: int) -> str:
    """The lines in which [start, end) lies; "" for nothing between two lines."""
    first = source.line_start(source.line_of(start))
    if start == end == first:
        return ""
    last = source.line_of(max(start, end - 1))
    return source.text[first : source.line_start(last + 1)]


def _surplus(ones: Sequence[ast.stmt], others: Sequence[ast.stmt]) -> tuple[ast.AST, ...]:
    left: Counter[int] = Counter()
    for other in others:
        left.update(fingerprints(other).values())
    found: list[ast.AST] = []
    for one in ones:
        numbers = fingerprints(one)
        for node in ast.walk(one):
            number = numbers.get(node)
            if number is None:
                continue
            if left[number] > 0:
                left[number] -= 1
            else:
                found.append(node)
    return tuple(found)


def statement_start(source: Source, node: ast.stmt) -> int:
    """Where a statement begins, decorators included."""
    starts = [source.start(node)]
    if isinstance(node, Function | ast.ClassDef):
        starts += [source.text.rindex("@", 0, source.start(one)) for one in node.decorator_list]
    return min(starts)


def _first_line(node: ast.stmt) -> int:
    decorators = node.decorator_list if isinstance(node, Function | ast.ClassDef) else []
    return min([node.lineno, *(one.lineno for one in decorators)])


def statement_at(source: Source, span: Span) -> ast.stmt | None:
    """The innermost statement in which a finding begins; None where none does (a comment)."""
    at = source.offset_of(span.start_line, span.start_column)
    limit = source.line_start(span.start_line + 1)
    while at < limit and source.text[at] in " \t\f\r\n":
        at += 1
    line = source.line_of(at) + 1
    near = (
        node
        for node in ast.walk(source.tree)
        if isinstance(node, ast.stmt) and _first_line(node) <= line <= (node.end_lineno or node.lineno)
    )
    around = [node for node in near if statement_start(source, node) <= at < source.end(node)]
    return min(around, key=lambda node: source.end(node) - statement_start(source, node), default=None)


def unit_at(source: Source, span: Span) -> ast.stmt | None:
    """The function in which a finding lies, or outside of functions the one statement."""
    statement = statement_at(source, span)
    if statement is None or isinstance(statement, Function):
        return statement
    return source.enclosing_function(statement) or statement


def region_of(source: Source, node: ast.stmt) -> tuple[int, int]:
    """A statement's code points, with its whole lines where it has them for itself."""
    start, end = statement_start(source, node), source.end(node)
    line_start = source.line_start(source.line_of(start))
    if not source.text[line_start:start].strip():
        start = line_start
    line_end = source.line_start(source.line_of(end - 1) + 1)
    rest = source.text[end:line_end].strip()
    if not rest or rest.startswith("#"):
        end = line_end
    return start, end


def moved(region: tuple[int, int], hunks: Iterable[Hunk]) -> tuple[int, int]:
    """Where a region of the text before lies afterwards; what is put in at its ends belongs to it."""
    start, end = region
    grown_before = sum(h.growth for h in hunks if h.end <= start and h.start < start)
    grown_to_end = sum(h.growth for h in hunks if h.start <= end)
    return start + grown_before, max(start + grown_before, end + grown_to_end)


def lines_of(source: Source, start: int, end: int) -> tuple[int, int]:
    """The lines (from 0) in which [start, end) lies."""
    return source.line_of(start), source.line_of(max(start, end - 1))
