"""SQL put together from literals and values: the values become parameters.

Invariant: a value becomes a parameter only where SQL allows one (after an operator, in VALUES, in a string);
if one of them stands anywhere else, the whole statement is left alone.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from deltaloom_server.security.codemods.above import built_above, keeps_its_values
from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.codemods.sqldrivers import Driver
from deltaloom_server.security.codemods.template import (
    Hole,
    Part,
    annotation_of,
    as_text,
    compose,
    constant_string,
)

MARK = "\ue000"
"""Stands for a parameter until the driver's own placeholder is put there."""

_VALUE_BEFORE = re.compile(
    r"(?:(?:[=<>]|\|\|)"
    r"|\b(?:LIKE|ILIKE|GLOB|REGEXP|RLIKE|MATCH|LIMIT|OFFSET|THEN|ELSE|BETWEEN|SIMILAR\s+TO|IS|IS\s+NOT)"
    r"|\bBETWEEN\s+" + MARK + r"\s+AND"
    r"|\bLIMIT\s+" + MARK + r"\s*,"
    r"|\bVALUES\s*(?:\([^()]*\)\s*,\s*)*\((?:[^()]|\([^()]*\))*,"
    r"|\b(?:LOWER|UPPER|COALESCE|IFNULL|NULLIF|ABS|DATE|DATETIME|ROUND|LENGTH|TRIM|CONCAT|INSTR|SUBSTR|"
    r"STRFTIME|CAST)\s*\((?:[^()]*,)?"
    r"|(?:=|\bSET\b|\bWHERE\b|\bAND\b)\s*[\w.]+\s*[-+*/]"
    r")\s*$",
    re.IGNORECASE,
)
_FIRST_OF_VALUES = re.compile(r"(?:\((?P<columns>[^()]*)\)\s*)?\bVALUES\s*(?:\([^()]*\)\s*,\s*)*\(\s*$", re.I)
_LIST_BEFORE = re.compile(r"(?P<not>\bNOT\s+)?\bIN\s*(?P<open>\(?)\s*$", re.IGNORECASE)
_STATEMENT = re.compile(
    r"\s*\(?\s*(?:SELECT|INSERT|UPDATE|DELETE|REPLACE|WITH|EXPLAIN|MERGE)\b", re.IGNORECASE
)
_TYPED_STRING = re.compile(r"(?:\w|\b(?:AS|INTERVAL|DATE|TIME|TIMESTAMP|ESCAPE|COLLATE)\s*)$", re.IGNORECASE)
_FRAGMENT = re.compile(
    r"placeholder|where|clause|\bsql|_sql|expr|subquery|columns|fields|marks|^values$|condition",
    re.IGNORECASE,
)


@dataclass
class Parameter:
    """One parameter: how to write its value, what to call it, and whether it is a list."""

    text: str
    name: str
    expanding: bool = False


@dataclass
class Statement:
    """SQL with a `MARK` for each parameter."""

    sql: str
    parameters: list[Parameter]
    inlined: list[str]


@dataclass
class _Reading:
    """Where the text has got to."""

    source: Source
    driver: Driver
    existing: list[str] | None
    out: str = ""
    mode: str = ""
    pieces: list[Part] = field(default_factory=list)
    parameters: list[Parameter] = field(default_factory=list)
    inlined: list[str] = field(default_factory=list)
    close: str = ""


def parameterise(
    source: Source,
    parts: Sequence[Part],
    driver: Driver,
    existing: Sequence[str] | None = None,
    *,
    whole: bool = True,
) -> Statement | None:
    """The statement with its values as parameters; None where one of them can't be.

    `existing`: the parameters that the call passes already, in order. `whole`: the parts are a statement from
    its start, and not a piece that is put behind another.
    """
    first = parts[0] if parts else ""
    if whole and not (isinstance(first, str) and _STATEMENT.match(first)):
        return None
    reading = _Reading(source, driver, list(existing) if existing is not None else None)
    for number, part in enumerate(parts):
        after = parts[number + 1] if number + 1 < len(parts) else ""
        if isinstance(part, str):
            done = _literal(reading, _decoded(part, driver, existing is not None))
        else:
            done = _hole(reading, part, after)
        if not done:
            return None
    left_over = reading.existing if driver.style in ("qmark", "format") else None
    if reading.mode not in ("", "--") or left_over or reading.close:
        return None
    return Statement(reading.out, reading.parameters, reading.inlined)


