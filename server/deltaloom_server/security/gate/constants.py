"""What an expression is worth that holds nothing but constants.

Invariant: nothing is evaluated that could take long or have an effect; None means "can't tell", and a value
comes wrapped, so that the constant None is told from it.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Value:
    """A constant."""

    value: object


def folded(node: ast.expr) -> Value | None:
    """The value of literals, `not`, `and`, `or`, comparisons, conditional expressions, bool(), int(), len()
    of them; and of what is true or false whatever the names in it stand for."""
    if isinstance(node, ast.Constant):
        return Value(node.value)
    if isinstance(node, ast.List | ast.Tuple | ast.Set | ast.Dict | ast.JoinedStr):
        return _container(node)
    if isinstance(node, ast.UnaryOp):
        inner = folded(node.operand)
        if inner is None:
            return None
        if isinstance(node.op, ast.Not):
            return Value(not inner.value)
        if isinstance(node.op, ast.USub) and isinstance(inner.value, int | float):
            return Value(-inner.value)
        return None
    if isinstance(node, ast.BoolOp):
        return _bool_op(node)
    if isinstance(node, ast.Compare):
        return _compare(node)
    if isinstance(node, ast.IfExp):
        test = folded(node.test)
        return None if test is None else folded(node.body if test.value else node.orelse)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        return _call(node.func.id, node.args)
    return None


def _container(node: ast.List | ast.Tuple | ast.Set | ast.Dict | ast.JoinedStr) -> Value | None:
    """Only whether it is empty: enough to say whether it is true."""
    if isinstance(node, ast.JoinedStr):
        return (
            Value(True) if any(isinstance(one, ast.Constant) and one.value for one in node.values) else None
        )
    items = node.keys if isinstance(node, ast.Dict) else node.elts
    if any(one is None or isinstance(one, ast.Starred) for one in items):
        return None
    return Value(tuple(ast.dump(one) for one in items if one is not None))


def _bool_op(node: ast.BoolOp) -> Value | None:
    known = [folded(one) for one in node.values]
    decides = isinstance(node.op, ast.Or)
    for one in known:
        if one is not None and bool(one.value) is decides:
            return Value(decides)
    return Value(not decides) if all(one is not None for one in known) else None


def _compare(node: ast.Compare) -> Value | None:
    if len(node.ops) != 1:
        return None
    left, right, op = node.left, node.comparators[0], node.ops[0]
    if ast.dump(left) == ast.dump(right) and not any(isinstance(one, ast.Call) for one in ast.walk(left)):
        if isinstance(op, ast.Eq | ast.Is | ast.LtE | ast.GtE):
            return Value(True)
        if isinstance(op, ast.NotEq | ast.IsNot | ast.Lt | ast.Gt):
            return Value(False)
    if _is_length(left) and isinstance(right, ast.Constant) and right.value == 0:
        if isinstance(op, ast.GtE):
            return Value(True)
        if isinstance(op, ast.Lt):
            return Value(False)
    one, other = folded(left), folded(right)
    if one is None or other is None:
        return None
    if isinstance(op, ast.Eq | ast.Is):
        return Value(one.value == other.value)
    if isinstance(op, ast.NotEq | ast.IsNot):
        return Value(one.value != other.value)
    if isinstance(one.value, int | float) and isinstance(other.value, int | float):
        less, equal = one.value < other.value, one.value == other.value
        results = {ast.Lt: less, ast.LtE: less or equal, ast.Gt: not (less or equal), ast.GtE: not less}
        return Value(results[type(op)]) if type(op) in results else None
    return None


def _is_length(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "len"


def _call(name: str, arguments: list[ast.expr]) -> Value | None:
    if name == "isinstance" and len(arguments) == 2:
        kind = arguments[1]
        return Value(True) if isinstance(kind, ast.Name) and kind.id == "object" else None
    if name in ("bool", "int", "float", "len") and len(arguments) == 1:
        inner = folded(arguments[0])
        if inner is None:
            return None
        if name == "bool":
            return Value(bool(inner.value))
        if name == "len":
            return Value(len(inner.value)) if isinstance(inner.value, str | bytes | tuple) else None
        return Value(inner.value) if isinstance(inner.value, bool | int | float) else None
    if name in ("bool", "int", "str", "list", "dict", "tuple", "set") and not arguments:
        return Value(None)
    return None


def is_composed_string(node: ast.expr) -> bool:
    """A string is computed though nothing in it varies: "md" + "5", "".join(["m", "d5"]), "5dm"[::-1]."""
    if isinstance(node, ast.Constant) or not _holds_string(node) or _varies(node):
        return False
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.Add | ast.Mod)
    if isinstance(node, ast.JoinedStr):
        return len(node.values) > 0 and any(isinstance(one, ast.FormattedValue) for one in node.values)
    if isinstance(node, ast.Subscript):
        return isinstance(node.value, ast.Constant)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return isinstance(node.func.value, ast.Constant) and node.func.attr not in ("encode", "format_map")
    return False


def _holds_string(node: ast.expr) -> bool:
    return any(isinstance(one, ast.Constant) and isinstance(one.value, str | bytes) for one in ast.walk(node))


def _varies(node: ast.expr) -> bool:
    return any(isinstance(one, ast.Name | ast.Await | ast.Yield) for one in ast.walk(node))


_OPPOSITES: tuple[tuple[type[ast.cmpop], type[ast.cmpop]], ...] = (
    (ast.Eq, ast.NotEq),
    (ast.Is, ast.IsNot),
    (ast.In, ast.NotIn),
    (ast.Lt, ast.GtE),
    (ast.Gt, ast.LtE),
)


def negates(one: ast.expr, other: ast.expr) -> bool:
    """Is one condition, as it is written, true exactly where the other is false?"""
    for first, second in ((one, other), (other, one)):
        if (
            isinstance(first, ast.UnaryOp)
            and isinstance(first.op, ast.Not)
            and ast.dump(first.operand) == ast.dump(second)
        ):
            return True
    if isinstance(one, ast.BoolOp) and isinstance(other, ast.BoolOp):
        return (
            type(one.op) is not type(other.op)
            and len(one.values) == len(other.values)
            and all(map(negates, one.values, other.values))
        )
    if (
        isinstance(one, ast.Compare)
        and isinstance(other, ast.Compare)
        and len(one.ops) == len(other.ops) == 1
    ):
        kinds = {type(one.ops[0]), type(other.ops[0])}
        same = ast.dump(one.left) == ast.dump(other.left)
        same = same and ast.dump(one.comparators[0]) == ast.dump(other.comparators[0])
        return same and any(kinds == set(pair) for pair in _OPPOSITES)
    return False
