"""SQL: one constant statement, and every value beside it as a parameter.

Invariant: it is the statement at the finding that is judged: it must be gone as it was, and one call must
execute it with all the values that were put into it. Other statements of the function may stay as they were.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from ..reaching import values_at
from ..words import words
from .processes import literal_text
from .site import Site, constant, keyword, matches

EXECUTES = words(
    ".execute .executemany .fetch .fetchrow .fetchval .fetch_all .fetch_one .fetch_val .raw .query"
    " .scalar .scalars .scalar_one .mogrify .exec_driver_sql .bindparams .read_sql .read_sql_query"
    " .run .all .one"
)
MAY_VANISH = frozenset(
    (*EXECUTES, ".format", ".join", "str", ".replace", "int", "repr", ".escape_string", ".execute", ".strip")
)
_TEXT_CALLS = frozenset({".text", "text", "sqlalchemy.text", "sqlalchemy.sql.text"})
_STATEMENT_KEYWORDS = ("sql", "query", "statement", "operation")
_WORD = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
_QUOTES = frozenset({"'", '"', "\\", "%", "_", "`", "]"})
_ESCAPES = frozenset({".escape_string", ".escape", ".literal", ".mysql_real_escape_string"})
_PLACEHOLDER = re.compile(r"\?|%s|%\(\w+\)s|:\w+|\$\d+|@\w+")


def parameters(site: Site) -> str | None:
    """S608, S610, S611."""
    old = _statement(site)
    if old is None:
        return "The statement can't be found in the function."
    if ast.dump(old) not in {ast.dump(node) for node in site.change.removed}:
        return "It leaves the statement as it was."
    values = list(_values(old))
    if any(_is_new(site, piece) for call in _executes(site) for piece in _pieces(site, call)) and not any(
        _is_identifier(site, value) for value in values
    ):
        return "It still puts values into the statement's text."
    calls = [call for call in _executes(site) if _is_changed(site, call)]
    if not calls:
        return "It executes no statement in this function."
    objections = [_executed_well(site, old, values, call) for call in calls]
    return None if None in objections else objections[0]


def _executed_well(site: Site, old: ast.expr, values: list[ast.expr], call: ast.Call) -> str | None:
    """Does this one call execute the statement, with all the values?"""
    texts = [literal_text(one) for one in _pieces(site, call)]
    passed = list(_passed(site, call))
    for value in values:
        if not any(_flows(site, one, value) for one in passed) and not _is_known(site, value, texts):
            return f"It doesn't pass {ast.unparse(value)[:60]} as a parameter."
    count = sum(not _is_known(site, value, texts) for value in values)
    return _same_statement(old, texts, count, many=site.name(call).endswith("executemany"))


# -- the old statement --------------------------------------------------------------------------------------


def _statement(site: Site) -> ast.expr | None:
    """The string at the finding's place into which values are put, the longest."""
    found = [
        node
        for root in site.change.old
        for node in ast.walk(root)
        if isinstance(node, ast.expr)
        and site.touches(node)
        and "\0" in literal_text(node)
        and literal_text(node).strip("\0")
    ]
    return max(found, key=lambda node: len(literal_text(node)), default=None)


def _values(node: ast.expr) -> Iterator[ast.expr]:
    """What a composed string puts in."""
    if isinstance(node, ast.JoinedStr):
        yield from (one.value for one in node.values if isinstance(one, ast.FormattedValue))
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        yield from _values(node.left)
        yield from _values(node.right)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
        right = node.right
        yield from (
            right.elts
            if isinstance(right, ast.Tuple)
            else right.values
            if isinstance(right, ast.Dict)
            else [right]
        )
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        yield from (*node.args, *(one.value for one in node.keywords))
    elif not isinstance(node, ast.Constant):
        yield node


# -- the new calls ------------------------------------------------------------------------------------------


def _executes(site: Site) -> tuple[ast.Call, ...]:
    return site.new_calls(EXECUTES)


