"""Nothing outside the unit changes: neither in the tree, nor, imports apart, in the text.

Invariant: two trees are compared statement by statement in lock step; whatever can't be matched is an
objection, never skipped.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import replace

from deltaloom_server.security.codemods.source import Function, Source

from .change import Change, fingerprints, moved, statement_start

Import = ast.Import | ast.ImportFrom
_Lists = tuple[tuple[ast.stmt, ...], tuple[ast.stmt, ...]]

OUTSIDE = "It changes code outside of the function that the finding is in."
TEXT_OUTSIDE = "It changes text outside of the function that the finding is in, and of the imports."


def find_unit(change: Change, *, may_follow: bool = False) -> Change | str:
    """The change with its unit filled in, or the objection that something outside of it is different.

    `may_follow`: new definitions may come behind the one whose end the region holds.
    """
    lists = _Walk(change, may_follow).bodies(change.before.tree.body, change.after.tree.body, top=True)
    if lists is None:
        return OUTSIDE
    return replace(change, old=lists[0], new=lists[1])


class _Walk:
    """Goes down both trees to the unit's place, and compares all that lies beside the way."""

    def __init__(self, change: Change, may_follow: bool) -> None:
        self.change = change
        self.may_follow = may_follow
        self.numbers = {**fingerprints(change.before.tree), **fingerprints(change.after.tree)}

    def bodies(self, old: Sequence[ast.stmt], new: Sequence[ast.stmt], *, top: bool = False) -> _Lists | None:
        """The statements in the region, of two lists that are equal outside of it; None where they aren't."""
        if top:
            old = [one for one in old if not isinstance(one, Import)]
            new = [one for one in new if not isinstance(one, Import)]
        change = self.change
        old_parts = _split(change.before, old, change.region)
        new_parts = _split(change.after, new, change.new_region)
        if not self._equal(old_parts[0], new_parts[0]) or not self._equal(old_parts[2], new_parts[2]):
            return None
        around, new_around = old_parts[1], new_parts[1]
        if not any(_reaches_out(change.before, one, change.region) for one in around):
            if any(_reaches_out(change.after, one, change.new_region) for one in new_around):
                return None
            return tuple(around), tuple(new_around)
        following = new_around[1:]
        if len(around) != 1 or not new_around or (following and not self.may_follow):
            return None
        if not all(self._may_follow(one) for one in following):
            return None
        lists = self._inside(around[0], new_around[0])
        return (lists[0], (*lists[1], *following)) if lists is not None else None

    def _may_follow(self, node: ast.stmt) -> bool:
        """A whole definition of its own."""
        return isinstance(node, Function | ast.ClassDef) and not _reaches_out(
            self.change.after, node, self.change.new_region
        )

    def _inside(self, old: ast.AST, new: ast.AST) -> _Lists | None:
        """Two compound statements around the region: all their parts are equal but the list that holds it."""
        if type(old) is not type(new):
            return None
        found: _Lists | None = None
        for name in old._fields:
            one, other = getattr(old, name, None), getattr(new, name, None)
            if found is None and self._holds(one):
                assert isinstance(one, list)
                if not isinstance(other, list):
                    return None
                found = self._clauses(one, other)
                if found is None:
                    return None
            elif not self._same(one, other):
                return None
        return found

    def _clauses(self, old: list[ast.AST], new: list[ast.AST]) -> _Lists | None:
        if not any(isinstance(one, ast.ExceptHandler | ast.match_case) for one in old):
            return self.bodies(
                [one for one in old if isinstance(one, ast.stmt)],
                [one for one in new if isinstance(one, ast.stmt)],
            )
        if len(old) != len(new):
            return None
        found: _Lists | None = None
        for one, other in zip(old, new, strict=True):
            if found is None and self._holds(getattr(one, "body", None)):
                found = self._inside(one, other)
                if found is None:
                    return None
            elif not self._same(one, other):
                return None
        return found

    def _holds(self, value: object) -> bool:
        """Is this the list in which the region lies?"""
        if not isinstance(value, list) or not value:
            return False
        if isinstance(value[0], ast.ExceptHandler | ast.match_case):
            return any(self._holds(one.body) for one in value)
        if not all(isinstance(one, ast.stmt) for one in value):
            return False
        start, end = self.change.region
        source = self.change.before
        first = source.line_start(source.line_of(statement_start(source, value[0])))
        last = source.line_start(source.line_of(source.end(value[-1]) - 1) + 1)
        return first <= start and end <= last

    def _same(self, one: object, other: object) -> bool:
        if isinstance(one, ast.AST) and isinstance(other, ast.AST):
            return self.numbers[one] == self.numbers[other]
        if isinstance(one, list) and isinstance(other, list):
            return len(one) == len(other) and all(map(self._same, one, other))
        return type(one) is type(other) and one == other

    def _equal(self, old: Sequence[ast.stmt], new: Sequence[ast.stmt]) -> bool:
        return len(old) == len(new) and all(map(self._same, old, new))