def written(statement: Statement, driver: Driver, existing: int = 0, *, parameters: bool = False) -> str:
    """The SQL with the driver's placeholders. `existing`: how many numbered ones there are already.

    `parameters`: the call passes some, whether or not this text has a place for one.
    """
    if not statement.parameters and not parameters:
        return statement.sql
    text = statement.sql.replace("%", "%%") if driver.style == "format" else statement.sql
    names = iter(statement.parameters)
    number = existing

    def placeholder() -> str:
        nonlocal number
        number += 1
        parameter = next(names)
        named = f":{parameter.name}"
        return {"qmark": "?", "format": "%s", "numeric": f"${number}", "named": named}[driver.style]

    return _each_mark(text, placeholder)


def _each_mark(text: str, placeholder: Callable[[], str]) -> str:
    first, *others = text.split(MARK)
    return "".join((first, *(placeholder() + one for one in others)))


def _decoded(text: str, driver: Driver, parameters: bool) -> str:
    """With the existing placeholders as MARK."""
    if not parameters or driver.style != "format":
        return text
    return re.sub(r"%[%s]", lambda match: MARK if match[0] == "%s" else "%", text)


def _literal(reading: _Reading, text: str) -> bool:
    at = 0
    while at < len(text):
        letter, pair = text[at], text[at : at + 2]
        if reading.close and not letter.isspace():
            if letter != reading.close:
                return False
            reading.close = ""
            at += 1
            continue
        if reading.mode in ("'", '"') and letter == reading.mode:
            if pair == letter * 2:
                reading.pieces.append(letter)
                at += 2
                continue
            if not _end_string(reading):
                return False
        elif reading.mode in ("'", '"'):
            if letter == MARK or (letter == "\\" and reading.driver.backslashes):
                return False
            reading.pieces.append(letter)
        elif reading.mode:
            reading.out += letter
            if (reading.mode, letter) in (("--", "\n"), ("`", "`")) or (
                reading.mode == "/*" and reading.out.endswith("*/")
            ):
                reading.mode = ""
        elif not _outside(reading, letter, pair):
            return False
        at += 1
    return True


def _outside(reading: _Reading, letter: str, pair: str) -> bool:
    """A letter that stands in no string and no comment."""
    if letter in "'\"":
        reading.mode, reading.pieces = letter, []
    elif pair in ("--", "/*"):
        reading.mode = pair
        reading.out += letter
    elif letter == "`":
        reading.mode = letter
        reading.out += letter
    elif letter == MARK or (letter == "?" and reading.driver.style == "qmark"):
        if not reading.existing:
            return False
        reading.out += MARK
        reading.parameters.append(Parameter(reading.existing.pop(0), "value"))
    else:
        reading.out += letter
        if reading.existing is None:
            unknown = {"numeric": letter == "$", "named": bool(re.match(r":\w", pair))}
            return not unknown.get(reading.driver.style, False)
    return True


