"""Which database driver does a call go to, and how does that one want its parameters?

Invariant: a driver is told from what the file itself shows (its imports, where the connection comes from, the
placeholders that its other calls use); where these are silent or disagree, there is none.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.codemods.template import annotation_of

Style = Literal["qmark", "format", "numeric", "named"]


@dataclass(frozen=True, slots=True)
class Driver:
    """`style` as in PEP 249 ("numeric" is "$1"). `lists`: how a list becomes one parameter after IN.

    `double_quotes`: may a string stand in double quotes? `backslashes`: do they escape in a string?
    """

    name: str
    style: Style
    lists: Literal["", "json", "any", "sequence", "expanding"] = ""
    double_quotes: bool = False
    backslashes: bool = False


SQLITE = Driver("sqlite", "qmark", "json", double_quotes=True)
QMARK = Driver("qmark", "qmark")
POSTGRES = Driver("postgres", "format", "any")
MYSQL = Driver("mysql", "format", "sequence", double_quotes=True, backslashes=True)
FORMAT = Driver("format", "format", backslashes=True)
ASYNCPG = Driver("asyncpg", "numeric", "any")
SQLALCHEMY = Driver("sqlalchemy", "named", "expanding", backslashes=True)
ORACLE = Driver("oracle", "named")

_MODULES = {
    "sqlite3": SQLITE, "aiosqlite": SQLITE, "pysqlite3": SQLITE, "duckdb": QMARK, "pyodbc": QMARK,
    "psycopg2": POSTGRES, "psycopg": POSTGRES, "psycopg_pool": POSTGRES, "aiopg": POSTGRES, "pg8000": FORMAT,
    "pymysql": MYSQL, "MySQLdb": MYSQL, "aiomysql": MYSQL, "flask_mysqldb": MYSQL, "mysql": FORMAT,
    "mariadb": QMARK, "asyncpg": ASYNCPG, "django": FORMAT, "sqlalchemy": SQLALCHEMY,
    "flask_sqlalchemy": SQLALCHEMY, "sqlmodel": SQLALCHEMY, "oracledb": ORACLE, "cx_Oracle": ORACLE,
    "snowflake": FORMAT, "pymssql": FORMAT,
}  # fmt: skip
_UNLIKE_OTHERS = frozenset(
    ("cs50", "records", "databases", "clickhouse_driver", "peewee", "tortoise", "trino")
)
EXECUTE = frozenset(
    ("execute", "raw", "fetch", "fetchrow", "fetchval", "execute_fetchall", "scalar", "scalars", "exec",
     "read_sql", "read_sql_query", "mogrify")
)  # fmt: skip
_ONLY_ASYNCPG = frozenset(("fetch", "fetchrow", "fetchval"))


def driver_of(source: Source, call: ast.Call) -> Driver | None:
    """The driver to which a call that executes SQL goes."""
    if not isinstance(call.func, ast.Attribute):
        return None
    pandas = call.func.attr in ("read_sql", "read_sql_query")
    receiver = call.func.value
    if pandas:
        if len(call.args) < 2:
            return None
        receiver = call.args[1]
    traced = _origin(source, receiver, 6)
    if traced is None:
        traced = _from_file(source, call)
    if traced is not None and call.func.attr in _ONLY_ASYNCPG and traced is not ASYNCPG:
        return None
    return traced


def executes_with_parameters(source: Source, name: str) -> tuple[str, int, ast.Call] | None:
    """For a function of this file that passes on its SQL and its parameters: their parameter's name, its
    place among the arguments (`self` not counted), and the call inside."""
    found = [
        one
        for one in ast.walk(source.tree)
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef) and one.name == name
    ]
    if len(found) != 1:
        return None
    [function] = found
    if function.args.vararg is not None:
        return None
    arguments = [one.arg for one in (*function.args.posonlyargs, *function.args.args)]
    method = bool(arguments) and arguments[0] in ("self", "cls")
    for call in ast.walk(function):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute) or len(call.args) != 2:
            continue
        if call.func.attr != "execute" or not all(isinstance(one, ast.Name) for one in call.args):
            continue
        sql, given = (one.id for one in call.args if isinstance(one, ast.Name))
        if arguments[int(method) : int(method) + 1] == [sql] and given in arguments:
            return given, arguments.index(given) - int(method), call
    return None


def _origin(source: Source, node: ast.expr, depth: int) -> Driver | None:
    """Follows a connection or cursor to the call that made it."""
    if depth == 0:
        return None
    full = source.qualified(node)
    if full:
        return _MODULES.get(full.partition(".")[0])
    if isinstance(node, ast.Await):
        return _origin(source, node.value, depth - 1)
    if isinstance(node, ast.Call):
        made = source.qualified(node.func)
        if made:
            return _MODULES.get(made.partition(".")[0])
        if isinstance(node.func, ast.Attribute):
            return _origin(source, node.func.value, depth - 1)
        if isinstance(node.func, ast.Name):
            return _same(_origin(source, one, depth - 1) for one in _returned(source, node.func.id))
        return None
    if isinstance(node, ast.Name):
        annotation = annotation_of(source, node).strip("\"'").partition(" |")[0]
        root = annotation.partition(".")[0]
        if root in source.imports:
            return _MODULES.get(source.imports[root].partition(".")[0])
        function = source.enclosing_function(node)
        bound = list(_bound_to(function or source.tree, node))
        if not bound and function is not None:
            bound = list(_bound_to(source.tree, node))
        return _same(_origin(source, one, depth - 1) for one in bound)
    if isinstance(node, ast.Attribute):
        return _same(_origin(source, one, depth - 1) for one in _bound_to(source.tree, node))
    return None


def _bound_to(scope: ast.AST, target: ast.expr) -> Iterator[ast.expr]:
    wanted = ast.unparse(target)
    for one in ast.walk(scope):
        if isinstance(one, ast.Assign) and any(ast.unparse(each) == wanted for each in one.targets):
            if not (isinstance(one.value, ast.Constant) and one.value.value is None):
                yield one.value
        elif isinstance(one, ast.AnnAssign) and one.value is not None and ast.unparse(one.target) == wanted:
            yield one.value
        elif isinstance(one, ast.withitem) and one.optional_vars is not None:
            inner = one.context_expr
            if isinstance(inner, ast.Call) and ast.unparse(inner.func).endswith("closing") and inner.args:
                inner = inner.args[0]
            if ast.unparse(one.optional_vars) == wanted:
                yield inner


def _returned(source: Source, name: str) -> Iterator[ast.expr]:
    for function in ast.walk(source.tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and function.name == name:
            for one in ast.walk(function):
                if isinstance(one, ast.Return | ast.Yield) and one.value is not None:
                    yield one.value


def _same(found: Iterator[Driver | None]) -> Driver | None:
    known = {one for one in found if one is not None}
    return known.pop() if len(known) == 1 else None


def _from_file(source: Source, call: ast.Call) -> Driver | None:
    modules = {full.lstrip(".").partition(".")[0] for full in source.imports.values()}
    if modules & _UNLIKE_OTHERS:
        return None
    imported = {_MODULES[module] for module in modules if module in _MODULES}
    shown = set(_shown_styles(source))
    if len(imported) == 1:
        [driver] = imported
        return driver if shown <= {driver.style} else None
    if imported or len(shown) != 1:
        return None
    return {"qmark": QMARK, "format": FORMAT, "numeric": ASYNCPG, "named": None}[shown.pop()]


def _shown_styles(source: Source) -> Iterator[Style]:
    """What the file's other calls, which have parameters already, show."""
    for one in ast.walk(source.tree):
        if not isinstance(one, ast.Call) or not isinstance(one.func, ast.Attribute) or len(one.args) < 2:
            continue
        sql = one.args[0]
        if one.func.attr in EXECUTE | {"executemany"} and isinstance(sql, ast.Constant):
            text = re.sub(r"'[^']*'", "", str(sql.value))
            if re.search(r"%s|%\(\w+\)s", text):
                yield "format"
            elif "?" in text:
                yield "qmark"
            elif re.search(r"\$\d", text):
                yield "numeric"
            elif re.search(r"(?<![:\w]):[a-zA-Z_]\w*", text) and isinstance(one.args[1], ast.Dict):
                continue
