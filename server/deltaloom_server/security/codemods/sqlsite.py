"""Where SQL that was put together is executed, and what is passed beside it.

Invariant: a site is found only where the string reaches one call, by itself or by one variable.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

from deltaloom_server.security.codemods.above import Built, built_above
from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.codemods.sqldrivers import EXECUTE, Driver, executes_with_parameters
from deltaloom_server.security.codemods.template import holes_in, parts_of, quoted
from deltaloom_server.security.finding import Finding

_TEXT = frozenset(("sqlalchemy.text", "sqlalchemy.sql.text", "sqlalchemy.sql.expression.text"))


@dataclass(frozen=True, slots=True)
class Site:
    """`template` is the string, `argument` what stands first in the call that executes it (the same, a
    variable that holds it, or `text(…)` around one of them)."""

    template: ast.expr
    argument: ast.expr
    call: ast.Call
    built: Built | None
    text_call: ast.Call | None


@dataclass(frozen=True, slots=True)
class Given:
    """What a call passes beside its SQL: `node` as one argument, its members' texts in `existing`.

    `keyword`: the name under which new ones are passed; `position`: their place among the arguments.
    """

    node: ast.expr | None
    existing: tuple[str, ...] | None
    keyword: str
    position: int

    @classmethod
    def of(cls, call: ast.Call, driver: Driver, wrapper: tuple[str, int, ast.Call] | None) -> Given | None:
        """None where what is passed can't be read."""
        assert isinstance(call.func, ast.Attribute | ast.Name)
        pandas = isinstance(call.func, ast.Attribute) and call.func.attr.startswith("read_sql")
        keyword, position = ("params", 5) if pandas else (wrapper[0], wrapper[1]) if wrapper else ("", 1)
        if driver.style == "numeric":
            if call.keywords:
                return None
            texts = tuple(ast.unparse(one) for one in call.args[1:])
            return cls(None, texts or None, "", len(call.args))
        if any(one.arg != keyword for one in call.keywords) and not pandas:
            return None
        named = next((one.value for one in call.keywords if one.arg == keyword and keyword), None)
        node = named if named is not None else call.args[position] if len(call.args) > position else None
        if len(call.args) > position + 1 or (node is None and not pandas and len(call.args) != position):
            return None
        if node is None:
            return cls(None, None, keyword, position)
        if driver.style == "named":
            if not isinstance(node, ast.Dict) or not all(
                isinstance(key, ast.Constant) and isinstance(key.value, str) for key in node.keys
            ):
                return None
            keys = tuple(str(key.value) for key in node.keys if isinstance(key, ast.Constant))
            return cls(node, keys, keyword, position)
        if not isinstance(node, ast.Tuple | ast.List) or any(isinstance(o, ast.Starred) for o in node.elts):
            return None
        return cls(node, tuple(ast.unparse(one) for one in node.elts), keyword, position)


def template_at(source: Source, finding: Finding) -> ast.expr | None:
    """The whole string expression that a finding is about."""
    for node in source.nodes_at(finding.span):
        if isinstance(node, ast.JoinedStr | ast.BinOp | ast.Call) or (
            isinstance(node, ast.Constant) and isinstance(node.value, str)
        ):
            whole = _outermost(source, node)
            parts = parts_of(source, whole)
            if parts is not None and holes_in(parts):
                return whole
    return None


def _outermost(source: Source, node: ast.expr) -> ast.expr:
    while True:
        parent = source.parents[node]
        added = isinstance(parent, ast.BinOp) and isinstance(parent.op, ast.Add | ast.Mod)
        if isinstance(parent, ast.expr) and (added or isinstance(parent, ast.JoinedStr | ast.FormattedValue)):
            node = parent
        elif isinstance(parent, ast.Attribute) and parent.attr == "format":
            call = source.parents[parent]
            if not isinstance(call, ast.Call) or call.func is not parent:
                return node
            node = call
        else:
            return node


def site_of(source: Source, template: ast.expr) -> Site | None:
    """Where a string is executed."""
    argument, text_call, built = template, None, None
    while True:
        parent = source.parents[argument]
        if isinstance(parent, ast.Assign | ast.AnnAssign) and built is None:
            name = _read_of(source, parent)
            built = built_above(source, name) if name is not None else None
            if name is None or built is None or built.statement is not parent:
                return None
            argument = name
            continue
        if not isinstance(parent, ast.Call) or not parent.args or parent.args[0] is not argument:
            return None
        if source.qualified(parent.func) in _TEXT and len(parent.args) == 1 and not parent.keywords:
            text_call = parent
            argument = parent
            continue
        known = isinstance(parent.func, ast.Attribute) and parent.func.attr in EXECUTE
        if not known and wrapper_of(source, parent) is None:
            return None
        return Site(template, argument, parent, built, text_call)


def _read_of(source: Source, statement: ast.Assign | ast.AnnAssign) -> ast.Name | None:
    """The one place where a variable is passed first to a call."""
    target = statement.target if isinstance(statement, ast.AnnAssign) else statement.targets[0]
    if not isinstance(target, ast.Name):
        return None
    scope = source.enclosing_function(statement) or source.tree
    found = []
    for one in ast.walk(scope):
        if isinstance(one, ast.Name) and one.id == target.id and isinstance(one.ctx, ast.Load):
            parent = source.parents[one]
            if isinstance(parent, ast.Call) and parent.args and parent.args[0] is one:
                known = isinstance(parent.func, ast.Attribute) and parent.func.attr in EXECUTE
                if known or source.qualified(parent.func) in _TEXT or wrapper_of(source, parent) is not None:
                    found.append(one)
    return found[0] if len(found) == 1 else None


def wrapper_of(source: Source, call: ast.Call) -> tuple[str, int, ast.Call] | None:
    """The file's own function that a call passes its SQL to."""
    if isinstance(call.func, ast.Attribute) and call.func.attr not in EXECUTE:
        return executes_with_parameters(source, call.func.attr)
    return executes_with_parameters(source, call.func.id) if isinstance(call.func, ast.Name) else None


def string_literal(source: Source, node: ast.expr, text: str) -> str:
    """A literal in a node's place: over several lines where the node was, in the way it was."""
    segment = source.segment(node)
    triple = next((mark for mark in ('"""', "'''") if mark in segment), "")
    if triple and "\n" in text and triple not in text and not text.endswith(triple[0]):
        return triple + text.replace("\\", "\\\\").replace("\n", source.line_end) + triple
    whole = quoted(text)
    column = source.start(node) - source.line_start(node.lineno - 1)
    if "\n" not in segment or column + len(whole) < 100:
        return whole
    line = source.lines[node.lineno - 1]
    indent = line[: len(line) - len(line.lstrip(" \t"))] + "    "
    pieces, piece = [], ""
    for word in text.split(" "):
        if piece and len(indent) + len(piece) + len(word) > 96:
            pieces.append(piece)
            piece = ""
        piece += word + " "
    pieces.append(piece[:-1])
    lines = [f"{source.line_end}{indent}{quoted(one)}" for one in pieces]
    return f"({''.join(lines)}{source.line_end}{indent[:-4]})"
