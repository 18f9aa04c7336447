"""Rule 4: the weakness's place is taken by what is accepted there, on the same data, with the same effect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Bench = Callable[..., Any]

YAML = "import yaml\n\n\ndef load(s):\n    data = yaml.load(s)\n    return data\n"
SHELL = (
    "import subprocess\n\n\ndef run(name):\n    subprocess.run(f'git show {name}', shell=True, check=True)\n"
)
RUN = "subprocess.run(f'git show {name}', shell=True, check=True)"
SQL = (
    "def find(db, name, n):\n"
    "    q = f\"SELECT a FROM t WHERE b = '{name}' LIMIT {n}\"\n"
    "    return db.execute(q).fetchall()\n"
)
SQL_ALL = "q = f\"SELECT a FROM t WHERE b = '{name}' LIMIT {n}\"\n    return db.execute(q).fetchall()"
GET = "import requests\n\n\ndef get(u, p):\n    return requests.get(u, params=p).json()\n"
EVAL = "import ast\nimport json\n\n\ndef value(text):\n    return eval(text)\n"
HASH = "import hashlib\n\n\ndef h(b):\n    return hashlib.md5(b).hexdigest()\n"
SECRET = (
    "import os\n\n\ndef dial():\n    password = 'hunter2'\n"
    "    return connect(password)\n\n\ndef connect(p): ...\n"
)
MODE = "import os\n\n\ndef share(p):\n    os.chmod(p, 0o775)\n"
PICKLE = "import json\nimport pickle\n\n\ndef load(f):\n    return pickle.load(f)\n"
RANDOM = "import random\nimport secrets\n\n\ndef token(n):\n    return random.randint(0, n)\n"
SWALLOW = "def go(f):\n    try:\n        return f()\n    except Exception:\n        pass\n"
TMP = "def save(b):\n    with open('/tmp/x', 'wb') as f:\n        f.write(b)\n"
TAR = "import tarfile\n\n\ndef unpack(p):\n    with tarfile.open(p) as t:\n        t.extractall('x')\n"
DEBUG = "from flask import Flask\n\napp = Flask('a')\n\n\ndef main():\n    app.run(debug=True)\n"
ASSERT = "def go(user):\n    assert user.admin\n    return user.name\n"

CHEATS = [
    # The call is gone.
    ("S506", YAML, "data = yaml.load(s)", "data = {}"),
    ("S506", YAML, "data = yaml.load(s)", "data = None"),
    ("S506", YAML, "data = yaml.load(s)", "data = s"),
    ("S506", YAML, "data = yaml.load(s)\n    return data", "return {}"),
    ("S506", YAML, "data = yaml.load(s)", "data = dict()"),
    ("S506", YAML, "data = yaml.load(s)", "yaml.safe_load(s)\n    data = {}"),
    ("S506", YAML, "data = yaml.load(s)", "data = yaml.safe_load('')"),
    ("S506", YAML, "data = yaml.load(s)", "data = yaml.safe_load('{}')"),
    ("S506", YAML, "data = yaml.load(s)", "data = yaml.dump(s)"),
    ("S506", YAML, "data = yaml.load(s)", "data = yaml.load(s, Loader=yaml.FullLoader)"),
    ("S506", YAML, "data = yaml.load(s)", "data = yaml.unsafe_load(s)"),
    ("S506", YAML, "data = yaml.load(s)", "data = yaml.load(s, Loader=yaml.UnsafeLoader)"),
    ("S506", YAML, "yaml.load(s)", "yaml.compose(s)"),
    # Another program, other words, none at all.
    ("S602", SHELL, RUN, "subprocess.run(['true'], check=True)"),
    ("S602", SHELL, RUN, "subprocess.run(['git', 'show'], check=True)"),
    ("S602", SHELL, RUN, "subprocess.run(['git', name], check=True)"),
    ("S602", SHELL, RUN, "subprocess.run(['hg', 'show', name], check=True)"),
    ("S602", SHELL, RUN, "subprocess.run([], check=True)"),
    ("S602", SHELL, RUN, "subprocess.run([f'git show {name}'], check=True)"),
    ("S602", SHELL, RUN, "subprocess.run(['git show', name], check=True)"),
    ("S602", SHELL, RUN, "subprocess.run(f'git show {name}', check=True)"),
    ("S602", SHELL, RUN, "subprocess.run(['bash', '-c', f'git show {name}'], check=True)"),
    ("S602", SHELL, RUN, "subprocess.run(['env', 'sh', '-c', f'git show {name}'], check=True)"),
    ("S602", SHELL, RUN, "print(f'git show {name}')"),
    ("S602", SHELL, RUN, "return None"),
    ("S602", SHELL, RUN, "_ = name"),
    ("S602", SHELL, RUN, "raise ValueError(name)"),
    # Values that are no parameters, words that are lost.
    ("S608", SQL, SQL_ALL, 'return db.execute("SELECT a FROM t").fetchall()'),
    ("S608", SQL, SQL_ALL, 'return db.execute("SELECT a FROM t WHERE b = ? LIMIT ?").fetchall()'),
    ("S608", SQL, SQL_ALL, 'return db.execute("SELECT a FROM t WHERE b = ?", (name,)).fetchall()'),
    ("S608", SQL, SQL_ALL, 'return db.execute("SELECT a FROM t WHERE b = ? LIMIT 10", (name,)).fetchall()'),
    ("S608", SQL, SQL_ALL, 'return db.execute("SELECT a FROM t LIMIT ?", (name, n)).fetchall()'),
    ("S608", SQL, SQL_ALL, 'return db.execute("DELETE FROM t WHERE b = ? LIMIT ?", (name, n)).fetchall()'),
    ("S608", SQL, SQL_ALL, 'return db.fetch("SELECT a FROM t WHERE b = ? LIMIT ?", ("", n))'),
    ("S608", SQL, SQL_ALL, "return []"),
    (
        "S608",
        SQL,
        "f\"SELECT a FROM t WHERE b = '{name}' LIMIT {n}\"",
        "'SEL' + f\"ECT a FROM t WHERE b = '{name}' LIMIT {n}\"",
    ),
    (
        "S608",
        SQL,
        SQL_ALL,
        (
            "a, b = 'SELECT a FROM t WHERE b = ', ' LIMIT '\n    q = a + name + b + str(n)\n"
            "    return db.execute(q).fetchall()"
        ),
    ),
    ("S608", SQL, "'{name}'", "'{name.replace(chr(39), str())}'"),
    # Timeouts that aren't, other requests.
    ("S113", GET, "params=p", "params=p, timeout=None"),
    ("S113", GET, "params=p", "params=p, timeout=(None, None)"),
    ("S113", GET, "params=p", "params=p, timeout=float('inf')"),
    ("S113", GET, "params=p", "params=p, timeout=10**9"),
    ("S113", GET, "params=p", "params=p, timeout=999999"),
    ("S113", GET, "params=p", "params=p, timeout=0"),
    ("S113", GET, "params=p", "timeout=10"),
    ("S113", GET, "get(u, params=p)", "head(u, params=p, timeout=10)"),
    (
        "S113",
        GET,
        "return requests.get(u, params=p)",
        "t = None\n    return requests.get(u, params=p, timeout=t)",
    ),
    ("S113", GET, "requests.get(u, params=p).json()", "{}"),
    # Evaluation by another name.
    ("S307", EVAL, "eval(text)", "text"),
    ("S307", EVAL, "eval(text)", "ast.literal_eval('1')"),
    ("S307", EVAL, "eval(text)", "ast.parse(text)"),
    ("S307", EVAL, "eval(text)", "json.loads('null')"),
    ("S307", EVAL, "return eval(text)", "ast.literal_eval(text)\n    return 0"),
    # Weak hashes.
    ("S324", HASH, "hashlib.md5(b)", "hashlib.sha1(b)"),
    ("S324", HASH, "hashlib.md5(b)", "hashlib.sha1(b, usedforsecurity=False)"),
    ("S324", HASH, "hashlib.md5(b)", "hashlib.md5(b, usedforsecurity=True)"),
    ("S324", HASH, "hashlib.md5(b)", "hashlib.sha256(b'')"),
    ("S324", HASH, "hashlib.md5(b).hexdigest()", "b.hex()"),
    # The secret is still there, or only another.
    ("S105", SECRET, "'hunter2'", "'hunter3'"),
    ("S105", SECRET, "'hunter2'", "''"),
    ("S105", SECRET, "password = 'hunter2'", "word = 'hunter2'\n    password = word"),
    ("S105", SECRET, "'hunter2'", "os.environ.get('PW', 'hunter2')"),
    ("S105", SECRET, "'hunter2'", "os.getenv('PW', default='hunter2')"),
    ("S105", SECRET, "'hunter2'", "os.environ.get('PW') or 'hunter2'"),
    ("S105", SECRET, "'hunter2'", "'hunter2' if 'PW' in os.environ else os.environ['PW']"),
    ("S105", SECRET, "'hunter2'", "'2retnuh'[::-1]"),
    ("S105", SECRET, "'hunter2'", "bytes.fromhex('68756e74657232').decode()"),
    ("S105", SECRET, "'hunter2'", "None"),
    # Modes.
    ("S103", MODE, "0o775", "0o777"),
    ("S103", MODE, "0o775", "0o1775"),
    ("S103", MODE, "0o775", "0"),
    ("S103", MODE, "os.chmod(p, 0o775)", "m = 0o775\n    os.chmod(p, m)"),
    ("S103", MODE, "0o775", "int('775', 8)"),
    ("S103", MODE, "0o775", "0o700 | 0o075"),
    ("S103", MODE, "os.chmod(p, 0o775)", "print(p)"),
    ("S103", MODE, "0o775", "0o772"),
    # Others.
    ("S301", PICKLE, "pickle.load(f)", "json.loads('{}')"),
    ("S301", PICKLE, "pickle.load(f)", "f.read()"),
    ("S301", PICKLE, "pickle.load(f)", "pickle.Unpickler(f).load()"),
    ("S311", RANDOM, "random.randint(0, n)", "4"),
    ("S311", RANDOM, "random.randint(0, n)", "n"),
    ("S311", RANDOM, "random.randint(0, n)", "secrets.randbelow(10)"),
    ("S311", RANDOM, "random.randint(0, n)", "int(n / 2)"),
    ("S110", SWALLOW, "        pass", "        ..."),
    ("S110", SWALLOW, "        pass", "        return None"),
    ("S110", SWALLOW, "        pass", "        x = 1"),
    ("S110", SWALLOW, "except Exception:\n        pass", "finally:\n        return None"),
    ("S110", SWALLOW, "except Exception", "except BaseException"),
    (
        "S110",
        SWALLOW,
        "    try:\n        return f()\n    except Exception:\n        pass",
        "    import contextlib\n    with contextlib.suppress(Exception):\n        return f()",
    ),
    ("S108", TMP, "'/tmp/x'", "'/var' + '/x'"),
    ("S108", TMP, "'/tmp/x'", "'/t' 'mp/x'"),
    ("S108", TMP, "'/tmp/x'", "'x'"),
    ("S108", TMP, "open('/tmp/x', 'wb')", "open('/'.join(['', 'tmp', 'x']), 'wb')"),
    ("S202", TAR, "'x')", "'x', filter='fully_trusted')"),
    ("S202", TAR, "'x')", "'x', members=t.getmembers())"),
    ("S202", TAR, "t.extractall('x')", "print(t)"),
    ("S202", TAR, "t.extractall('x')", "e = t.extractall\n        e('x')"),
    ("S201", DEBUG, "debug=True", "debug=1"),
    ("S201", DEBUG, "debug=True", "debug=not False"),
    ("S201", DEBUG, "app.run(debug=True)", "app.debug = True\n    app.run()"),
    ("S201", DEBUG, "app.run(debug=True)", "print(app)"),
    ("S101", ASSERT, "assert user.admin\n", "user.admin\n"),
    ("S101", ASSERT, "assert user.admin\n", "if user.admin:\n        pass\n"),
    ("S101", ASSERT, "assert user.admin\n    return", "return"),
    ("S101", ASSERT, "assert user.admin\n", "if not user:\n        raise ValueError\n"),
]


@pytest.mark.parametrize(("rule", "text", "old", "new"), CHEATS)
def test_what_is_not_accepted_in_a_weakness_place_is_refused(
    bench: Bench, rule: str, text: str, old: str, new: str
) -> None:
    verdict = bench(rule, text).put(old, new)
    assert verdict.objections, new
    assert all(one.endswith(".") and len(one) < 300 for one in verdict.objections)


def test_a_rule_without_an_entry_still_wants_a_call_in_the_place(bench: Bench) -> None:
    text = "import ftplib\n\n\ndef dial(host):\n    return ftplib.FTP(host)\n"
    one = bench("S321", text)
    assert one.put("return ftplib.FTP(host)", "return host").objections
    assert one.put("ftplib.FTP(host)", "open_connection('x')").objections


def test_other_calls_of_the_function_stay(bench: Bench) -> None:
    text = (
        "import yaml\n\n\ndef load(s, log):\n    log.info(s)\n    check(s)\n"
        "    return yaml.load(s)\n\n\ndef check(s): ...\n"
    )
    one = bench("S506", text)
    assert one.put("yaml.load", "yaml.safe_load").objections == ()
    for lost in ("    log.info(s)\n", "    check(s)\n"):
        verdict = one.put("yaml.load", "yaml.safe_load", (lost, ""))
        assert any("no longer calls" in objection for objection in verdict.objections)
