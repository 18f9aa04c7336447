"""Which algorithms a token may be signed with is the program's choice, never the token's.

Invariant: an expression passes only where all that it may be comes from the program's own text or settings.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TypeGuard

from deltaloom_server.security.codemods.source import Source

from .reaching import is_parameter, values_at

_OWN = frozenset({"self", "cls"})
_MOST_STEPS = 8


def are_chosen_by_the_program(
    source: Source, node: ast.expr, *, may_be_anything: bool = False, steps: int = _MOST_STEPS
) -> bool:
    """Lists, constants, attributes of `self`, names of the module and of imports, variables of these, and a
    parameter that is called so; "none" is none of them.

    `may_be_anything`: the expression stood there before, so that only "none" is looked for.
    """
    if any(name == "none" for name in _texts(node)) or not steps:
        return False
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        every = (
            are_chosen_by_the_program(source, one, may_be_anything=may_be_anything, steps=steps - 1)
            for one in node.elts
        )
        return bool(node.elts) and all(every)
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str) and bool(node.value)
    if may_be_anything:
        return True
    root = _root(node)
    if root is None or not _are_given_well(source, node):
        return False
    if root.id in _OWN and not isinstance(node, ast.Name):
        return True
    if full := source.qualified(root):
        return "request" not in full.split(".") and "request" not in ast.unparse(node).split(".")
    if is_parameter(source, root):
        return isinstance(node, ast.Name) and "alg" in node.id.lower()
    values = values_at(source, root)
    if node is not root:
        return source.enclosing_function(root) is None or (root,) != values
    return root not in values and all(
        are_chosen_by_the_program(source, value, steps=steps - 1) for value in values
    )


def _are_given_well(source: Source, node: ast.expr) -> bool:
    """`self.algorithm = "none"`, or what a token's header says: anywhere in the file."""
    if not isinstance(node, ast.Attribute):
        return True
    for one in ast.walk(source.tree):
        targets = one.targets if isinstance(one, ast.Assign) else [one.target] if _has_target(one) else []
        value = getattr(one, "value", None)
        named = any(
            (isinstance(target, ast.Attribute) and target.attr == node.attr)
            or (isinstance(target, ast.Name) and target.id == node.attr)
            for target in targets
        )
        if (
            named
            and value is not None
            and ("none" in _texts(value) or "get_unverified_header" in ast.unparse(value))
        ):
            return False
    return True


def _has_target(node: ast.AST) -> TypeGuard[ast.AnnAssign | ast.AugAssign]:
    return isinstance(node, ast.AnnAssign | ast.AugAssign)


def _texts(node: ast.AST) -> Iterator[str]:
    for one in ast.walk(node):
        if isinstance(one, ast.Constant) and isinstance(one.value, str):
            yield one.value.lower()


def _root(node: ast.expr) -> ast.Name | None:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node if isinstance(node, ast.Name) else None