def _end_string(reading: _Reading) -> bool:
    mark, pieces = reading.mode, reading.pieces
    reading.mode, reading.pieces = "", []
    if all(isinstance(piece, str) for piece in pieces):
        inner = "".join(piece for piece in pieces if isinstance(piece, str))
        reading.out += mark + inner.replace(mark, mark * 2) + mark
        return True
    if _TYPED_STRING.search(reading.out):
        return False
    if mark == '"' and not (reading.driver.double_quotes and _is_value(reading, "", '"')):
        return False
    if len(pieces) == 1 and isinstance(pieces[0], Hole):
        hole = _unescaped(reading.source, pieces[0])
        if hole is None:
            return False
        declared = annotation_of(reading.source, hole.node)
        exact = declared not in ("", "str") and reading.driver.style != "numeric"
        text = as_text(hole) if exact else hole.text
    else:
        holes = [_unescaped(reading.source, one) if isinstance(one, Hole) else one for one in pieces]
        if any(one is None for one in holes):
            return False
        hole = next(one for one in holes if isinstance(one, Hole))
        text = compose([one for one in holes if one is not None])
    return _add(reading, hole, text)


def _hole(reading: _Reading, hole: Hole, after: Part) -> bool:
    constant = None if hole.shaped else constant_string(reading.source, hole.node)
    if constant is not None:
        reading.inlined.append(hole.text)
        return _literal(reading, constant)
    if reading.close:
        return False
    if reading.mode in ("'", '"'):
        reading.pieces.append(hole)
        return True
    if reading.mode:
        return False
    listed = listed_values(reading.source, hole)
    if listed is not None:
        return _list(reading, hole, listed)
    following = after if isinstance(after, str) else "x"
    if re.match(r"[\w.$\"'`(\[]", following) or (
        reading.driver.style == "named" and following.startswith(":")
    ):
        return False
    if not _is_value(reading, following, ast.unparse(hole.node)):
        return False
    text = _number(hole)
    return text is not None and _add(reading, hole, text)


def _number(hole: Hole) -> str | None:
    """A value that stood outside a string: str(x) is x again."""
    node = hole.node
    if hole.shaped:
        return None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "str":
        if len(node.args) != 1 or not hole.text.startswith("str("):
            return None
        return hole.text[4:-1].strip()
    return hole.text


def _is_value(reading: _Reading, following: str, name: str) -> bool:
    """May a parameter stand at the end of what has been read?"""
    before = reading.out
    if name != '"' and _FRAGMENT.search(name.rpartition(".")[2]):
        return False
    if _VALUE_BEFORE.search(before):
        return True
    first = _FIRST_OF_VALUES.search(before)
    if first is None:
        return False
    columns = (first["columns"] or "").strip()
    return following.lstrip().startswith(",") or bool(columns and "," not in columns) or name == '"'


def listed_values(source: Source, hole: Hole) -> str | None:
    """The list that was joined by commas, or made a tuple, to stand after IN; by itself or in a variable."""
    node = hole.node
    if isinstance(node, ast.Name) and not hole.shaped and (built := built_above(source, node)) is not None:
        made = Hole(built.value, "")
        return listed_values(source, made) if keeps_its_values(source, built, node, [made]) else None
    if not isinstance(node, ast.Call) or len(node.args) != 1 or node.keywords or hole.shaped:
        return None
    [argument] = node.args
    if isinstance(node.func, ast.Name) and node.func.id == "tuple" and "tuple" not in source.bound_names:
        return ast.unparse(argument)
    joined = isinstance(node.func, ast.Attribute) and node.func.attr == "join"
    if not joined or not isinstance(node.func, ast.Attribute):
        return None
    comma = node.func.value
    if not (isinstance(comma, ast.Constant) and isinstance(comma.value, str) and comma.value.strip() == ","):
        return None
    if isinstance(argument, ast.Name | ast.Attribute):
        return ast.unparse(argument)
    if isinstance(argument, ast.Call) and ast.unparse(argument.func) == "map" and len(argument.args) == 2:
        return ast.unparse(argument.args[1]) if ast.unparse(argument.args[0]) in ("str", "repr") else None
    if isinstance(argument, ast.GeneratorExp | ast.ListComp) and len(argument.generators) == 1:
        [one] = argument.generators
        if not one.ifs and not one.is_async and _shows(argument.elt, ast.unparse(one.target)):
            return ast.unparse(one.iter)
    return None


