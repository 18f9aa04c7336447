"""Fixes as a good model writes them, a whole function anew: names, helper variables and forms may differ.

Each has beside it the same text with the one change that makes it no fix, or another program.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Bench = Callable[..., Any]

YAML = """
import yaml


def load(path):
    f = open(path)
    data = yaml.load(f)
    f.close()
    return data["a"]
"""
YAML_FIXED = """
import yaml


def load(path):
    with open(path) as file:
        config = yaml.safe_load(file)
    return config["a"]
"""
YAML_TEXT = """
import yaml


def load(text):
    data = yaml.load(text)
    return data["a"]
"""
YAML_TEXT_FIXED = """
import yaml


def load(text):
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as exc:
        raise ValueError(f"Invalid YAML: {exc}") from exc
    return data["a"]
"""
SHOW = """
import subprocess


def show(name, rev):
    cmd = "git show " + rev + ":" + name
    out = subprocess.check_output(cmd, shell=True)
    return out.decode()
"""
SHOW_RUN = """
import subprocess


def show(name, rev):
    spec = f"{rev}:{name}"
    result = subprocess.run(["git", "show", spec], capture_output=True, check=True)
    return result.stdout.decode()
"""
SHOW_LIST = """
import subprocess


def show(name, rev):
    command = ["git", "show", str(rev) + ":" + str(name)]
    return subprocess.check_output(command, text=True, timeout=30)
"""
SHOW_TRY = """
import subprocess


def show(name, rev):
    try:
        out = subprocess.check_output(["git", "show", f"{rev}:{name}"], shell=False)
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"git show failed: {error}") from error
    return out.decode()
"""
PING = """
import os


def ping(host):
    code = os.system("ping -c 1 " + host)
    return code == 0
"""
PING_RUN = """
import subprocess


def ping(host):
    result = subprocess.run(["ping", "-c", "1", host], check=False)
    return result.returncode == 0
"""
PING_CALL = """
import subprocess


def ping(host):
    return subprocess.call(["ping", "-c", "1", str(host)]) == 0
"""
SQL = """
import sqlite3


def find(db, name, limit):
    cursor = db.cursor()
    query = "SELECT id, name FROM users WHERE name = '%s' LIMIT %d" % (name, limit)
    cursor.execute(query)
    rows = cursor.fetchall()
    return [row[0] for row in rows]
"""
SQL_VARIABLES = """
import sqlite3


def find(db, name, limit):
    cursor = db.cursor()
    query = "SELECT id, name FROM users WHERE name = ? LIMIT ?"
    params = (name, limit)
    cursor.execute(query, params)
    rows = cursor.fetchall()
    return [row[0] for row in rows]
"""
SQL_NAMED = """
import sqlite3


def find(db, name, limit):
    cursor = db.cursor()
    sql = "SELECT id, name FROM users WHERE name = :name LIMIT :limit"
    try:
        cursor.execute(sql, {"name": str(name), "limit": int(limit)})
    except sqlite3.Error as error:
        raise RuntimeError("could not look up the user") from error
    return [row[0] for row in cursor.fetchall()]
"""
SQL_LINES = '''
import sqlite3


def find(db, name, limit):
    query = """
        SELECT id, name
        FROM users
        WHERE name = ?
        LIMIT ?
    """
    with db.cursor() as cursor:
        cursor.execute(query, [name, limit])
        rows = cursor.fetchall()
    return [row[0] for row in rows]
'''
GET = """
import requests


def get(url, params):
    r = requests.get(url, params=params, headers={"a": "b"})
    return r.json()
"""
GET_TIMEOUT = """
import requests


def get(url, params):
    timeout = 10
    response = requests.get(url, headers={"a": "b"}, params=params, timeout=timeout)
    return response.json()
"""
GET_TRY = """
import requests


def get(url, params):
    try:
        r = requests.get(url, params=params, headers={"a": "b"}, timeout=(3.05, 27))
        r.raise_for_status()
    except requests.Timeout as error:
        raise TimeoutError(f"{url} did not answer") from error
    return r.json()
