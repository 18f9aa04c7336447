"""Every name that a changed unit uses exists: in its scopes, in the module, or among the builtins.

Invariant: a name that was undefined before is nobody's fault here; only new ones are objections.
"""

from __future__ import annotations

import ast
import builtins
import symtable
from collections.abc import Iterator

from deltaloom_server.security.codemods.source import Function, Source

from .change import Change
from .standard import is_standard, missing_attribute

_ALWAYS = frozenset(
    (
        *dir(builtins),
        "__file__",
        "__name__",
        "__doc__",
        "__path__",
        "__class__",
        "__module__",
        "__qualname__",
        "__spec__",
        "__loader__",
        "__package__",
        "__builtins__",
        "__debug__",
        "__annotations__",
        "reveal_type",
        "WindowsError",
    )
)


def undefined(change: Change) -> Iterator[str]:
    """Names that the text after uses and nothing defines, and that were not so before."""
    for name in sorted(_undefined(change.after) - _undefined(change.before)):
        yield f"It uses {name}, which is not defined."
    yield from _unbound(change)


def _undefined(source: Source) -> frozenset[str]:
    if any(
        isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)
        for node in ast.walk(source.tree)
    ):
        return frozenset()
    try:
        top = symtable.symtable(source.text, "text", "exec")
    except (SyntaxError, ValueError, RecursionError):
        return frozenset()
    defined: set[str] = set(_ALWAYS)
    used: set[str] = set()
    tables = [top]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        for symbol in table.get_symbols():
            is_module = table.get_type() == "module"
            if symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace():
                if is_module or symbol.is_declared_global():
                    defined.add(symbol.get_name())
            elif symbol.is_referenced() and (is_module or symbol.is_global()):
                used.add(symbol.get_name())
    return frozenset(used - defined)


def _unbound(change: Change) -> Iterator[str]:
    """Locals of the new function that are read before the first place that could bind them."""
    for function in change.new:
        if not isinstance(function, Function):
            continue
        old = [one for one in change.old if isinstance(one, Function)]
        before = {name for one in old for name in _read_too_early(one)}
        for name in sorted(set(_read_too_early(function)) - before):
            yield f"It uses {name} before anything is assigned to it."


def _read_too_early(function: Function) -> Iterator[str]:
    """By position alone, so only where no loop, nested scope or comprehension is around the reading."""
    arguments = function.args
    every = [
        *arguments.posonlyargs,
        *arguments.args,
        *arguments.kwonlyargs,
        arguments.vararg,
        arguments.kwarg,
    ]
    parameters = {one.arg for one in every if one is not None}
    shared = {
        name
        for node in ast.walk(function)
        if isinstance(node, ast.Global | ast.Nonlocal)
        for name in node.names
    }
    bound: dict[str, tuple[int, int]] = {}
    read: list[tuple[str, tuple[int, int]]] = []
    for node, loose in _straight(function, False):
        for name, at in _bindings(node):
            bound[name] = min(at, bound.get(name, at))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and not loose:
            read.append((node.id, (node.lineno, node.col_offset)))
    for name, at in read:
        if name in bound and name not in parameters | shared and at < bound[name]:
            yield name


def _bindings(node: ast.AST) -> Iterator[tuple[str, tuple[int, int]]]:
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id, (node.lineno, node.col_offset)
    elif isinstance(node, Function | ast.ClassDef | ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
        if node.name:
            yield node.name, (node.lineno, node.col_offset)
    elif isinstance(node, ast.Import | ast.ImportFrom):
        for alias in node.names:
            yield alias.asname or alias.name.partition(".")[0], (node.lineno, node.col_offset)


def _straight(node: ast.AST, loose: bool) -> Iterator[tuple[ast.AST, bool]]:
    """The nodes of a function's own scope; `loose`: in a loop, where the order isn't the text's."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function | ast.ClassDef | ast.Lambda):
            yield child, loose
            continue
        comprehension = isinstance(child, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp)
        if comprehension:
            continue
        inner = loose or isinstance(child, ast.For | ast.AsyncFor | ast.While)
        yield child, inner
        yield from _straight(child, inner)


def missing(change: Change) -> Iterator[str]:
    """What the added code takes from modules of the standard library is there."""
    seen: set[str] = set()
    for node in change.added:
        if not isinstance(node, ast.Attribute) or not isinstance(node.ctx, ast.Load):
            continue
        full = change.after.qualified(node)
        if full and "." in full and is_standard(full) and full not in seen:
            seen.add(full)
            if absent := missing_attribute(full):
                yield f"{absent} does not exist."
                return
