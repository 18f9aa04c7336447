"""Fixes that a careful person would write pass, and the verdict says what verified them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Bench = Callable[..., Any]

GOOD = [
    ("S506", "import yaml\n\n\ndef load(s):\n    return yaml.load(s)\n", "yaml.load(s)", "yaml.safe_load(s)"),
    (
        "S506",
        "import yaml\n\n\ndef load(s):\n    return yaml.load(s)\n",
        "yaml.load(s)",
        "yaml.load(s, Loader=yaml.SafeLoader)",
    ),
    (
        "S602",
        (
            "import subprocess\n\n\ndef run(name):\n"
            "    subprocess.run(f'git show {name}', shell=True, check=True)\n"
        ),
        "subprocess.run(f'git show {name}', shell=True, check=True)",
        "subprocess.run(['git', 'show', name], check=True)",
    ),
    (
        "S605",
        "import os\nimport subprocess\n\n\ndef run(name):\n    os.system('ping -c 1 ' + name)\n",
        "os.system('ping -c 1 ' + name)",
        "subprocess.run(['ping', '-c', '1', name], check=False)",
    ),
    (
        "S608",
        "def find(cursor, name):\n    cursor.execute(f\"SELECT id FROM t WHERE name = '{name}'\")\n",
        "f\"SELECT id FROM t WHERE name = '{name}'\"",
        '"SELECT id FROM t WHERE name = %s", (name,)',
    ),
    (
        "S301",
        (
            "import json\nimport pickle\n\n\ndef load(path):\n"
            "    with open(path, 'rb') as f:\n        return pickle.load(f)\n"
        ),
        "pickle.load(f)",
        "json.load(f)",
    ),
    (
        "S307",
        "import ast\n\n\ndef value(text):\n    return eval(text)\n",
        "eval(text)",
        "ast.literal_eval(text)",
    ),
    (
        "S307",
        "def value(op, a, b):\n    return eval(f'a {op} b')\n",
        "eval(f'a {op} b')",
        "{'+': a + b, '-': a - b}[op]",
    ),
    ("S324", "import hashlib\n\n\ndef h(b):\n    return hashlib.md5(b).hexdigest()\n", "md5(b)", "sha256(b)"),
    (
        "S324",
        "import hashlib\n\n\ndef h(b):\n    return hashlib.md5(b).hexdigest()\n",
        "md5(b)",
        "md5(b, usedforsecurity=False)",
    ),
    ("S113", "import requests\n\n\ndef g(u):\n    return requests.get(u)\n", "(u)\n", "(u)\n"),
    (
        "S501",
        "import requests\n\n\ndef g(u):\n    return requests.get(u, verify=False, timeout=3)\n",
        ", verify=False",
        "",
    ),
    (
        "S105",
        (
            "import os\n\n\ndef dial():\n    password = 'hunter2'\n"
            "    return connect(password)\n\n\ndef connect(p): ...\n"
        ),
        "'hunter2'",
        "os.environ['DB_PASSWORD']",
    ),
    (
        "S311",
        "import random\nimport secrets\n\n\ndef token(n):\n    return random.randint(0, n)\n",
        "random.randint(0, n)",
        "secrets.randbelow(n + 1)",
    ),
    (
        "S110",
        "import logging\n\n\ndef go(f):\n    try:\n        f()\n    except Exception:\n        pass\n",
        "        pass\n",
        "        logging.exception('go failed')\n",
    ),
    (
        "S101",
        "def go(user):\n    assert user.admin\n    return user.name\n",
        "assert user.admin",
        "if not user.admin:\n        raise PermissionError('not allowed')",
    ),
    ("S103", "import os\n\n\ndef share(p):\n    os.chmod(p, 0o777)\n", "0o777", "0o700"),
    (
        "S202",
        "import tarfile\n\n\ndef unpack(p):\n    with tarfile.open(p) as t:\n        t.extractall('x')\n",
        "'x')",
        "'x', filter='data')",
    ),
]


@pytest.mark.parametrize(("rule", "text", "old", "new"), GOOD)
def test_a_good_fix_passes(bench: Bench, rule: str, text: str, old: str, new: str) -> None:
    if old == "(u)\n":
        old, new = "requests.get(u)", "requests.get(u, timeout=10)"
    one = bench(rule, text)
    verdict = one.put(old, new)
    assert verdict.objections == ()
    assert verdict.parsed
    assert set(one.finding.scanners) <= set(verdict.rescanned)


def test_the_verdict_says_what_verified_it(bench: Bench) -> None:
    text = "import random\n\n\ndef token(n):\n    return random.randint(0, n)\n"
    verdict = bench("S311", text).put(
        "random.randint(0, n)", "secrets.randbelow(n + 1)", ("import random\n", "import secrets\n")
    )
    assert verdict.objections == ()
    assert verdict.imports_resolve is True
    assert verdict.label().startswith("parsed; rescanned by ")
    assert "ruff" in verdict.label()
    assert "bandit" in verdict.label()
    assert verdict.label().endswith("imports resolve")


def test_without_new_imports_none_is_said_to_resolve(bench: Bench) -> None:
    text = "import yaml\n\n\ndef load(s):\n    return yaml.load(s)\n"
    assert bench("S506", text).put("yaml.load", "yaml.safe_load").imports_resolve is None


def test_a_file_written_anew_counts_for_what_differs_in_it(bench: Bench) -> None:
    filler = "".join(f"def f{number}():\n    return {number}\n\n\n" for number in range(60))
    text = f"import yaml\n\n\n{filler}def load(s):\n    return yaml.load(s)\n"
    one = bench("S506", text)
    assert one.whole(text.replace("yaml.load", "yaml.safe_load")).objections == ()


def test_a_declared_distribution_may_be_imported(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("defusedxml>=0.7\n")
    text = "import xml.etree.ElementTree as ET\n\n\ndef read(s):\n    return ET.fromstring(s)\n"
    one = bench("S314", text, roots=(str(tmp_path),))
    verdict = one.put("xml.etree.ElementTree", "defusedxml.ElementTree")
    assert verdict.objections == ()
    assert verdict.imports_resolve is True