def _shows(node: ast.expr, name: str) -> bool:
    """Is it the named value as SQL text: str(x), repr(x), "'" + x + "'", f"'{x}'" …?"""
    written = re.sub(r"['\"]|\b[fF](?=['\"])", "", ast.unparse(node)).replace(" ", "")
    return written in {
        form.format(name)
        for form in ("{}", "str({})", "repr({})", "{{{}}}", "{{{}!r}}", "+{}+", "+str({})+", "%s%{}",
                     "%s%str({})", "{{}}.format({})")
    }  # fmt: skip


def _list(reading: _Reading, hole: Hole, listed: str) -> bool:
    match = _LIST_BEFORE.search(reading.out)
    built = built_above(reading.source, hole.node)
    node = built.value if built is not None else hole.node
    is_tuple = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    if match is None or bool(match["open"]) is is_tuple:
        return False
    how, negated = reading.driver.lists, bool(match["not"])
    head = reading.out[: match.start()]
    name = re.sub(r"\W.*", "", listed.rpartition(".")[2]) or "values"
    shapes = {
        "json": ("NOT IN " if negated else "IN ") + f"(SELECT value FROM json_each({MARK}))",
        "any": f"<> ALL({MARK})" if negated else f"= ANY({MARK})",
        "sequence": ("NOT IN " if negated else "IN ") + MARK,
        "expanding": ("NOT IN " if negated else "IN ") + MARK,
    }
    if not how:
        return False
    values = {"json": f"json.dumps(list({listed}))", "any": f"list({listed})"}.get(how, f"tuple({listed})")
    if how == "expanding":
        values = f"list({listed})"
    reading.out = head + shapes[how]
    reading.parameters.append(Parameter(values, _free_name(reading, name, values), how == "expanding"))
    reading.close = ")" if match["open"] else ""
    return True


def _add(reading: _Reading, hole: Hole, text: str) -> bool:
    reading.out += MARK
    reading.parameters.append(Parameter(text, _free_name(reading, _name_of(hole.node), text)))
    return True


def _free_name(reading: _Reading, name: str, text: str) -> str:
    taken = {one.name: one.text for one in reading.parameters}
    taken |= dict.fromkeys(reading.existing or (), "") if reading.driver.style == "named" else {}
    number, wanted = 1, name
    while taken.get(wanted, text) != text:
        number += 1
        wanted = f"{name}_{number}"
    return wanted


def _name_of(node: ast.expr) -> str:
    """What to call a parameter: as the value is called."""
    while True:
        if isinstance(node, ast.Name):
            return node.id
        if isinstance(node, ast.Attribute):
            return node.attr
        if isinstance(node, ast.Subscript):
            node = node.slice if isinstance(node.slice, ast.Constant) else node.value
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            return node.value
        elif isinstance(node, ast.Call) and node.args and not isinstance(node.args[0], ast.Starred):
            node = node.args[0]
        elif isinstance(node, ast.Call):
            node = node.func.value if isinstance(node.func, ast.Attribute) else node.func
        else:
            return "value"


def _unescaped(source: Source, hole: Hole) -> Hole | None:
    """Without quotes doubled by hand; None where another escaping was at work."""
    node = hole.node
    if not isinstance(node, ast.Call) or hole.shaped:
        return hole
    called = node.func
    doubled = (
        isinstance(called, ast.Attribute)
        and called.attr == "replace"
        and [one.value for one in node.args if isinstance(one, ast.Constant)] in (["'", "''"], ["'", "\\'"])
    )
    if doubled and isinstance(called, ast.Attribute):
        return _unescaped(source, Hole(called.value, ast.unparse(called.value), is_text=True))
    escapes = re.search(r"escape|quote|sanit|clean", ast.unparse(called), re.IGNORECASE)
    return None if escapes else hole
