"""S608: values that are put into SQL text are passed beside it, as parameters.

Invariant: the text that is sent has the driver's own placeholder wherever a value stood, and the values are
passed in that order; names of tables and columns can't be passed, so a statement with one of them is left
alone.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from deltaloom_server.security.codemods import Case
from deltaloom_server.security.codemods.above import keeps_its_values
from deltaloom_server.security.codemods.rewrite import Rewrite
from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.codemods.sqldrivers import ORACLE, SQLALCHEMY, Driver, driver_of
from deltaloom_server.security.codemods.sqlsite import (
    Given,
    Site,
    site_of,
    string_literal,
    template_at,
    wrapper_of,
)
from deltaloom_server.security.codemods.sqltext import Parameter, Statement, parameterise, written
from deltaloom_server.security.codemods.template import holes_in, parts_of
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.proposal import Proposal

RULES = ("S608",)


def propose(source: Source, finding: Finding) -> Iterator[Proposal]:
    """One proposal, where the driver is known and every value may be a parameter."""
    template = template_at(source, finding)
    site = site_of(source, template) if template is not None else None
    if site is None or any(isinstance(one, ast.Starred) for one in site.call.args):
        return
    wrapper = wrapper_of(source, site.call)
    driver = driver_of(source, wrapper[2] if wrapper else site.call)
    if driver is None or (site.text_call is not None and driver is not SQLALCHEMY):
        return
    given = Given.of(site.call, driver, wrapper)
    parts = parts_of(source, site.template)
    if given is None or parts is None:
        return
    if site.built is not None and not keeps_its_values(source, site.built, site.argument, holes_in(parts)):
        return
    statement = parameterise(source, parts, driver, given.existing)
    if statement is None or not (statement.parameters or statement.inlined):
        return
    rewrite = Rewrite(source)
    if _write(rewrite, site, statement, driver, given):
        note = ""
        if statement.inlined:
            note = f"{', '.join(dict.fromkeys(statement.inlined))} is written out in the statement."
        yield rewrite.proposal("Pass the values as SQL parameters", note=note)


def _write(rewrite: Rewrite, site: Site, statement: Statement, driver: Driver, given: Given) -> bool:
    """Adds the edits; False where the call has no room for what it needs."""
    existing = len(given.existing or ())
    plain_sql = driver.style == "named" and driver is not ORACLE and site.text_call is None
    if plain_sql and ":" in statement.sql:
        return False
    sql = written(
        statement,
        driver,
        existing if driver.style == "numeric" else 0,
        parameters=given.node is not None,
    )
    literal = string_literal(rewrite.source, site.template, sql)
    if plain_sql:
        literal = f"{rewrite.use('sqlalchemy', 'text')}({literal})"
    expanding = [one.name for one in statement.parameters if one.expanding]
    if expanding:
        bind = rewrite.use("sqlalchemy", "bindparam")
        bound = ", ".join(f'{bind}("{name}", expanding=True)' for name in dict.fromkeys(expanding))
        if site.text_call is None:
            literal += f".bindparams({bound})"
        else:
            end = rewrite.source.end(site.text_call)
            rewrite.replace_range(end - 1, end, f").bindparams({bound})")
    rewrite.replace(site.template, literal)
    new = [_imported(rewrite, one) for one in statement.parameters]
    if driver.style == "numeric":
        for one in new:
            rewrite.add_argument(site.call, one.text)
    elif driver.style == "named":
        _pass_named(rewrite, site, new, given)
    elif new:
        inner = ", ".join(one.text for one in new) + ("," if len(new) == 1 else "")
        _pass(rewrite, site, given, f"({inner})")
    return True


def _imported(rewrite: Rewrite, parameter: Parameter) -> Parameter:
    """json must be imported where a list is passed as JSON."""
    if parameter.text.startswith("json.dumps(list("):
        return Parameter(rewrite.use("json", "dumps") + parameter.text[len("json.dumps") :], parameter.name)
    return parameter


def _pass_named(rewrite: Rewrite, site: Site, new: Sequence[Parameter], given: Given) -> None:
    pairs = list(dict.fromkeys(f'"{one.name}": {one.text}' for one in new))
    if isinstance(given.node, ast.Dict) and pairs:
        kept = [
            f"{rewrite.source.segment(key)}: {rewrite.source.segment(value)}"
            for key, value in zip(given.node.keys, given.node.values, strict=True)
            if key is not None
        ]
        rewrite.replace(given.node, "{" + ", ".join((*kept, *pairs)) + "}")
    elif pairs:
        _pass(rewrite, site, given, "{" + ", ".join(pairs) + "}")


def _pass(rewrite: Rewrite, site: Site, given: Given, text: str) -> None:
    if given.node is not None:
        rewrite.replace(given.node, text)
    elif given.keyword and len(site.call.args) != given.position:
        rewrite.add_argument(site.call, f"{given.keyword}={text}")
    else:
        rewrite.add_argument(site.call, text)


CASES = (
    Case(
        "import json\nimport sqlite3\n\n\ndef close(db: sqlite3.Connection, owner, labels):\n"
        "    quoted = ', '.join(\"'\" + label + \"'\" for label in labels)\n"
        "    db.execute('UPDATE notes SET d = 1 WHERE tag IN ({}) AND who = ?'.format(quoted), (owner,))\n",
        "import json\nimport sqlite3\n\n\ndef close(db: sqlite3.Connection, owner, labels):\n"
        "    quoted = ', '.join(\"'\" + label + \"'\" for label in labels)\n"
        '    db.execute("UPDATE notes SET d = 1 WHERE tag IN (SELECT value FROM json_each(?)) AND who = ?",'
        " (json.dumps(list(labels)), owner))\n",
    ),
    Case(
        "import sqlite3\n\n\ndef find(db: sqlite3.Connection, name, age):\n"
        "    return db.execute(f\"SELECT id FROM users WHERE name = '{name}' AND age > {age}\").fetchall()\n",
        "import sqlite3\n\n\ndef find(db: sqlite3.Connection, name, age):\n"
        '    return db.execute("SELECT id FROM users WHERE name = ? AND age > ?", (name, age)).fetchall()\n',
    ),
    Case(
        "import sqlite3\n\n\ndef find(name):\n    db = sqlite3.connect('a.db')\n"
        "    query = \"SELECT id FROM users WHERE name LIKE '%%%s%%' LIMIT %d\" % (name, 5)\n"
        "    print(query)\n    return db.execute(query).fetchall()\n",
        "import sqlite3\n\n\ndef find(name):\n    db = sqlite3.connect('a.db')\n"
        '    query = "SELECT id FROM users WHERE name LIKE ? LIMIT ?"\n'
        '    print(query)\n    return db.execute(query, (f"%{name}%", 5)).fetchall()\n',
    ),
    Case(
        "import psycopg2\n\nTABLE = 'users'\n\n\ndef find(name, ids):\n"
        "    with psycopg2.connect('') as db, db.cursor() as cursor:\n"
        "        cursor.execute(\n"
        "            f\"SELECT id FROM {TABLE} WHERE a = %s AND b LIKE '{name}%' \"\n"
        "            f\"AND id IN ({', '.join(map(str, ids))})\",\n            [1],\n        )\n",
        "import psycopg2\n\nTABLE = 'users'\n\n\ndef find(name, ids):\n"
        "    with psycopg2.connect('') as db, db.cursor() as cursor:\n"
        "        cursor.execute(\n"
        '            "SELECT id FROM users WHERE a = %s AND b LIKE %s AND id = ANY(%s)",\n'
        '            (1, f"{name}%", list(ids)),\n        )\n',
    ),
    Case(
        "import sqlite3\n\n\ndef find(db: sqlite3.Connection, ids):\n"
        '    return db.execute("DELETE FROM users WHERE id IN (" + ",".join(str(i) for i in ids) + ")")\n',
        "import sqlite3\nimport json\n\n\ndef find(db: sqlite3.Connection, ids):\n"
        '    return db.execute("DELETE FROM users WHERE id IN (SELECT value FROM json_each(?))", '
        "(json.dumps(list(ids)),))\n",
    ),
    Case(
        "from sqlalchemy import text\n\n\ndef find(session, user):\n"
        "    return session.execute(text(\"SELECT id FROM users WHERE name = '{}'\".format(user.name)))\n",
        "from sqlalchemy import text\n\n\ndef find(session, user):\n"
        '    return session.execute(text("SELECT id FROM users WHERE name = :name"), {"name": user.name})\n',
    ),
    Case(
        "import asyncpg\n\n\nasync def find(name):\n    db = await asyncpg.connect()\n"
        '    return await db.fetch("SELECT id FROM users WHERE name = \'" + name + "\'")\n',
        "import asyncpg\n\n\nasync def find(name):\n    db = await asyncpg.connect()\n"
        '    return await db.fetch("SELECT id FROM users WHERE name = $1", name)\n',
    ),
    Case(
        "import sqlite3\n\n\ndef run(sql, params=()):\n    with sqlite3.connect('a.db') as db:\n"
        "        return db.execute(sql, params).fetchall()\n\n\ndef find(name):\n"
        "    return run(f\"SELECT id FROM users WHERE name = '{name}'\")\n",
        "import sqlite3\n\n\ndef run(sql, params=()):\n    with sqlite3.connect('a.db') as db:\n"
        "        return db.execute(sql, params).fetchall()\n\n\ndef find(name):\n"
        '    return run("SELECT id FROM users WHERE name = ?", (name,))\n',
    ),
    # A column's name can't be a parameter.
    Case(
        "import sqlite3\n\n\ndef find(db: sqlite3.Connection, column, name):\n"
        "    return db.execute(f\"SELECT id FROM users WHERE {column} = '{name}'\")\n",
        None,
    ),
    # Nothing says which driver it is.
    Case(
        "def find(db, name):\n    return db.execute(f\"SELECT id FROM users WHERE name = '{name}'\")\n", None
    ),
    # The value has changed where the statement is run.
    Case(
        "import sqlite3\n\n\ndef find(db: sqlite3.Connection, name):\n"
        "    query = f\"SELECT id FROM users WHERE name = '{name}'\"\n"
        "    name = name.upper()\n    return db.execute(query)\n",
        None,
    ),
)