def _is_changed(site: Site, call: ast.Call) -> bool:
    """The call is new, or what it executes is: `db.execute(query, values)` may have stood there before."""
    added = site.change.added_set
    return call in added or any(piece in added for piece in _pieces(site, call))


def _is_new(site: Site, piece: ast.expr) -> bool:
    """Does the change bring a text into which values are put? Those that stood there are other findings'.

    A variable looks the same wherever it stands, so there it is its statement that counts.
    """
    if "\0" not in literal_text(piece):
        return False
    added = site.change.added_set
    if isinstance(piece, ast.Name | ast.Attribute | ast.Subscript):
        return site.after.statement(piece) in added
    return piece in added


def _statement_of(site: Site, call: ast.Call) -> ast.expr | None:
    """The argument that is the statement, without a `text(…)` around it."""
    if _binds(call):
        given: ast.expr | None = call
    else:
        given = call.args[0] if call.args else None
    for name in _STATEMENT_KEYWORDS:
        given = given if given is not None else keyword(call, name)
    while isinstance(given, ast.Call):
        if _binds(given) and isinstance(given.func, ast.Attribute):
            given = given.func.value
        elif matches(site.name(given), _TEXT_CALLS) and given.args:
            given = given.args[0]
        else:
            break
    return given


def _pieces(site: Site, call: ast.Call) -> Iterator[ast.expr]:
    """The expressions that may be the executed text, or that are appended to it."""
    given = _statement_of(site, call)
    if given is None:
        return
    for one in values_at(site.after, given):
        if isinstance(one, ast.Call) and matches(site.name(one), _TEXT_CALLS) and one.args:
            yield from values_at(site.after, one.args[0])
        elif isinstance(one, ast.Subscript) and isinstance(table := site.resolved(one.value), ast.Dict):
            yield from table.values
        else:
            yield one
    if isinstance(given, ast.Name):
        for node in _appended(site, given.id):
            yield node.value


def _appended(site: Site, name: str) -> Iterator[ast.AugAssign]:
    """`query += " AND a = ?"`"""
    for root in site.change.new:
        for one in ast.walk(root):
            if isinstance(one, ast.AugAssign) and ast.unparse(one.target) == name:
                yield one


def _passed(site: Site, call: ast.Call) -> Iterator[ast.AST]:
    """All that is passed beside the statement, through variables as well."""
    statement = _statement_of(site, call)
    arguments = [*(call.args if _binds(call) else call.args[1:]), *(one.value for one in call.keywords)]
    if call.args and isinstance(inner := call.args[0], ast.Call) and _binds(inner):
        arguments += [*inner.args, *(one.value for one in inner.keywords)]
    for argument in arguments:
        if argument is statement:
            continue
        for one in values_at(site.after, argument):
            yield one
            for part in ast.walk(one):
                if isinstance(part, ast.Name):
                    yield from values_at(site.after, part)
        yield from _collected(site, argument)


def _binds(call: ast.Call) -> bool:
    """`text(…).bindparams(name=name)`"""
    return isinstance(call.func, ast.Attribute) and call.func.attr == "bindparams"


def _collected(site: Site, node: ast.expr) -> Iterator[ast.AST]:
    """`values.append(a)`, `values += [a]`, `values["a"] = a`"""
    if not isinstance(node, ast.Name):
        return
    for root in site.change.new:
        for one in ast.walk(root):
            if isinstance(one, ast.AugAssign) and ast.unparse(one.target) == node.id:
                yield one.value
            elif (
                isinstance(one, ast.Call)
                and isinstance(one.func, ast.Attribute)
                and ast.unparse(one.func.value) == node.id
            ):
                yield from one.args
            elif isinstance(one, ast.Assign) and any(
                isinstance(target, ast.Subscript) and ast.unparse(target.value) == node.id
                for target in one.targets
            ):
                yield one.value


# -- the values ---------------------------------------------------------------------------------------------


