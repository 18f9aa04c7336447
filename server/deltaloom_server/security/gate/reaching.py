"""What a variable may hold where it is read.

Invariant: never too few: whatever can't be followed (a parameter, a loop's variable) is answered by the name
itself, which no check takes for something fixed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from deltaloom_server.security.codemods.source import Function, Source

_NAMED = Function | ast.ClassDef | ast.ExceptHandler | ast.MatchAs | ast.MatchStar
_LOOPS = ast.For | ast.AsyncFor | ast.While
_OWN_SCOPES = ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


def values_at(source: Source, node: ast.expr) -> tuple[ast.expr, ...]:
    """The expressions that a variable may have been assigned where `node` reads it; of a name that only the
    module binds, and once, what it binds it to. Anything but a variable is its own value."""
    if not isinstance(node, ast.Name):
        return (node,)
    scope = source.enclosing_function(node)
    found = list(_bindings(source, scope, node.id)) if scope is not None else []
    if scope is None or (not found and node.id not in parameters(scope)):
        return (node,) if _is_of_outer_function(source, scope, node.id) else _of_module(source, node)
    reaching = [one for one in found if _is_before(one[0], node) or _share_loop(source, one[0], node)]
    killers = [
        number
        for number, (binding, _) in enumerate(reaching)
        if _is_before(binding, node) and _always_runs(source, binding, node)
    ]
    first = killers[-1] if killers else 0
    values = [node if value is None else value for _, value in reaching[first:]]
    if not killers and node.id in parameters(scope):
        values.append(node)
    return tuple(values) or (node,)


def is_parameter(source: Source, node: ast.Name) -> bool:
    """Is a name a parameter of the function that reads it?"""
    scope = source.enclosing_function(node)
    return scope is not None and node.id in parameters(scope)


def _of_module(source: Source, node: ast.Name) -> tuple[ast.expr, ...]:
    found = list(_bindings(source, None, node.id))
    shared = any(
        isinstance(one, ast.Global) and node.id in one.names for one in ast.walk(source.tree)
    )  # fmt: skip
    if len(found) == 1 and found[0][1] is not None and not shared:
        return (found[0][1],)
    return (node,)


def _is_of_outer_function(source: Source, scope: Function | None, name: str) -> bool:
    while scope is not None:
        scope = source.enclosing_function(scope)
        if scope is not None and (name in parameters(scope) or any(_bindings(source, scope, name))):
            return True
    return False


def _bindings(source: Source, scope: Function | None, name: str) -> Iterator[tuple[ast.AST, ast.expr | None]]:
    """Each place of a scope (None: the module) that binds the name, in order, with what to; None for what
    can't be said."""
    found: list[tuple[ast.AST, ast.expr | None]] = []
    for node in ast.walk(scope or source.tree):
        if node is scope or not _binds(node, name) or _scope_of(source, node) is not scope:
            continue
        holder = source.parents.get(node)
        if isinstance(holder, ast.AugAssign):
            continue  # What is appended is looked at by who asks.
        found.append((node, _value(source, node, holder) if isinstance(node, ast.Name) else None))
    yield from sorted(found, key=lambda one: _position(one[0]))


def _binds(node: ast.AST, name: str) -> bool:
    if isinstance(node, ast.Name):
        return node.id == name and not isinstance(node.ctx, ast.Load)
    if isinstance(node, ast.alias):
        return (node.asname or node.name.partition(".")[0]) == name
    return isinstance(node, _NAMED) and node.name == name


def _scope_of(source: Source, node: ast.AST) -> ast.AST | None:
    """The function or class that a node is in; None for the module."""
    inner = (one for one in source.ancestors(node) if isinstance(one, Function | ast.ClassDef))
    return next(inner, None)


def _value(source: Source, node: ast.Name, holder: ast.AST | None) -> ast.expr | None:
    if isinstance(holder, ast.Assign):
        return holder.value
    if isinstance(holder, ast.AnnAssign | ast.NamedExpr):
        return holder.value
    if isinstance(holder, ast.Tuple | ast.List):
        outer = source.parents.get(holder)
        if isinstance(outer, ast.Assign) and isinstance(outer.value, ast.Tuple | ast.List):
            values = outer.value.elts
            if len(values) == len(holder.elts) and not any(isinstance(one, ast.Starred) for one in values):
                return values[holder.elts.index(node)]
    return None


def parameters(function: Function) -> frozenset[str]:
    """The names of a function's parameters."""
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    every += [one for one in (arguments.vararg, arguments.kwarg) if one is not None]
    return frozenset(one.arg for one in every)


def _position(node: ast.AST) -> tuple[int, int]:
    return getattr(node, "lineno", 0), getattr(node, "col_offset", 0)


def _is_before(binding: ast.AST, node: ast.AST) -> bool:
    return _position(binding) < _position(node)


def _share_loop(source: Source, one: ast.AST, other: ast.AST) -> bool:
    loops = {node for node in source.ancestors(one) if isinstance(node, _LOOPS)}
    return any(node in loops for node in source.ancestors(other))


def _always_runs(source: Source, binding: ast.AST, node: ast.AST) -> bool:
    """Is the binding's statement one of a list of statements in which the reading's statement comes later?"""
    if any(isinstance(one, _OWN_SCOPES | ast.IfExp | ast.BoolOp) for one in _within(source, binding)):
        return False
    statement = source.statement(binding)
    holder = source.parents.get(statement)
    around = {node, *source.ancestors(node)}
    for _, value in ast.iter_fields(holder) if holder is not None else ():
        if isinstance(value, list) and statement in value:
            return _any_of(value[value.index(statement) :], around)
    return False


def _any_of(statements: Sequence[ast.AST], around: set[ast.AST]) -> bool:
    return any(one in around for one in statements)


def _within(source: Source, node: ast.AST) -> Iterator[ast.AST]:
    """The expressions around a node, up to its statement."""
    for one in source.ancestors(node):
        if isinstance(one, ast.stmt):
            return
        yield one