def _split(
    source: Source, body: Sequence[ast.stmt], region: tuple[int, int]
) -> tuple[list[ast.stmt], list[ast.stmt], list[ast.stmt]]:
    """The statements before, in (or around) and after a region."""
    before: list[ast.stmt] = []
    within: list[ast.stmt] = []
    after: list[ast.stmt] = []
    for one in body:
        if source.end(one) <= region[0]:
            before.append(one)
        elif statement_start(source, one) >= max(region[1], region[0] + 1):
            after.append(one)
        else:
            within.append(one)
    return before, within, after


def _reaches_out(source: Source, node: ast.stmt, region: tuple[int, int]) -> bool:
    return statement_start(source, node) < region[0] or source.end(node) > region[1]


def text_outside(change: Change) -> Iterator[str]:
    """Text may differ within the unit, and on lines that hold nothing but imports."""
    start, end = change.region
    imports, new_imports = _import_lines(change.before), _import_lines(change.after)
    for hunk in change.hunks:
        if start <= hunk.start and hunk.end <= end:
            continue
        on_imports = _only(change.before, hunk.start, hunk.end, imports)
        if not (on_imports and _only(change.after, hunk.new_start, hunk.new_end, new_imports)):
            yield TEXT_OUTSIDE
            return


def _import_lines(source: Source) -> frozenset[int]:
    lines: set[int] = set()
    for node in source.tree.body:
        if isinstance(node, Import):
            lines.update(range(node.lineno - 1, (node.end_lineno or node.lineno)))
    return frozenset(lines)


def _only(source: Source, start: int, end: int, lines: frozenset[int]) -> bool:
    """Does [start, end) touch nothing but these lines and blank ones?"""
    if start == end:
        return True
    first, last = source.line_of(start), source.line_of(end - 1)
    return all(number in lines or not source.lines[number].strip() for number in range(first, last + 1))


def unit_kept(change: Change, *, parameter: str = "") -> Iterator[str]:
    """What a function is from outside stays: its name, signature, decorators, docstring, and what it binds
    elsewhere. `parameter`: the one whose default may become another."""
    if len(change.old) == 1 and isinstance(change.old[0], Function):
        yield from _function_kept(change.old[0], change.new, parameter)
    elif change.old and not 1 <= len(change.new) <= len(change.old) + 2:
        yield "It puts other statements in the place of the one that the finding is in."
    elif change.old:
        added = [node for node in change.added if isinstance(node, Function | ast.ClassDef)]
        if added:
            yield f"It moves code into a new definition, {added[0].name}."
    for node in change.added:
        if isinstance(node, ast.Global | ast.Nonlocal):
            yield f"It adds a {type(node).__name__.lower()} statement."
            return


def _function_kept(old: Function, new: Sequence[ast.stmt], parameter: str) -> Iterator[str]:
    if len(new) != 1 or type(new[0]) is not type(old):
        yield f"It puts something else in the place of {old.name}."
        return
    other = new[0]
    assert isinstance(other, Function)
    if other.name != old.name:
        yield f"It renames {old.name}."
    if not _same_arguments(old.args, other.args, parameter) or _dump(old.returns) != _dump(other.returns):
        yield f"It changes the signature of {old.name}."
    if [ast.dump(one) for one in old.decorator_list] != [ast.dump(one) for one in other.decorator_list]:
        yield f"It changes the decorators of {old.name}."
    if ast.get_docstring(old, clean=False) != ast.get_docstring(other, clean=False):
        yield f"It changes the docstring of {old.name}."


def _dump(node: ast.AST | None) -> str:
    return "" if node is None else ast.dump(node)


def _same_arguments(old: ast.arguments, new: ast.arguments, parameter: str) -> bool:
    if ast.dump(old) == ast.dump(new):
        return True
    if not parameter:
        return False
    return _loosened(old, parameter) == _loosened(new, parameter)


def defaults(arguments: ast.arguments) -> Iterator[tuple[str, ast.expr | None]]:
    """Each parameter with its default, None where it has none."""
    positional = [*arguments.posonlyargs, *arguments.args]
    missing = len(positional) - len(arguments.defaults)
    for number, one in enumerate(positional):
        yield one.arg, arguments.defaults[number - missing] if number >= missing else None
    for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield one.arg, default


def _loosened(arguments: ast.arguments, parameter: str) -> list[tuple[str, str]]:
    """The signature without one parameter's default and annotation (`str` becomes `str | None`)."""
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    shape = [
        ("kinds", f"{len(arguments.posonlyargs)} {len(arguments.args)} {len(arguments.kwonlyargs)}"),
        ("rest", _dump(arguments.vararg) + _dump(arguments.kwarg)),
    ]
    shape += [(one.arg, "" if one.arg == parameter else _dump(one.annotation)) for one in every]
    shape += [
        (name, "?" if name == parameter and default is not None else _dump(default))
        for name, default in defaults(arguments)
    ]
    return shape


def region_after(change: Change) -> tuple[int, int]:
    """The unit's code points in the text after."""
    return moved(change.region, change.hunks)
