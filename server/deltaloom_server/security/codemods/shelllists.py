"""Commands whose words stand in a list before they become a line for a shell.

Invariant: the list has the words that the shell would have made of the line.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

from deltaloom_server.security.codemods.above import built_above
from deltaloom_server.security.codemods.matching import bindings
from deltaloom_server.security.codemods.shellwords import BUILTINS, unquoted_value
from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.codemods.template import Hole, constant_string

_PLAIN = re.compile(r"[\w@%+=:,./-]+")
_SEVERAL = re.compile(
    r"(?:^|_)(?:args|arguments|flags|options|opts|params|extra|cmd|command)$", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Listed:
    """`text` is a list in place of `replaced`; None: the argument is a list as it stands."""

    text: str
    replaced: ast.expr | None


def list_of(source: Source, line: ast.expr) -> Listed | None:
    """The list that a command is, or was joined from."""
    if _is_list(source, line):
        return Listed("", None)
    built = built_above(source, line)
    value = built.value if built is not None else line
    joined = _joined(source, value)
    if joined is None:
        return None
    if source.qualified(value.func if isinstance(value, ast.Call) else value) == "shlex.join":
        return Listed(source.segment(joined), value)
    members = joined.elts if isinstance(joined, ast.List | ast.Tuple) else None
    if members is not None:
        texts = [_member(source, one) for one in members]
        known = [text for text in texts if text]
        return Listed(f"[{', '.join(known)}]", value) if len(known) == len(texts) and known else None
    inner = built_above(source, joined)
    if inner is None or not isinstance(inner.value, ast.List):
        return None
    if any(_member(source, one) != source.segment(one) for one in inner.value.elts):
        return None
    return Listed(source.segment(joined), value)


def _is_list(source: Source, line: ast.expr) -> bool:
    if isinstance(line, ast.Name):
        found = bindings(source, line)
        return bool(found) and all(isinstance(one, ast.List) and _separate(source, one) for one in found)
    return isinstance(line, ast.List | ast.Tuple) and _separate(source, line)


def _separate(source: Source, listed: ast.List | ast.Tuple) -> bool:
    """Is the first member a program, and not a whole line?"""
    first = constant_string(source, listed.elts[0]) if listed.elts else None
    return first is not None and _PLAIN.fullmatch(first) is not None and first not in BUILTINS


def _joined(source: Source, node: ast.expr) -> ast.expr | None:
    """What `" ".join(…)` or `shlex.join(…)` joins."""
    if not isinstance(node, ast.Call) or len(node.args) != 1 or node.keywords:
        return None
    called = node.func
    spaced = (
        isinstance(called, ast.Attribute) and called.attr == "join"
        and isinstance(called.value, ast.Constant) and called.value.value == " "
    )  # fmt: skip
    return node.args[0] if spaced or source.qualified(called) == "shlex.join" else None


def _member(source: Source, node: ast.expr) -> str:
    """A member as one word; "" where the shell may have made more, or another, of it."""
    if isinstance(node, ast.Constant):
        plain = isinstance(node.value, str) and _PLAIN.fullmatch(node.value)
        return source.segment(node) if plain else ""
    if isinstance(node, ast.Starred | ast.JoinedStr | ast.BinOp | ast.IfExp):
        return ""
    unquoted = unquoted_value(source, Hole(node, source.segment(node)))
    if unquoted is not None:
        return unquoted.text
    return "" if _SEVERAL.search(ast.unparse(node).rpartition(".")[2]) else source.segment(node)


def passed_to(source: Source, name: ast.Name) -> list[ast.expr]:
    """What all calls of a function in this file give to one of its parameters; empty: not known."""
    function = source.enclosing_function(name)
    found = bindings(source, name)
    if function is None or len(found) != 1 or not isinstance(found[0], ast.arg) or function.decorator_list:
        return []
    arguments = [one.arg for one in (*function.args.posonlyargs, *function.args.args)]
    if name.id not in arguments:
        return []
    method = arguments[0] in ("self", "cls")
    place = arguments.index(name.id) - int(method)
    given: list[ast.expr] = []
    for one in ast.walk(source.tree):
        named = isinstance(one, ast.Attribute) and one.attr == function.name and not source.qualified(one)
        if not (named if method else isinstance(one, ast.Name) and one.id == function.name):
            continue
        parent = source.parents[one]
        if not isinstance(parent, ast.Call) or parent.func is not one or len(parent.args) <= place:
            return []
        if any(isinstance(each, ast.Starred) for each in parent.args):
            return []
        given.append(parent.args[place])
    return given
