"""What comes from outside: a request's parts, and the parameters of those who answer requests.

Invariant: "from outside" is said only where the text shows it within one function, and only while nothing has
looked at the value: a call ends the trail (it may have checked it), except for the few that only rearrange
text, and so does a name that is given anything else too.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace

from deltaloom_server.security.codemods.source import Function
from deltaloom_server.security.scanners.own.expressions import dotted, last_word, parameters
from deltaloom_server.security.scanners.own.view import Scope, View

_REQUEST_PARTS = frozenset(
    {
        "args", "form", "values", "cookies", "headers", "json", "data", "files", "view_args", "get_json",
        "GET", "POST", "COOKIES", "META", "body", "query_params", "path_params", "query", "match_info",
        "params", "path", "url", "referrer",
    }
)  # fmt: skip
_ROUTES = frozenset({"route", "get", "post", "put", "patch", "delete", "api_route", "websocket", "head"})
_REARRANGING = frozenset(
    {"input", "str", "urllib.parse.unquote", "urllib.parse.unquote_plus", "urllib.parse.parse_qs"}
)
_TEXT_METHODS = frozenset(
    {"get", "getlist", "strip", "lstrip", "rstrip", "lower", "upper", "decode", "encode", "get_json", "read"}
)
_REQUESTS = frozenset({"flask.request", "bottle.request"})
_ARGUMENT_METHODS = frozenset({"get_argument", "get_query_argument", "get_body_argument"})
_HARMLESS_TYPES = frozenset({"int", "float", "bool", "UUID", "Decimal", "date", "datetime"})
_NO_INPUTS = frozenset({"self", "cls", "request", "req", "response", "db", "session"})
_LONGEST = 6
"""Names in a row from a value to where it comes from."""


def is_outside(view: View, node: ast.expr, extra: frozenset[str] = frozenset()) -> bool:
    """Does an expression hold text from outside, unchecked? `extra` are names that count as outside too."""
    scope = view.scope(node)
    return _Trail(view, scope, handler_inputs(scope) | extra).outside(node)


def handler_inputs(scope: Scope) -> frozenset[str]:
    """Parameters that a request sets: those of a decorated route, or of a Django view."""
    if not isinstance(scope, Function):
        return frozenset()
    given = parameters(scope)
    if not is_routed(scope) and next(iter(given), "") != "request":
        return frozenset()
    return frozenset(name for name, one in given.items() if name not in _NO_INPUTS and not _is_harmless(one))


def is_routed(function: Function) -> bool:
    """Does a decorator make it answer requests (`@app.get("/x")`)?"""
    return any(
        isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute) and one.func.attr in _ROUTES
        for one in function.decorator_list
    )


@dataclass(frozen=True, slots=True)
class _Trail:
    """The way back from a value. `seen`: names passed; `meeting`: the answer for meeting one again."""

    view: View
    scope: Scope
    inputs: frozenset[str]
    seen: frozenset[str] = frozenset()
    meeting: bool = False

    def outside(self, node: ast.expr) -> bool:
        match node:
            case ast.Name(id=name):
                return self._name(name)
            case ast.Attribute(value=value, attr=attr):
                return self._is_request_part(node) or (attr == "filename" and self.outside(value))
            case ast.Subscript(value=value) | ast.Await(value=value) | ast.Starred(value=value):
                return self.outside(value)
            case ast.FormattedValue(value=value) | ast.NamedExpr(value=value):
                return self.outside(value)
            case ast.JoinedStr(values=parts) | ast.BoolOp(values=parts):
                return self._any(*parts)
            case ast.BinOp(left=left, op=ast.Add() | ast.Mod() | ast.Div(), right=right):
                return self._any(left, right)
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                return self._any(*parts)
            case ast.IfExp(body=body, orelse=other):
                return self._any(body, other)
            case ast.Call():
                return self._call(node)
        return False

    def _any(self, *nodes: ast.expr) -> bool:
        return any(self.outside(one) for one in nodes)

    def _name(self, name: str) -> bool:
        if name in self.seen:
            return self.meeting
        if len(self.seen) >= _LONGEST:
            return False
        given = [
            one for one in self.view.values(name, self.scope) if one and not isinstance(one, ast.Constant)
        ]
        is_input = name in self.inputs
        if not given:
            return is_input
        inner = replace(self, seen=self.seen | {name})
        through = replace(inner, meeting=True)
        return all(map(through.outside, given)) and (is_input or any(map(inner.outside, given)))

    def _call(self, call: ast.Call) -> bool:
        if name := self.view.name_among(call.func, _REARRANGING):
            return name == "input" or self._any(*call.args)
        if not isinstance(call.func, ast.Attribute):
            return False
        method, owner = call.func.attr, call.func.value
        if method in _ARGUMENT_METHODS:
            return dotted(owner) == "self"
        if method in ("format", "join"):
            return self._any(*call.args, *(one.value for one in call.keywords))
        if method in _TEXT_METHODS:
            return self._is_request_part(call.func) or self.outside(owner)
        return False

    def _is_request_part(self, node: ast.Attribute) -> bool:
        """`request.args` and its like."""
        if node.attr not in _REQUEST_PARTS:
            return False
        if dotted(node.value) in ("request", "self.request", "flask.request"):
            return True
        return bool(self.view.name_among(node.value, _REQUESTS))


def _is_harmless(argument: ast.arg) -> bool:
    """By its type: a number, or something that a framework makes and checks itself."""
    note = argument.annotation
    if note is None:
        return False
    simple = isinstance(note, ast.Name | ast.Constant | ast.BinOp | ast.Subscript)
    return last_word(note) in _HARMLESS_TYPES or not simple
