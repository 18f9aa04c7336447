"""Fixed programs are run: they do what they did for ordinary values, and no longer what an attacker wants."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from deltaloom_server.security.codemods import propose
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.proposal import apply_edits

Scan = Callable[[Sequence[str]], list[list[Finding]]]

COMMANDS = {
    "f-string": 'subprocess.run(f"cat {name}", shell=True, capture_output=True, text=True).stdout',
    "quoted": "subprocess.check_output(\"cat '%s' 2>/dev/null || true\" % name, shell=True, text=True)",
    "percent": "subprocess.run(\"cat '%s' 2>/dev/null\" % name, shell=True, stdout=-1, text=True).stdout",
    "format": 'subprocess.run("cat {0} {0}".format(name), shell=True, stdout=-1, text=True).stdout',
    "sum": 'os.popen("cat " + name + " | cat" if False else "cat " + name).read()',
    "popen": 'os.popen("cat " + name).read()',
    "lines": 'list(os.popen(f"cat {name}"))',
    "getoutput": 'subprocess.getoutput("cat ./%s" % name)',
    "status": 'os.system("test -f " + name) == 0',
    "folder": 'subprocess.run(f"cd {os.getcwd()} && cat {name}", shell=True, stdout=-1, text=True).stdout',
    "variable": 'subprocess.run(f"NAME={name} printenv NAME", shell=True, stdout=-1, text=True).stdout',
    "several": "subprocess.run(f\"cat {' '.join([name, name])}\", shell=True, stdout=-1, text=True).stdout",
    "pattern": 'subprocess.run(f"cat {name}*", shell=True, stdout=-1, text=True).stdout',
}
LEFT = {"quoted", "sum"}
STATEMENTS = {
    "f-string": "f\"SELECT id FROM users WHERE name = '{name}' ORDER BY id\"",
    "percent": "\"SELECT id FROM users WHERE name = '%s' ORDER BY id\" % name",
    "format": "\"SELECT id FROM users WHERE name = '{}' AND id < {}\".format(name, 9)",
    "sum": '"SELECT id FROM users WHERE name = \'" + name + "\' LIMIT " + str(5)',
    "like": "f\"SELECT id FROM users WHERE name LIKE '{name}%' AND name NOT LIKE '100%%'\"",
    "double quotes": "f'SELECT id FROM users WHERE name = \"{name}\"'",
    "list": "\"SELECT id FROM users WHERE name IN (%s)\" % ','.join(f\"'{n}'\" for n in [name, 'x'])",
    "lines": '(\n        "SELECT id FROM users "\n        f"WHERE name = \'{name}\'"\n    )',
}


@pytest.fixture(scope="module")
def found(scan: Scan) -> dict[str, list[Finding]]:
    texts = [*map(_command, COMMANDS), *map(_query, STATEMENTS)]
    return dict(zip(texts, scan(texts), strict=True))


def _command(key: str) -> str:
    return f"import os\nimport subprocess\n\n\ndef show(name):\n    return {COMMANDS[key]}\n"


def _query(key: str) -> str:
    return (
        "import sqlite3\n\n\ndef find(db: sqlite3.Connection, name):\n"
        f"    sql = {STATEMENTS[key]}\n    return db.execute(sql).fetchall()\n"
    )


def _fixed(text: str, found: dict[str, list[Finding]], *rules: str) -> str | None:
    proposals = [one for finding in found[text] if finding.rule in rules for one in propose(text, finding)]
    return apply_edits(text, proposals[0].edits) if proposals else None


def _run(text: str, function: str, *arguments: object) -> object:
    names: dict[str, Callable[..., object]] = {}
    exec(compile(text, "program.py", "exec"), names)
    return names[function](*arguments)


@pytest.mark.parametrize("key", [key for key in COMMANDS if key not in LEFT])
def test_a_command_without_a_shell_does_the_same_and_takes_no_orders(
    key: str, found: dict[str, list[Finding]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes").write_text("first\nsecond\n")
    before = _command(key)
    after = _fixed(before, found, "S602", "S605")
    assert after is not None
    assert _run(after, "show", "notes") == _run(before, "show", "notes")
    orders = (
        "notes; touch owned #",
        "notes'; touch owned #",
        "$(touch owned)",
        "`touch owned`",
        "x\ntouch owned",
    )
    for hostile in orders:
        _run(after, "show", hostile)
        assert not (tmp_path / "owned").exists(), after
    for hostile in orders[:2]:
        _run(before, "show", hostile)
    assert (tmp_path / "owned").exists(), "the program was not open to begin with"


@pytest.mark.parametrize("key", sorted(LEFT))
def test_a_command_that_needs_a_shell_is_left_alone(key: str, found: dict[str, list[Finding]]) -> None:
    assert _fixed(_command(key), found, "S602", "S605") is None


@pytest.mark.parametrize("key", STATEMENTS)
def test_a_statement_with_parameters_finds_the_same_and_takes_no_orders(
    key: str, found: dict[str, list[Finding]]
) -> None:
    db = sqlite3.connect(":memory:")
    db.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT)")
    db.executemany("INSERT INTO users (name) VALUES (?)", [("ann",), ("bob",), ("o'neil",), ("100%",)])
    before = _query(key)
    after = _fixed(before, found, "S608")
    assert after is not None
    assert _run(after, "find", db, "ann") == _run(before, "find", db, "ann") == [(1,)]
    assert _run(after, "find", db, "o'neil") == [(3,)]
    for mark in "'\"":
        assert _run(after, "find", db, f"x{mark} OR {mark}1{mark}={mark}1") == []
    db.close()