def _flows(site: Site, node: ast.AST, value: ast.expr) -> bool:
    """The value is passed, or what it was before it was escaped; of a list that was joined, the list is."""
    if _contains(site, node, value):
        return True
    if isinstance(value, ast.Name):
        old = [one for root in site.change.old for one in ast.walk(root) if isinstance(one, ast.Assign)]
        values = [one.value for one in old if any(ast.unparse(target) == value.id for target in one.targets)]
        if len(values) != 1 or not isinstance(values[0], ast.Call):
            return False
        value = values[0]
        if _unescaped(site, value) is not value and _contains(site, node, value):
            return True
    if not isinstance(value, ast.Call) or site.old_name(value) not in (".join", "str", "repr"):
        return False
    names = site.data(value, site.before)
    return bool(names) and names <= site.data(node, site.after)


def _is_known(site: Site, value: ast.expr, texts: list[str]) -> bool:
    """A name that can't be a parameter but is of a fixed set, or a constant of the module, written out."""
    if isinstance(value, ast.Name):
        for node in site.before.tree.body:
            if isinstance(node, ast.Assign) and any(ast.unparse(one) == value.id for one in node.targets):
                text = node.value.value if isinstance(node.value, ast.Constant) else None
                if isinstance(text, str) and any(text in one for one in texts):
                    return True
    return isinstance(value, ast.Constant) or _is_identifier(site, value)


def _contains(site: Site, node: ast.AST, value: ast.expr) -> bool:
    """The value itself, or what was made text and escaped."""
    dumps = {ast.dump(one) for one in ast.walk(node)}
    return ast.dump(value) in dumps or ast.dump(_unescaped(site, value)) in dumps


def _unescaped(site: Site, value: ast.expr) -> ast.expr:
    """What is inside of str(value), value.replace("'", "''"), escape_string(value)."""
    while isinstance(value, ast.Call):
        plain = isinstance(value.func, ast.Name) or matches(site.old_name(value), _ESCAPES)
        if plain and len(value.args) == 1:
            value = value.args[0]
        elif _doubles_quotes(value) and isinstance(value.func, ast.Attribute):
            value = value.func.value
        else:
            break
    return value


def _doubles_quotes(call: ast.Call) -> bool:
    given = [constant(one) for one in call.args]
    return (
        isinstance(call.func, ast.Attribute)
        and call.func.attr == "replace"
        and len(given) == 2
        and given[0] in _QUOTES
        and isinstance(given[1], str)
        and str(given[0]) in given[1]
    )


def _is_identifier(site: Site, value: ast.expr) -> bool:
    """A table's or column's name can't be a parameter: it must be looked up in, or tested against, a fixed
    set that the change brings, or be quoted by the driver."""
    wanted = ast.dump(value)
    for node in site.change.added:
        if (
            isinstance(node, ast.Call)
            and matches(site.name(node), {".Identifier", ".quote_identifier", "psycopg2.sql.Identifier"})
            and any(ast.dump(one) == wanted for one in ast.walk(node))
        ):
            return True
        if (
            isinstance(node, ast.Compare)
            and isinstance(node.ops[0], ast.NotIn | ast.In)
            and ast.dump(node.left) == wanted
            and isinstance(node.comparators[0], ast.Set | ast.Tuple | ast.List | ast.Name)
        ):
            return True
        if (
            isinstance(node, ast.Subscript)
            and isinstance(site.resolved(node.value), ast.Dict)
            and any(ast.dump(one) == wanted for one in ast.walk(node.slice))
        ):
            return True
    return False


def _same_statement(old: ast.expr, texts: list[str], values: int, *, many: bool) -> str | None:
    """All words of the old text, and a placeholder for what was put in."""
    words = set(map(str.lower, _WORD.findall(literal_text(old).replace("%", " "))))
    new = set(map(str.lower, (word for text in texts for word in _WORD.findall(text))))
    if many or {"any", "all", "json_each"} & new:
        words -= {"in", "not"}
    if lost := sorted(words - new):
        return f"The statement loses the word {lost[0]}."
    if values and not any(_PLACEHOLDER.search(text) or "\0" in text for text in texts):
        return "The statement has no placeholder."
    return None
