"""What expressions take from elsewhere: from a request, from an imported module.

Invariant: only what is read counts; what is called is a matter of calls.
"""

from __future__ import annotations

import ast

from deltaloom_server.security.codemods.source import Source

from ..words import words

_REQUESTED = words("flask quart starlette fastapi bottle aiohttp sanic tornado")
"""Packages whose `request` gives what somebody outside has sent."""


def outer_values(node: ast.AST, source: Source) -> frozenset[str]:
    """What an expression takes from a request: "flask.request.args"."""
    return frozenset(name for one in ast.walk(node) if (name := outer_value(one, source)))


def outer_value(node: ast.AST, source: Source) -> str:
    """The part of a request that an expression is, by its full name; "" for anything else."""
    if not isinstance(node, ast.Attribute) or not isinstance(node.ctx, ast.Load):
        return ""
    parent = source.parents.get(node)
    if isinstance(parent, ast.Call) and parent.func is node:
        return ""
    full = source.qualified(node)
    packages = full.split(".")
    return full if packages[0] in _REQUESTED and "request" in packages else ""


def imported_values(node: ast.AST, source: Source, *, deeply: bool = True) -> frozenset[str]:
    """What an expression takes from modules without calling it: "string.digits"."""
    found = set()
    for one in ast.walk(node) if deeply else (node,):
        parent = source.parents.get(one)
        if isinstance(one, ast.Attribute) and not isinstance(parent, ast.Attribute):
            called = isinstance(parent, ast.Call) and parent.func is one
            if not called and (full := source.qualified(one)):
                found.add(full)
    return frozenset(found)
