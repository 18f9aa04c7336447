"""Reading expressions: names, arguments, and texts that are put together from pieces.

Invariant: these functions look at one expression and at nothing around it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable

from deltaloom_server.security.codemods.source import Function


def parameters(function: Function) -> dict[str, ast.arg]:
    """A function's parameters by name, in order."""
    every = function.args
    return {one.arg: one for one in (*every.posonlyargs, *every.args, *every.kwonlyargs)}


def dotted(node: ast.expr) -> str:
    """ "self.request.args" for such an expression, else ""."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join((node.id, *reversed(parts))) if isinstance(node, ast.Name) else ""


def last_word(node: ast.expr) -> str:
    """The name by which an expression is known: `a.b.token` and `a["token"]` are "token"."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(slice=ast.Constant(value=str() as name)):
            return name
        case ast.Call(func=ast.Attribute(attr="get"), args=[ast.Constant(value=str() as name), *_]):
            return name
    return ""


def keyword(call: ast.Call, name: str) -> ast.expr | None:
    """The value of a keyword argument."""
    return next((one.value for one in call.keywords if one.arg == name), None)


def argument(call: ast.Call, position: int, *names: str) -> ast.expr | None:
    """An argument by place or by one of its names."""
    if position < len(call.args) and not any(
        isinstance(one, ast.Starred) for one in call.args[: position + 1]
    ):
        return call.args[position]
    return next((one.value for one in call.keywords if one.arg in names), None)


def is_const(node: ast.expr | None, value: object) -> bool:
    """Is it this constant, of this very type?"""
    return isinstance(node, ast.Constant) and type(node.value) is type(value) and node.value == value


def words(name: str) -> list[str]:
    """The words of an identifier, in lower case: "apiKey" and "API_KEY" are ["api", "key"]."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]


def pieces(node: ast.expr) -> Iterable[ast.expr]:
    """What is put into a text that is put together here: f-string fields, operands, format's arguments."""
    match node:
        case ast.JoinedStr(values=values):
            return [one.value for one in values if isinstance(one, ast.FormattedValue)]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return [*_operand(left), *_operand(right)]
        case ast.BinOp(left=ast.Constant(value=str()), op=ast.Mod(), right=ast.Tuple(elts=parts)):
            return parts
        case ast.BinOp(left=ast.Constant(value=str()), op=ast.Mod(), right=right):
            return [right]
        case ast.Call(func=ast.Attribute(value=ast.Constant(value=str()), attr="format")):
            return [*node.args, *(one.value for one in node.keywords)]
    return []


def is_put_together(node: ast.expr) -> bool:
    """Is it a text made of pieces, some of which are no constants?"""
    return any(not isinstance(one, ast.Constant) and not last_word(one).isupper() for one in pieces(node))


def _operand(node: ast.expr) -> Iterable[ast.expr]:
    if isinstance(node, ast.Constant):
        return []
    inner = list(pieces(node))
    return inner if inner or isinstance(node, ast.JoinedStr) else [node]