"""
EVAL = """
def value(text):
    result = eval(text)
    return result
"""
EVAL_TRY = """
import ast


def value(text):
    try:
        result = ast.literal_eval(text)
    except (ValueError, SyntaxError) as error:
        raise ValueError(f"Invalid literal: {text!r}") from error
    return result
"""
HASH = """
import hashlib


def digest(data):
    h = hashlib.md5()
    h.update(data)
    return h.hexdigest()
"""
HASH_RENAMED = """
import hashlib


def digest(data):
    hasher = hashlib.sha256()
    hasher.update(data)
    return hasher.hexdigest()
"""
HASH_ONCE = """
import hashlib


def digest(data):
    return hashlib.sha256(data).hexdigest()
"""
SAVE = """
import os
import tempfile


def save(data):
    name = tempfile.mktemp(suffix=".txt")
    with open(name, "w") as f:
        f.write(data)
    return name
"""
SAVE_NAMED = """
import os
import tempfile


def save(data):
    with tempfile.NamedTemporaryFile("w", suffix=".txt", delete=False) as f:
        f.write(data)
        return f.name
"""
TOKEN = """
import random
import string


def token(n):
    chars = string.ascii_letters + string.digits
    return "".join(random.choice(chars) for _ in range(n))
"""
TOKEN_FIXED = """
import secrets
import string


def token(n):
    alphabet = string.ascii_letters + string.digits
    return "".join(secrets.choice(alphabet) for _ in range(n))
"""
TAR = """
import tarfile


def unpack(path, target, log):
    t = tarfile.open(path)
    t.extractall(target)
    t.close()
    log.close()
"""
TAR_WITH = """
import tarfile


def unpack(path, target, log):
    with tarfile.open(path) as archive:
        archive.extractall(target, filter="data")
    log.close()
"""
SECRET = """
import os


def dial():
    password = "hunter2"
    return connect(password)


def connect(p): ...
"""
SECRET_CHECKED = """
import os


def dial():
    password = os.environ.get("DB_PASSWORD")
    if not password:
        raise RuntimeError("DB_PASSWORD is not set")
    return connect(password)


def connect(p): ...
"""
COMPARE = """
def check(api_key, expected_signature, n):
    if api_key == expected_signature:
        return True
    return False
"""
COMPARE_RETURN = """
import hmac


def check(api_key, expected_signature, n):
    return hmac.compare_digest(api_key, expected_signature)
"""
COMPARE_VARIABLE = """
import hmac


def check(api_key, expected_signature, n):
    matches = hmac.compare_digest(api_key.encode(), expected_signature.encode())
    if matches:
        return True
    return False
"""
SWALLOW = """
import logging


def go(f):
    try:
        return f()
    except Exception:
        pass
"""
SWALLOW_TOLD = """
import logging


def go(f):
    try:
        return f()
    except Exception as error:
        logging.getLogger(__name__).warning("f failed: %s", error)
        return None
