"""SQL: one constant statement, and every value beside it as a parameter.

Invariant: each expression that was put into the text is found again among the parameters.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from ..words import words
from .processes import literal_text
from .site import Site, matches

EXECUTES = words(
    ".execute .executemany .fetch .fetchrow .fetchval .fetch_all .fetch_one .fetch_val .raw .query"
    " .scalar .scalars .scalar_one .mogrify .exec_driver_sql .bindparams .read_sql .read_sql_query"
    " .run .all .one"
)
MAY_VANISH = frozenset(
    (*EXECUTES, ".format", ".join", "str", ".replace", "int", "repr", ".escape_string", ".execute", ".strip")
)
_WORD = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
_PLACEHOLDER = re.compile(r"\?|%s|%\(\w+\)s|:\w+|\$\d+|@\w+")


def parameters(site: Site) -> str | None:
    """S608, S610, S611."""
    old = _statement(site)
    if old is None:
        return "The statement can't be found in the function."
    calls = [call for call in site.added_calls if matches(site.name(call), EXECUTES)]
    calls += [call for call in _unchanged_executes(site) if call not in calls]
    if not calls:
        return "It executes no statement in this function."
    values = list(_values(old))
    texts, passed = _parts(site, calls)
    for value in values:
        if not any(_flows(site, one, value) for one in passed) and not _is_known(site, value, texts):
            return f"It doesn't pass {ast.unparse(value)[:60]} as a parameter."
    if any("\0" in one for one in texts) and not any(_is_identifier(site, value) for value in values):
        return "It still puts values into the statement's text."
    many = any(site.name(call).endswith("executemany") for call in calls)
    return _same_statement(old, texts, len(values), many=many)


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


def _unchanged_executes(site: Site) -> Iterator[ast.Call]:
    """`db.execute(query, values)` that was written so already, in which only the variables are new."""
    for root in site.change.new:
        for node in ast.walk(root):
            if (
                isinstance(node, ast.Call)
                and matches(site.name(node), EXECUTES)
                and node.args
                and isinstance(node.args[0], ast.Name)
            ):
                yield node


def _parts(site: Site, calls: list[ast.Call]) -> tuple[list[str], list[ast.AST]]:
    """The statements' texts (a NUL where a value comes in), and all that is passed beside them."""
    texts: list[str] = []
    passed: list[ast.AST] = []
    for call in calls:
        arguments = [*call.args, *(one.value for one in call.keywords)]
        for number, argument in enumerate(arguments):
            one = site.resolved(argument)
            if isinstance(one, ast.Call) and matches(site.name(one), {".text", "text"}) and one.args:
                argument, one = one.args[0], site.resolved(one.args[0])
            if (number == 0 and call.args) or (
                isinstance(one, ast.Constant | ast.JoinedStr | ast.BinOp) and _is_text(one)
            ):
                texts += [literal_text(one), *_appended(site, argument)]
            else:
                passed += [
                    one,
                    *(site.resolved(part) for part in ast.walk(one) if isinstance(part, ast.Name)),
                ]
                passed += _collected(site, argument)
    return texts, passed


def _appended(site: Site, node: ast.expr) -> Iterator[str]:
    """`query += " AND a = ?"`"""
    for root in site.change.new:
        for one in ast.walk(root):
            if (
                isinstance(one, ast.AugAssign)
                and isinstance(node, ast.Name)
                and ast.unparse(one.target) == node.id
            ):
                yield literal_text(one.value)


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


def _is_text(node: ast.expr) -> bool:
    return bool(_WORD.search(literal_text(node)))


def _flows(site: Site, node: ast.AST, value: ast.expr) -> bool:
    """The value is passed; of a list that was joined into the text, the list is."""
    if _contains(node, value):
        return True
    if isinstance(value, ast.Name):
        old = [one for root in site.change.old for one in ast.walk(root) if isinstance(one, ast.Assign)]
        values = [one.value for one in old if any(ast.unparse(target) == value.id for target in one.targets)]
        if len(values) != 1 or not isinstance(values[0], ast.Call):
            return False
        value = values[0]
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


def _contains(node: ast.AST, value: ast.expr) -> bool:
    """The value itself, or what is inside of str(value), f"%{value}%"."""
    while isinstance(value, ast.Call) and len(value.args) == 1 and isinstance(value.func, ast.Name):
        value = value.args[0]
    wanted = ast.dump(value)
    return any(ast.dump(one) == wanted for one in ast.walk(node))


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
    if texts and (lost := sorted(words - new)):
        return f"The statement loses the word {lost[0]}."
    if values and texts and not any(_PLACEHOLDER.search(text) or "\0" in text for text in texts):
        return "The statement has no placeholder."
    return None
