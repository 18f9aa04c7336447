"""A local under another name is the same where it is bound to the same.

Invariant: parameters have no other names, and what binds a name must be written alike in both texts.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from deltaloom_server.security.codemods.source import Source

from .change import Change
from .reaching import parameters


def is_renamed(change: Change, new: ast.expr, old: ast.expr) -> bool:
    """`f = open(path)` has become `with open(path) as file`: is one variable the other?"""
    if not isinstance(new, ast.Name) or not isinstance(old, ast.Name):
        return False
    before = sorted(_origins(change.before, old))
    return bool(before) and before == sorted(_origins(change.after, new))


def _origins(source: Source, name: ast.Name) -> Iterator[str]:
    """What the name is bound to in the function that reads it, as written."""
    scope = source.enclosing_function(name)
    if scope is None or name.id in parameters(scope):
        return
    for node in ast.walk(scope):
        if isinstance(node, ast.Name) and node.id == name.id and not isinstance(node.ctx, ast.Load):
            yield _written(source.parents.get(node))


def _written(holder: ast.AST | None) -> str:
    if isinstance(holder, ast.Assign) and len(holder.targets) == 1:
        return ast.dump(holder.value)
    if isinstance(holder, ast.AnnAssign | ast.NamedExpr) and holder.value is not None:
        return ast.dump(holder.value)
    if isinstance(holder, ast.withitem):
        return ast.dump(holder.context_expr)
    return f"{id(holder)}"
