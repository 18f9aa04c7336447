"""Which node of the tree an issue of bandit's is about: the argument that is wrong, where there is one.

Invariant: an issue that ruff reports too begins on the line where ruff's finding begins, so that both are one
finding, and its identity doesn't depend on which of them saw it.

Bandit gives the line of the argument with the column of the call, and whole functions for their defaults.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from deltaloom_server.security.codemods.source import Function, Located


@dataclass(frozen=True, slots=True)
class _Argument:
    """The argument of a call: by these names, or at this position."""

    names: tuple[str, ...]
    position: int | None = None


_ARGUMENTS: Mapping[str, _Argument] = MappingProxyType(
    {
        "B103": _Argument(("mode",), 1),
        "B113": _Argument(("timeout",)),
        "B201": _Argument(("debug",)),
        "B501": _Argument(("verify",)),
        "B502": _Argument(("ssl_version", "method")),
        "B505": _Argument(("bits", "key_size", "curve")),
        "B507": _Argument(("policy",), 0),
        "B508": _Argument(("mpModel",)),
        "B607": _Argument(("args",), 0),
        "B609": _Argument(("args",), 0),
        "B701": _Argument(("autoescape",)),
    }
)
_SSL_NAMES = ("PROTOCOL_", "SSLv")


def reported_node(issue: Any, node: ast.AST) -> Located:
    """The node whose place is the finding's, for an issue that bandit raised while it visited `node`."""
    assert isinstance(node, Located)
    found: Located | None = None
    match issue.test_id, node:
        case "B105", ast.Constant():
            found = _assigned_value(node)
        case "B106", ast.Call():
            found = next((k for k in node.keywords if _is_quoted(k.value, issue)), None)
        case "B107", ast.FunctionDef() | ast.AsyncFunctionDef():
            found = next((value for value in _defaults(node) if _is_quoted(value, issue)), None)
        case "B324", ast.Call():
            found = _hash_name(node)
        case "B503", ast.FunctionDef() | ast.AsyncFunctionDef():
            found = next((value for value in _defaults(node) if _names_protocol(value)), None)
        case "B505", ast.Call():
            found = _argument(node, _ARGUMENTS["B505"]) or _key_size(node)
        case "B608", ast.Constant():
            found = _built_text(node)
        case test, ast.Call() if test in _ARGUMENTS:
            found = _argument(node, _ARGUMENTS[test])
        case _, ast.Constant():
            parent = _parent(node)
            # Before Python 3.12 a piece of an f-string has the place of the whole.
            found = parent if isinstance(parent, ast.JoinedStr) else None
    return found or node


def _argument(call: ast.Call, wanted: _Argument) -> Located | None:
    for keyword in call.keywords:
        if keyword.arg in wanted.names:
            return keyword
    if wanted.position is not None and len(call.args) > wanted.position:
        return call.args[wanted.position]
    return None


def _key_size(call: ast.Call) -> Located | None:
    return next((argument for argument in call.args if isinstance(argument, ast.Constant)), None)


def _hash_name(call: ast.Call) -> Located | None:
    """The name that `hashlib.new` is given."""
    if not (isinstance(call.func, ast.Attribute | ast.Name) and _last_name(call.func) == "new"):
        return None
    found = _argument(call, _Argument(("name",), 0))
    return found.value if isinstance(found, ast.keyword) else found


def _assigned_value(node: ast.Constant) -> Located | None:
    """The value that stands at a key: bandit reports the key."""
    parent = _parent(node)
    if isinstance(parent, ast.Dict):
        return next((v for k, v in zip(parent.keys, parent.values, strict=True) if k is node), None)
    if isinstance(parent, ast.Subscript):
        statement = _parent(parent)
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant):
            return statement.value
    return None


def _built_text(node: ast.expr) -> Located:
    """The whole expression that builds a text of which `node` is a piece."""
    here: ast.AST = node
    while True:
        parent = _parent(here)
        if isinstance(parent, ast.Attribute) and parent.attr in ("format", "replace"):
            parent = _parent(parent)
        elif not isinstance(parent, ast.JoinedStr | ast.BinOp):
            break
        if parent is None:
            break
        here = parent
    return here if isinstance(here, Located) else node


def _defaults(function: Function) -> Iterator[ast.expr]:
    yield from function.args.defaults
    yield from (value for value in function.args.kw_defaults if value is not None)


def _is_quoted(value: ast.expr, issue: Any) -> bool:
    """Is this the constant that the issue's message repeats?"""
    return (
        isinstance(value, ast.Constant) and isinstance(value.value, str) and f"'{value.value}'" in issue.text
    )


def _names_protocol(value: ast.expr) -> bool:
    return isinstance(value, ast.Attribute | ast.Name) and _last_name(value).startswith(_SSL_NAMES)


def _last_name(node: ast.Attribute | ast.Name) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id


def _parent(node: ast.AST) -> ast.AST | None:
    parent = getattr(node, "_bandit_parent", None)
    assert parent is None or isinstance(parent, ast.AST)
    return parent
