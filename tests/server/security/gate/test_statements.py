"""S608: the statement at the finding is judged alone: another's values, texts and calls count for nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Bench = Callable[..., Any]

TWO = """
import sqlite3

QUERY = "SELECT a FROM t WHERE b = ?"


def find(db, name, other, extra):
    rows = db.execute(f"SELECT a FROM t WHERE b = '{name}'").fetchall()
    more = db.execute(f"SELECT c FROM u WHERE d = '{other}'").fetchall()
    return rows + more
"""
FIRST = "rows = db.execute(f\"SELECT a FROM t WHERE b = '{name}'\")"
SECOND = "more = db.execute(f\"SELECT c FROM u WHERE d = '{other}'\")"

GOOD = [
    'rows = db.execute("SELECT a FROM t WHERE b = ?", (name,))',
    "rows = db.execute(QUERY, (name,))",
    'rows = db.execute("SELECT a FROM t WHERE b = ?", [str(name)])',
    'rows = db.execute("SELECT a FROM t WHERE b = :name", {"name": name})',
    'sql = "SELECT a FROM t WHERE b = ?"\n    rows = db.execute(sql, (name,))',
    'sql, values = "SELECT a FROM t WHERE b = ?", (name,)\n    rows = db.execute(sql, values)',
    (
        'params = []\n    sql = "SELECT a FROM t"\n    sql += " WHERE b = ?"\n'
        "    params.append(name)\n    rows = db.execute(sql, params)"
    ),
]
BAD = [
    'rows = db.execute("SELECT a FROM t WHERE b = ?")',
    'rows = db.execute("SELECT a FROM t WHERE b = ?", (other,))',
    "rows = db.execute(QUERY, (extra,))",
    'rows = db.execute("SELECT a FROM t")',
    'sql = "SELECT a FROM t WHERE b = ?"\n    sql += name\n    rows = db.execute(sql, (name,))',
    'sql = "SELECT a FROM t WHERE b = ?"\n    sql = name\n    rows = db.execute(sql, (name,))',
    (
        'sql = "SELECT a FROM t WHERE b = ?"\n    if extra:\n        sql = name\n'
        "    rows = db.execute(sql, (name,))"
    ),
    (
        'sql = "SELECT a FROM t WHERE b = ?"\n    for sql in extra:\n        pass\n'
        "    rows = db.execute(sql, (name,))"
    ),
    'a = "SELECT a FROM t WHERE b = "\n    rows = db.execute(a + name)',
    'a = ["SELECT a FROM t WHERE b = ", name]\n    rows = db.execute("".join(a))',
    (
        'db.execute("SELECT a FROM t WHERE b = ?", (name,))\n'
        '    sql = "SELECT a FROM t WHERE b = " + name\n    rows = db.execute(sql)'
    ),
    'rows = db.execute("SELECT a FROM t WHERE b = \'" + name.replace("\'", "\'\'") + "\'")',
    'db.execute("SELECT c FROM u WHERE d = ?", (name,))\n    rows = db.execute("SELECT a FROM t")',
]


@pytest.mark.parametrize("new", GOOD)
def test_one_of_two_statements_is_put_right_and_the_other_stays(bench: Bench, new: str) -> None:
    assert bench("S608", TWO).put(FIRST, new).objections == ()


@pytest.mark.parametrize("new", BAD)
def test_the_other_statement_excuses_nothing(bench: Bench, new: str) -> None:
    assert bench("S608", TWO).put(FIRST, new).objections


def test_both_statements_may_be_put_right_at_once(bench: Bench) -> None:
    one = bench("S608", TWO)
    second = 'more = db.execute("SELECT c FROM u WHERE d = ?", (other,))'
    assert one.put(FIRST, GOOD[0], (SECOND, second)).objections == ()


def test_another_statement_put_right_is_no_fix_of_this_one(bench: Bench) -> None:
    verdict = bench("S608", TWO).put(SECOND, 'more = db.execute("SELECT c FROM u WHERE d = ?", (other,))')
    assert "It leaves the statement as it was." in verdict.objections


def test_no_value_moves_into_another_statement(bench: Bench) -> None:
    worse = "more = db.execute(f\"SELECT c FROM u WHERE d = '{other}' OR e = '{name}'\")"
    assert bench("S608", TWO).put(FIRST, GOOD[0], (SECOND, worse)).objections


LINES = """
import sqlite3


