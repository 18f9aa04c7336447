"""Strings that are put together from literals and values, taken apart again.

Invariant: put together in the order given, the parts have the value that the expression had; where that can't
be told from the text alone, there are none.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from string import Formatter

from deltaloom_server.security.codemods.source import Source

_PERCENT = re.compile(
    r"%(?:\((?P<key>[^()]*)\))?(?P<shape>[#0\- +]*(?:\d+)?(?:\.\d+)?)[hlL]?(?P<kind>[diouxXeEfFgGcrsa%])"
)
_UNFIT = (ast.Lambda, ast.NamedExpr, ast.Yield, ast.YieldFrom, ast.Starred, ast.GeneratorExp)


@dataclass(frozen=True, slots=True)
class Hole:
    """A value in a string. `text`: how it can be written as an argument. `is_text`: it is a str already.

    `shaped`: a format specification or a conversion makes it what it is (`text` has it).
    """

    node: ast.expr
    text: str
    is_text: bool = False
    shaped: bool = False


Part = str | Hole


def parts_of(source: Source, node: ast.expr) -> tuple[Part, ...] | None:
    """The parts of a string expression, no two literals side by side; None where it isn't one.

    Literals, f-strings, `+`, `%` and `.format`; at least one part is a literal.
    """
    found = _parts(source, node)
    if found is None or not any(isinstance(part, str) for part in found):
        return None
    return tuple(_merged(found))


def is_constant(parts: Sequence[Part]) -> bool:
    """No value is in it."""
    return all(isinstance(part, str) for part in parts)


def holes_in(parts: Sequence[Part]) -> list[Hole]:
    """The values, in order."""
    return [part for part in parts if isinstance(part, Hole)]


def constant_string(source: Source, node: ast.expr) -> str | None:
    """The value of a literal, or of a name that the module binds once, at its top, to one."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if not isinstance(node, ast.Name) or node.id in source.imports:
        return None
    bound = [
        one
        for one in ast.walk(source.tree)
        if (isinstance(one, ast.Name) and one.id == node.id and not isinstance(one.ctx, ast.Load))
        or (isinstance(one, ast.arg) and one.arg == node.id)
        or (isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and one.name == node.id)
    ]
    if len(bound) != 1:
        return None
    statement = source.parents[bound[0]]
    if statement not in source.tree.body or not isinstance(statement, ast.Assign | ast.AnnAssign):
        return None
    value = statement.value
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else None


def compose(parts: Sequence[Part]) -> str:
    """An expression whose value is the string that the parts make."""
    parts = tuple(_merged(parts))
    if not parts:
        return '""'
    if len(parts) == 1:
        [only] = parts
        return quoted(only) if isinstance(only, str) else as_text(only)
    if all(isinstance(part, str) or _fits_braces(part) for part in parts):
        letters = [_braced(part) if isinstance(part, Hole) else _doubled(part) for part in parts]
        mark = "'" if any('"' in one for one in letters) and not any("'" in one for one in letters) else '"'
        pieces = [
            one if isinstance(part, Hole) else _escaped(one, mark)
            for one, part in zip(letters, parts, strict=True)
        ]
        return f"f{mark}{''.join(pieces)}{mark}"
    return " + ".join(quoted(part) if isinstance(part, str) else _operand(part) for part in parts)


def as_text(hole: Hole) -> str:
    """The value as a str."""
    return hole.text if hole.is_text else f"str({hole.text})"


def quoted(text: str) -> str:
    """A Python literal, in double quotes where that needs no more escapes."""
    mark = "'" if '"' in text and "'" not in text else '"'
    return f"{mark}{_escaped(text, mark)}{mark}"


def _parts(source: Source, node: ast.expr) -> list[Part] | None:
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return _of_joined(source, node)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _of_sum(source, node)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
        return _of_percent(source, node)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        return _of_format(source, node, node.func.value)
    return None


def _of_joined(source: Source, node: ast.JoinedStr) -> list[Part] | None:
    found: list[Part] = []
    for value in node.values:
        if isinstance(value, ast.Constant):
            found.append(str(value.value))
            continue
        assert isinstance(value, ast.FormattedValue)
        inner = value.value
        if isinstance(inner, _UNFIT):
            return None
        shaped = value.conversion != -1 or value.format_spec is not None
        text = ast.unparse(ast.JoinedStr([value])) if shaped else _written(source, inner, inside=True)
        found.append(Hole(inner, text, is_text=shaped or _is_text(source, inner), shaped=shaped))
    return found


def _of_sum(source: Source, node: ast.BinOp) -> list[Part] | None:
    found: list[Part] = []
    for side in (node.left, node.right):
        parts = _parts(source, side)
        if parts is None:
            if isinstance(side, (ast.BinOp, ast.IfExp, ast.BoolOp, ast.Constant, *_UNFIT)):
                return None
            parts = [Hole(side, _written(source, side), is_text=True)]
        found += parts
    return found


