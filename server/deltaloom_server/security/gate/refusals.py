"""New definitions that a fix may bring: those that do nothing but refuse.

Invariant: their bodies hold one raise and no other statement, so that no code can be moved into them.
"""

from __future__ import annotations

import ast

from deltaloom_server.security.codemods.source import Function, Source

_UNPICKLERS = frozenset({"pickle.Unpickler", "_pickle.Unpickler", "dill.Unpickler"})


def only_raises(node: ast.AST) -> bool:
    """A function whose body is a raise, without decorators or defaults."""
    if not isinstance(node, Function) or node.decorator_list or node.args.defaults or node.args.kw_defaults:
        return False
    body = [one for one in node.body if not _is_docstring(one)]
    return len(body) == 1 and isinstance(body[0], ast.Raise) and _is_plain_error(body[0].exc)


def _is_plain_error(node: ast.expr | None) -> bool:
    """`ValueError`, `pickle.UnpicklingError(f"…")`: nothing else is called to make it."""
    made = node.func if isinstance(node, ast.Call) else node
    last = made.attr if isinstance(made, ast.Attribute) else made.id if isinstance(made, ast.Name) else ""
    calls = [one for one in ast.walk(node) if isinstance(one, ast.Call)] if node is not None else []
    return last[:1].isupper() and len(calls) == isinstance(node, ast.Call)


def refuses_classes(source: Source, node: ast.AST) -> bool:
    """An unpickler that finds no class whatever it is asked for, so that it builds plain data only.

    (The library reference, pickle, "Restricting Globals".)
    """
    if not isinstance(node, ast.ClassDef) or node.decorator_list or node.keywords or len(node.bases) != 1:
        return False
    body = [one for one in node.body if not _is_docstring(one)]
    if source.qualified(node.bases[0]) not in _UNPICKLERS or len(body) != 1:
        return False
    return isinstance(body[0], ast.FunctionDef) and body[0].name == "find_class" and only_raises(body[0])


def is_refusal(source: Source, node: ast.AST) -> bool:
    """One of both, or the method of such a class."""
    return only_raises(node) or refuses_classes(source, node)


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
