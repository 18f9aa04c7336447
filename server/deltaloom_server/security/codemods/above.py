"""A string that is put together in a variable, some lines above the call that uses it.

Invariant: what is found here is bound once, on every way to the call, and the values in it are the same there
as where the string was made.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.codemods.template import Hole

_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_HARMLESS = frozenset(("get", "join", "strip", "lower", "upper", "quote", "replace", "format"))
_WRITERS = frozenset(("print", "debug", "info", "warning", "error", "exception", "log", "pprint", "echo"))


@dataclass(frozen=True, slots=True)
class Built:
    """`statement` binds the variable to `value`; it is read by the call, and else at most logged."""

    statement: ast.stmt
    value: ast.expr


def built_above(source: Source, name: ast.expr) -> Built | None:
    """The one assignment of a local variable (or one of a module, for code at its top level)."""
    if not isinstance(name, ast.Name):
        return None
    function = source.enclosing_function(name)
    scope: ast.AST = function or source.tree
    named = [one for one in ast.walk(scope) if isinstance(one, ast.Name) and one.id == name.id]
    stores = [one for one in named if not isinstance(one.ctx, ast.Load)]
    if len(stores) != 1 or _declared_elsewhere(scope, name.id):
        return None
    if source.enclosing_function(stores[0]) is not function:
        return None
    statement = source.parents[stores[0]]
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        value: ast.expr | None = statement.value
    elif isinstance(statement, ast.AnnAssign):
        value = statement.value
    else:
        return None
    if value is None or not comes_before(source, statement, name):
        return None
    reads = [one for one in named if isinstance(one.ctx, ast.Load) and one is not name]
    if not all(_only_written_out(source, one) for one in reads):
        return None
    return Built(statement, value)


def keeps_its_values(source: Source, built: Built, use: ast.expr, holes: Sequence[Hole]) -> bool:
    """May the values be taken where the string is used instead of where it is made?"""
    function = source.enclosing_function(use)
    inside = [one for hole in holes for one in ast.walk(hole.node) if isinstance(one, ast.Name)]
    names = {one.id for one in inside} - {one.id for one in inside if isinstance(one.ctx, ast.Store)}
    loop = next((one for one in source.ancestors(use) if isinstance(one, _LOOPS)), None)
    if loop is not None and any(one is loop for one in source.ancestors(built.statement)):
        loop = None
    first, last = source.start(built.statement), source.end(use)
    for one in ast.walk(function or source.tree):
        if isinstance(one, ast.Name) and one.id in names and not isinstance(one.ctx, ast.Load):
            at = source.start(one)
            if first <= at < last or (loop is not None and loop in source.ancestors(one)):
                return False
    if any(_does_something(hole.node) for hole in holes):
        block = _block(source, built.statement)
        after = block[block.index(built.statement) + 1 :]
        statement = source.statement(use)
        return bool(after) and after[0] is statement
    return True


def comes_before(source: Source, statement: ast.stmt, node: ast.AST) -> bool:
    """Has a statement run in full whenever `node` is reached?"""
    block = _block(source, statement)
    at = block.index(statement)
    around = {id(one) for one in source.ancestors(node)}
    return any(id(later) in around for later in block[at + 1 :])


def _block(source: Source, statement: ast.stmt) -> list[ast.stmt]:
    """The list of statements in which one stands."""
    parent = source.parents[statement]
    for field in ("body", "orelse", "finalbody"):
        block = getattr(parent, field, None)
        if isinstance(block, list) and any(one is statement for one in block):
            return block
    return [statement]


def _declared_elsewhere(scope: ast.AST, name: str) -> bool:
    """A parameter, a `global` or `nonlocal`, an exception or import of that name."""
    return any(_binds(one, name) for one in ast.walk(scope))


def _binds(node: ast.AST, name: str) -> bool:
    if isinstance(node, ast.Global | ast.Nonlocal):
        return name in node.names
    if isinstance(node, ast.arg):
        return node.arg == name
    if isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
        return node.name == name
    if isinstance(node, ast.alias):
        return (node.asname or node.name) == name
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name == name


def _only_written_out(source: Source, name: ast.Name) -> bool:
    """Is a variable read only to print or log it, in a way that takes any value?"""
    if isinstance(source.parents[name], ast.BinOp | ast.Attribute | ast.Subscript | ast.Starred):
        return False
    for one in _outwards(source, name):
        if isinstance(one, ast.Call):
            called = one.func
            attribute = called.attr if isinstance(called, ast.Attribute) else ""
            return (called.id if isinstance(called, ast.Name) else attribute) in _WRITERS
    return False


def _outwards(source: Source, node: ast.AST) -> Iterator[ast.AST]:
    for one in source.ancestors(node):
        if isinstance(one, ast.stmt):
            return
        yield one


def _does_something(node: ast.expr) -> bool:
    """Might the value be another one a moment later? str(), int() and the like are not meant."""
    for one in ast.walk(node):
        if isinstance(one, ast.Await | ast.Yield | ast.YieldFrom | ast.NamedExpr):
            return True
        if isinstance(one, ast.Call):
            called = one.func
            if isinstance(called, ast.Name) and called.id in {"str", "int", "float", "len", "list", "tuple"}:
                continue
            if isinstance(called, ast.Attribute) and called.attr in _HARMLESS:
                continue
            return True
    return False