def change(db, name):
    db.execute("SELECT id FROM t WHERE name = '" + name.replace("'", "''") + "'")
    db.execute("UPDATE t SET a = '{}'".format(name))
    quoted = name.replace("'", "''")
    db.execute(f"DELETE FROM t WHERE a = '{quoted}'")
    return db.execute("SELECT n FROM t WHERE name = '{}'".format(name)).fetchall()
"""
QUOTED = '"SELECT id FROM t WHERE name = \'" + name.replace("\'", "\'\'") + "\'"'
UPDATE = "\"UPDATE t SET a = '{}'\".format(name)"
DELETE = 'quoted = name.replace("\'", "\'\'")\n    db.execute(f"DELETE FROM t WHERE a = \'{quoted}\'")'
RESULT = "return db.execute(\"SELECT n FROM t WHERE name = '{}'\".format(name)).fetchall()"


def _at(text: str, piece: str) -> str:
    """The text with a mark at the line that holds the piece."""
    return "\n".join(line + "  # <- S608" if piece in line else line for line in text.split("\n"))


@pytest.mark.parametrize(
    ("piece", "old", "new"),
    [
        ("SELECT id", QUOTED, '"SELECT id FROM t WHERE name = ?", (name,)'),
        ("UPDATE", UPDATE, '"UPDATE t SET a = ?", (name,)'),
        ("DELETE", DELETE, 'db.execute("DELETE FROM t WHERE a = ?", (name,))'),
        ("SELECT n", RESULT, 'return db.execute("SELECT n FROM t WHERE name = ?", (name,)).fetchall()'),
    ],
)
def test_what_was_quoted_by_hand_is_passed_as_it_is(bench: Bench, piece: str, old: str, new: str) -> None:
    assert bench("S608", _at(LINES, piece)).put(old, new).objections == ()


@pytest.mark.parametrize(
    ("piece", "old", "new"),
    [
        ("SELECT id", QUOTED, '"SELECT id FROM t WHERE name = ?", ("name",)'),
        ("DELETE", DELETE, 'db.execute("DELETE FROM t WHERE a = ?", (db,))'),
        ("SELECT n", RESULT, 'return db.execute("SELECT n FROM t WHERE name = ?", (name,))'),
        ("SELECT n", RESULT, 'db.execute("SELECT n FROM t WHERE name = ?", (name,)).fetchall()'),
    ],
)
def test_the_value_and_the_result_must_not_be_lost(bench: Bench, piece: str, old: str, new: str) -> None:
    assert bench("S608", _at(LINES, piece)).put(old, new).objections


NAMED = """
from sqlalchemy import bindparam, text


def find(session, ids):
    return session.execute(text(f"SELECT a FROM t WHERE id IN ({','.join(map(str, ids))})")).all()
"""
OLD_NAMED = "text(f\"SELECT a FROM t WHERE id IN ({','.join(map(str, ids))})\")"
EXPANDS = 'text("SELECT a FROM t WHERE id IN :ids").bindparams(bindparam("ids", expanding=True))'


def test_parameters_are_found_where_the_driver_binds_them(bench: Bench) -> None:
    assert bench("S608", NAMED).put(OLD_NAMED, EXPANDS + ', {"ids": list(ids)}').objections == ()
    assert bench("S608", NAMED).put(OLD_NAMED, EXPANDS).objections


TABLE = """
def report(db, order):
    statement = "SELECT a FROM t ORDER BY " + order
    return db.execute(statement).fetchall()
"""
OLD_TABLE = 'statement = "SELECT a FROM t ORDER BY " + order'


def test_a_statement_may_be_looked_up_among_fixed_ones(bench: Bench) -> None:
    table = '{"a": "SELECT a FROM t ORDER BY a", "b": "SELECT a FROM t ORDER BY b"}'
    one = bench("S608", TABLE)
    assert one.put(OLD_TABLE, f"statement = {table}[order]").objections == ()
    assert one.put(OLD_TABLE, f'statement = {table}["a"]').objections
    worse = table.replace('ORDER BY b"', 'ORDER BY " + order')
    assert one.put(OLD_TABLE, f"statement = {worse}[order]").objections