def _of_percent(source: Source, node: ast.BinOp) -> list[Part] | None:
    pattern = _pattern(source, node.left)
    if pattern is None:
        return None
    specs = [match for match in _PERCENT.finditer(pattern) if match["kind"] != "%"]
    values: Mapping[str | int, ast.expr]
    if isinstance(node.right, ast.Dict):
        values = {
            key.value: value
            for key, value in zip(node.right.keys, node.right.values, strict=True)
            if isinstance(key, ast.Constant) and isinstance(key.value, str)
        }
        if not all(spec["key"] in values for spec in specs):
            return None
    else:
        given = node.right.elts if isinstance(node.right, ast.Tuple) else [node.right]
        values = dict(enumerate(given))
        if len(specs) != len(given) or any(spec["key"] is not None for spec in specs):
            return None
    if any(isinstance(value, _UNFIT) for value in values.values()):
        return None
    found: list[Part] = []
    at = number = 0
    for match in _PERCENT.finditer(pattern):
        found.append(pattern[at : match.start()])
        at = match.end()
        if match["kind"] == "%":
            found.append("%")
            continue
        value = values[match["key"] if match["key"] is not None else number]
        number += 1
        found.append(_percent_hole(source, value, match["shape"], match["kind"]))
    found.append(pattern[at:])
    return None if "%" in _PERCENT.sub("", pattern) else found


def _percent_hole(source: Source, value: ast.expr, shape: str, kind: str) -> Hole:
    text = _written(source, value)
    if not shape and kind in "sdi":
        return Hole(value, text, is_text=kind == "s" and _is_text(source, value))
    return Hole(value, f'"%{shape}{kind}" % ({text},)', is_text=True, shaped=True)


def _of_format(source: Source, call: ast.Call, base: ast.expr) -> list[Part] | None:
    pattern = _pattern(source, base)
    if pattern is None or any(isinstance(one, ast.Starred) for one in call.args):
        return None
    named = {keyword.arg: keyword.value for keyword in call.keywords}
    if None in named:
        return None
    found: list[Part] = []
    number = 0
    try:
        fields = list(Formatter().parse(pattern))
    except ValueError:
        return None
    for literal, field, spec, conversion in fields:
        found.append(literal)
        if field is None:
            continue
        if not re.fullmatch(r"\w*", field) or (spec and "{" in spec):
            return None
        if not field or field.isdigit():
            index = int(field) if field else number
            number += 1
            value = call.args[index] if index < len(call.args) else None
        else:
            value = named.get(field)
        if value is None or isinstance(value, _UNFIT):
            return None
        text = _written(source, value)
        if spec or conversion:
            shape = (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
            found.append(Hole(value, f"{quoted('{' + shape + '}')}.format({text})", True, True))
        else:
            found.append(Hole(value, text, is_text=_is_text(source, value)))
    return found


def _pattern(source: Source, node: ast.expr) -> str | None:
    """The literal on the left of a `%` or before a `.format`."""
    constant = constant_string(source, node)
    if constant is not None:
        return constant
    parts = _parts(source, node) if isinstance(node, ast.BinOp | ast.JoinedStr) else None
    if parts is None or not is_constant(parts):
        return None
    return "".join(part for part in parts if isinstance(part, str))


def _written(source: Source, node: ast.expr, *, inside: bool = False) -> str:
    """Python before 3.12 doesn't know the places of what stands inside an f-string."""
    inside = inside or any(isinstance(one, ast.JoinedStr) for one in source.ancestors(node))
    return ast.unparse(node) if inside else source.segment(node)


def _is_text(source: Source, node: ast.expr) -> bool:
    """Is the value a str for certain, as far as annotations can be believed?"""
    if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        return True
    if isinstance(node, ast.Call):
        called = node.func
        if isinstance(called, ast.Attribute) and called.attr in _STRING_METHODS:
            return True
        return source.qualified(called) in _STRING_CALLS
    return annotation_of(source, node) == "str"


def annotation_of(source: Source, node: ast.expr) -> str:
    """What a parameter of the enclosing function that is never rebound is declared as; "" otherwise."""
    function = source.enclosing_function(node)
    if not isinstance(node, ast.Name) or function is None:
        return ""
    arguments = function.args
    for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
        if argument.arg == node.id and argument.annotation is not None:
            stored = any(
                isinstance(one, ast.Name) and one.id == node.id and not isinstance(one.ctx, ast.Load)
                for one in ast.walk(function)
            )
            return "" if stored else ast.unparse(argument.annotation)
    return ""


_STRING_METHODS = frozenset(
    ("strip", "lstrip", "rstrip", "lower", "upper", "title", "format", "join", "removeprefix", "removesuffix")
)
_STRING_CALLS = frozenset(
    ("str", "repr", "shlex.quote", "shlex.join", "os.path.join", "os.getenv", "os.path.basename",
     "os.path.dirname", "os.path.abspath", "os.getcwd", "json.dumps", "input")
)  # fmt: skip


def _merged(parts: Sequence[Part]) -> Iterator[Part]:
    text = ""
    for part in parts:
        if isinstance(part, str):
            text += part
            continue
        if text:
            yield text
        text = ""
        yield part
    if text:
        yield text


def _fits_braces(hole: Hole) -> bool:
    return not re.search(r"[\"'\\{}\n\r#!:]", hole.text)


def _braced(hole: Hole) -> str:
    return "{" + hole.text + "}"


def _doubled(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _operand(hole: Hole) -> str:
    text = as_text(hole)
    simple = isinstance(hole.node, ast.Name | ast.Attribute | ast.Subscript | ast.Call) and not hole.shaped
    return text if simple or text.startswith("str(") else f"({text})"


def _escaped(text: str, mark: str) -> str:
    letters = []
    for letter in text:
        if letter in (mark, "\\"):
            letters.append("\\" + letter)
        elif letter.isprintable():
            letters.append(letter)
        else:
            letters.append(repr(letter)[1:-1])
    return "".join(letters)