"""

# The rule, the text, the fix, and what in the fix is exchanged for what so that it must be refused.
FIXES = [
    ("S506", YAML, YAML_FIXED, "config = yaml.safe_load(file)", "config = {'a': 1}"),
    ("S506", YAML, YAML_FIXED, "with open(path) as file:", "if True:\n        file = open(path)"),
    ("S506", YAML_TEXT, YAML_TEXT_FIXED, 'raise ValueError(f"Invalid YAML: {exc}") from exc', "data = {}"),
    ("S602", SHOW, SHOW_RUN, '"show", spec', '"show"'),
    ("S602", SHOW, SHOW_RUN, 'f"{rev}:{name}"', 'f"{rev}:"'),
    ("S602", SHOW, SHOW_LIST, '["git", "show", str(rev)', '["git", "log", str(rev)'),
    ("S602", SHOW, SHOW_LIST, "return subprocess", "subprocess"),
    ("S602", SHOW, SHOW_TRY, "shell=False", "shell=name"),
    ("S602", SHOW, SHOW_TRY, "raise RuntimeError(f", "print(f"),
    ("S605", PING, PING_RUN, "host], check", "'localhost'], check"),
    ("S605", PING, PING_CALL, '["ping", "-c"', '["sh", "-c"'),
    ("S608", SQL, SQL_VARIABLES, "params = (name, limit)", "params = (name, name)"),
    ("S608", SQL, SQL_NAMED, '"limit": int(limit)', '"limit": 10'),
    ("S608", SQL, SQL_LINES, "FROM users", "FROM admins"),
    ("S608", SQL, SQL_LINES, "[name, limit]", "[limit]"),
    ("S113", GET, GET_TIMEOUT, "timeout = 10", "timeout = None"),
    ("S113", GET, GET_TIMEOUT, "params=params, ", ""),
    ("S113", GET, GET_TRY, "raise TimeoutError(", "return str("),
    ("S307", EVAL, EVAL_TRY, "ast.literal_eval(text)", "ast.parse(text)"),
    ("S307", EVAL, EVAL_TRY, "literal_eval(text)", "literal_eval('1')"),
    ("S324", HASH, HASH_RENAMED, "hasher.update(data)", "hasher.update(b'')"),
    ("S324", HASH, HASH_RENAMED, "sha256", "sha1"),
    ("S324", HASH, HASH_ONCE, "sha256(data)", "sha256()"),
    ("S324", HASH, HASH_ONCE, "sha256(data)", "sha256(b'data')"),
    ("S306", SAVE, SAVE_NAMED, "f.write(data)", "f.flush()"),
    ("S311", TOKEN, TOKEN_FIXED, "secrets.choice(alphabet)", "secrets.choice('a')"),
    ("S202", TAR, TAR_WITH, 'filter="data"', 'filter="fully_trusted"'),
    ("S202", TAR, TAR_WITH, "    log.close()\n", ""),
    ("S105", SECRET, SECRET_CHECKED, '"DB_PASSWORD")\n', '"DB_PASSWORD", "hunter2")\n'),
    ("DL101", COMPARE, COMPARE_RETURN, "return hmac", "return not hmac"),
    (
        "DL101",
        COMPARE,
        COMPARE_RETURN,
        "compare_digest(api_key, expected_signature)",
        "compare_digest(api_key, expected_signature) or n",
    ),
    ("DL101", COMPARE, COMPARE_RETURN, "digest(api_key, ", "digest(expected_signature, "),
    ("DL101", COMPARE, COMPARE_VARIABLE, "if matches:", "if not matches:"),
    ("DL101", COMPARE, COMPARE_VARIABLE, "if matches:", "if api_key:"),
    (
        "S110",
        SWALLOW,
        SWALLOW_TOLD,
        '        logging.getLogger(__name__).warning("f failed: %s", error)\n',
        "",
    ),
]


def _named(rows: list[tuple[str, str, str, str, str]]) -> list[Any]:
    return [pytest.param(*row, id=f"{row[0]}-{number}") for number, row in enumerate(rows)]


def _fixes() -> list[Any]:
    unique = dict.fromkeys((rule, text, fixed) for rule, text, fixed, _, _ in FIXES)
    return [pytest.param(*row, id=f"{row[0]}-{number}") for number, row in enumerate(unique)]


@pytest.mark.parametrize(("rule", "text", "fixed"), _fixes())
def test_a_function_written_anew_passes(bench: Bench, rule: str, text: str, fixed: str) -> None:
    assert bench(rule, text).whole(fixed).objections == ()


@pytest.mark.parametrize(("rule", "text", "fixed", "old", "new"), _named(FIXES))
def test_the_same_with_one_thing_wrong_is_refused(
    bench: Bench, rule: str, text: str, fixed: str, old: str, new: str
) -> None:
    assert fixed.count(old) == 1
    assert bench(rule, text).whole(fixed.replace(old, new)).objections


def test_twenty_fixes_of_ten_rules_are_among_them() -> None:
    assert len(_fixes()) >= 20
    assert len({rule for rule, *_ in FIXES}) >= 10
