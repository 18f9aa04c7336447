"""What codemods ask of a text: which call is meant, what an argument is, where an object came from.

Invariant: an answer is given only where the file itself gives it; "" or None means that it can't be told.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection

from deltaloom_server.security.codemods.source import Comprehension, Function, Scope, Source
from deltaloom_server.security.finding import Finding


def find_call(source: Source, finding: Finding, wanted: Callable[[ast.Call], bool]) -> ast.Call | None:
    """The wanted call that a finding is about: the innermost around its position, else the nearest to it.

    Scanners point at the call, at its function or at one argument, and some at the line of the argument with
    the column of the call.
    """
    at = source.offset_of(finding.span.start_line, finding.span.start_column)

    def distance(call: ast.Call) -> tuple[bool, int]:
        start, end = source.start(call), source.end(call)
        inside = start <= at < end
        return not inside, end - start if inside else min(abs(start - at), abs(end - at))

    return min(filter(wanted, source.calls_at(finding.span)), key=distance, default=None)


def find_named(source: Source, finding: Finding, names: Collection[str]) -> ast.Call | None:
    """The call of one of these imported functions that a finding is about."""
    return find_call(source, finding, lambda call: source.qualified(call.func) in names)


def keyword(call: ast.Call, name: str) -> ast.keyword | None:
    """A call's keyword argument."""
    return next((one for one in call.keywords if one.arg == name), None)


def argument(call: ast.Call, position: int, name: str) -> ast.expr | None:
    """The value of an argument, given by its place or by its name; None where it isn't, or can't be told."""
    named = keyword(call, name)
    if named is not None:
        return named.value
    if position < len(call.args) and not any(
        isinstance(one, ast.Starred) for one in call.args[: position + 1]
    ):
        return call.args[position]
    return None


def unpacks(call: ast.Call) -> bool:
    """Does a call take arguments from a `*list` or a `**mapping`?"""
    return any(isinstance(one, ast.Starred) for one in call.args) or any(k.arg is None for k in call.keywords)


def is_literal(node: ast.expr | None, value: object) -> bool:
    """Is it written as this constant? True and 1 differ."""
    return isinstance(node, ast.Constant) and node.value == value and type(node.value) is type(value)


def scope_of(source: Source, node: ast.AST) -> ast.AST:
    """The function around a node, else the module."""
    return source.enclosing_function(node) or source.tree


def in_loop(source: Source, node: ast.AST) -> bool:
    """May it run more than once in one call of its function?"""
    for one in source.ancestors(node):
        if isinstance(one, ast.For | ast.AsyncFor | ast.While | ast.Lambda | Comprehension):
            return True
        if isinstance(one, Function):
            return False
    return False


def bindings(source: Source, name: ast.Name) -> list[ast.AST]:
    """What binds a name in the nearest scope that binds it: the values of plain assignments, of `with … as`
    and of `:=`; for a parameter its `ast.arg`; for anything else the binding node itself."""
    for scope in source.ancestors(name):
        if isinstance(scope, ast.Module | Function | ast.Lambda):
            found = [node for node in _own_nodes(scope) if _binds(node, name.id)]
            if found:
                return [_value(source, node) for node in found]
    return []


def origin(source: Source, node: ast.expr, depth: int = 3) -> ast.Call | None:
    """The call that made an object: itself, or what the one binding of its name says.

    `self.x` is looked up among the assignments in its class.
    """
    if isinstance(node, ast.Await):
        node = node.value
    if isinstance(node, ast.Call):
        return node
    if depth and isinstance(node, ast.Name):
        found = bindings(source, node)
        if len(found) == 1 and isinstance(found[0], ast.expr):
            return origin(source, found[0], depth - 1)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
        around = next((one for one in source.ancestors(node) if isinstance(one, ast.ClassDef)), None)
        values = [
            one.value
            for one in ast.walk(around or source.tree)
            if isinstance(one, ast.Assign)
            and any(ast.unparse(target) == ast.unparse(node) for target in one.targets)
        ]
        if depth and len(values) == 1:
            return origin(source, values[0], depth - 1)
    return None


def kind(source: Source, node: ast.expr) -> str:
    """What made an object ("tarfile.open"), or what its parameter's annotation says ("tarfile.TarFile")."""
    call = origin(source, node)
    if call is not None:
        return source.qualified(call.func)
    if isinstance(node, ast.Name):
        found = bindings(source, node)
        if len(found) == 1 and isinstance(found[0], ast.arg):
            annotation = found[0].annotation
            if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
                return annotation.value
            return source.qualified(annotation) if annotation is not None else ""
    return ""


def is_used_elsewhere(source: Source, name: str) -> bool:
    """Does a file bind or read a name at all?"""
    return name in source.bound_names or any(
        isinstance(node, ast.Name) and node.id == name for node in ast.walk(source.tree)
    )


def free_name(source: Source, *wishes: str) -> str:
    """The first wish that the file uses for nothing yet; else the last with a number behind."""
    for wish in wishes:
        if not is_used_elsewhere(source, wish):
            return wish
    number = 2
    while is_used_elsewhere(source, f"{wishes[-1]}_{number}"):
        number += 1
    return f"{wishes[-1]}_{number}"


def _own_nodes(scope: ast.AST) -> list[ast.AST]:
    """All nodes of a scope; of the functions and classes inside it only their own."""
    found: list[ast.AST] = []
    stack = list(ast.iter_child_nodes(scope))
    while stack:
        node = stack.pop()
        found.append(node)
        if not isinstance(node, Scope):
            stack.extend(ast.iter_child_nodes(node))
    return found


def _binds(node: ast.AST, name: str) -> bool:
    if isinstance(node, ast.Name):
        return node.id == name and not isinstance(node.ctx, ast.Load)
    if isinstance(node, Function | ast.ClassDef):
        return node.name == name
    if isinstance(node, ast.alias):
        return (node.asname or node.name.partition(".")[0]) == name
    return isinstance(node, ast.arg) and node.arg == name


def _value(source: Source, node: ast.AST) -> ast.AST:
    """The value that a binding name gets, or the binding itself."""
    parent = source.parents.get(node)
    if isinstance(parent, ast.Assign) and node in parent.targets:
        return parent.value
    if isinstance(parent, ast.AnnAssign | ast.NamedExpr) and parent.value is not None:
        return parent.value
    if isinstance(parent, ast.withitem):
        return parent.context_expr
    return node
