"""A program is started as before; a weakness is neither declared harmless nor given less to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from deltaloom_server.security.analysis.messages import Judge, ScanResult, ScanText
from deltaloom_server.security.gate import judge
from deltaloom_server.security.proposal import Edit, Origin, Proposal

Bench = Callable[..., Any]
Scan = Callable[[ScanText], ScanResult]

LIST = "import os\nimport subprocess\n\n\ndef show(x):\n    subprocess.call(f'ls {x}', shell=True)\n"
CALL = "subprocess.call(f'ls {x}', shell=True)"
HASH = "import hashlib\n\n\ndef digest(b):\n    return hashlib.md5(b).hexdigest()\n"
YAML = "import yaml\n\n\ndef load(p):\n    return yaml.load(p)\n"


def _command(text: str) -> str:
    return f"import os\nimport subprocess\n\n\ndef show(x):\n    subprocess.call(f'{text}', shell=True)\n"


@pytest.mark.parametrize(
    "given",
    [
        "executable='/bin/sh'",
        "env={'LD_PRELOAD': x}",
        "env={**os.environ, 'LD_PRELOAD': x}",
        "env={**os.environ, 'PATH': x}",
        "env=dict(os.environ, PATH=x)",
        "env=os.environ | {'PATH': x}",
        "env={**os.environ, **x}",
        "env=x",
        "preexec_fn=x",
        "cwd=x",
        "user=x",
        "pass_fds=x",
        "close_fds=False",
        "stdin=x",
        "stdout=x",
        "input=x",
    ],
)
def test_a_start_gets_no_new_settings(bench: Bench, given: str) -> None:
    objections = bench("S602", LIST).put(CALL, f"subprocess.call(['ls', x], {given})").objections
    assert any("which the code before did not" in one for one in objections), objections


def test_settings_by_their_places_are_refused(bench: Bench) -> None:
    objections = bench("S602", LIST).put(CALL, "subprocess.call(['ls', x], -1, '/bin/sh')").objections
    assert any("by their places" in one for one in objections)


@pytest.mark.parametrize(
    "lines",
    ["env['LD_PRELOAD'] = x", "env.update(LD_PRELOAD=x)", "env |= x"],
)
def test_variables_set_before_the_start_are_settings_too(bench: Bench, lines: str) -> None:
    new = f"env = os.environ.copy()\n    {lines}\n    subprocess.call(['ls', x], env=env)"
    objections = bench("S602", LIST).put(CALL, new).objections
    assert any("which the command did not" in one for one in objections), objections


@pytest.mark.parametrize(
    "given",
    [
        "check=True",
        "text=True, capture_output=True, timeout=5",
        "stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT",
        "shell=False",
    ],
)
def test_harmless_settings_pass(bench: Bench, given: str) -> None:
    old = LIST.replace("subprocess.call", "subprocess.run")
    new = f"subprocess.run(['ls', x], {given})"
    assert bench("S602", old).put("subprocess.run(f'ls {x}', shell=True)", new).objections == ()


@pytest.mark.parametrize(
    ("command", "new"),
    [
        ("cd /srv && ls {x}", "subprocess.call(['ls', x], cwd='/srv')"),
        ("LC_ALL=C ls {x}", "subprocess.call(['ls', x], env={**os.environ, 'LC_ALL': 'C'})"),
        (
            "ls {x} > names",
            "with open('names', 'w') as names:\n        subprocess.call(['ls', x], stdout=names)",
        ),
    ],
)
def test_what_the_command_line_said_becomes_a_setting(bench: Bench, command: str, new: str) -> None:
    one = bench("S602", _command(command))
    assert one.put(f"subprocess.call(f'{command}', shell=True)", new).objections == ()


def test_a_setting_that_was_there_stays(bench: Bench) -> None:
    text = LIST.replace("shell=True", "shell=True, cwd=x, env={'A': x}")
    old = "subprocess.call(f'ls {x}', shell=True, cwd=x, env={'A': x})"
    new = "subprocess.call(['ls', x], cwd=x, env={'A': x})"
    assert bench("S602", text).put(old, new).objections == ()


# -- silencing ----------------------------------------------------------------------------------------------


def _objections(
    bench: Bench, scanners: Scan, rule: str, text: str, old: str, new: str, origin: Origin
) -> tuple[str, ...]:
    one = bench(rule, text)
    assert one.text.count(old) == 1
    at = one.text.index(old)
    proposal = Proposal("t", (Edit(at, at + len(old), new),), origin)
    return judge(Judge(one.text, one.finding, proposal, (), ()), scanners).objections


def test_a_model_does_not_say_what_a_hash_is_for(bench: Bench, scanners: Scan) -> None:
    put = "md5(b)", "md5(b, usedforsecurity=False)"
    assert any(
        one.startswith("It only says") for one in _objections(bench, scanners, "S324", HASH, *put, "model")
    )
    assert _objections(bench, scanners, "S324", HASH, *put, "codemod") == ()


@pytest.mark.parametrize("name", ["password", "secret", "reset_token", "api_key", "signature"])
def test_a_hash_of_a_secret_is_not_harmless(bench: Bench, name: str) -> None:
    text = f"import hashlib\n\n\ndef digest({name}):\n    return hashlib.md5({name}).hexdigest()\n"
    objections = bench("S324", text).put(f"md5({name})", f"md5({name}, usedforsecurity=False)").objections
    assert any("speaks of a secret" in one for one in objections)


@pytest.mark.parametrize(
    ("rule", "text", "old", "new"),
    [
        ("S324", HASH, "md5(b)", "sha256(b[:0])"),
        ("S324", HASH, "md5(b)", "sha256(b and b'')"),
        ("S324", HASH, "return hashlib.md5(b)", "b = b[:0]\n    return hashlib.sha256(b)"),
        ("S506", YAML, "yaml.load(p)", "yaml.safe_load(str(p))"),
        ("S506", YAML, "yaml.load(p)", "yaml.safe_load(p[:1])"),
        ("S307", "import ast\n\n\ndef v(p):\n    return eval(p)\n", "eval(p)", "ast.literal_eval(repr(p))"),
    ],
)
def test_the_data_stays_the_same(bench: Bench, rule: str, text: str, old: str, new: str) -> None:
    objections = bench(rule, text).put(old, new).objections
    assert any("on as it was" in one or "before it passes it on" in one for one in objections), objections


PICKLE = "import json\nimport pickle\n\n\ndef load(p):\n    return pickle.loads(p)\n"
XML = (
    "import xml.etree.ElementTree as E\nimport defusedxml.ElementTree as D\n\n\n"
    "def load(p):\n    return E.fromstring(p)\n"
)
LOOP = (
    "import hashlib\n\n\ndef digest(b):\n    h = hashlib.md5()\n    for c in b:\n        h.update(c)\n"
    "    return h.hexdigest()\n"
)


@pytest.mark.parametrize(
    ("rule", "text", "old", "good", "bad"),
    [
        ("S301", PICKLE, "pickle.loads(p)", "json.loads(p)", "json.loads(p[:0])"),
        ("S314", XML, "E.fromstring(p)", "D.fromstring(p)", "D.fromstring(p[:0])"),
        (
            "S324",
            LOOP,
            "h = hashlib.md5()\n    for c in b:\n        h.update(c)",
            "h = hashlib.sha256()\n    for c in b:\n        h.update(c)",
            "h = hashlib.sha256()\n    for c in b:\n        h.update(c[:0])",
        ),
        ("S506", YAML, "yaml.load(p)", "yaml.safe_load(stream=p)", "yaml.safe_load('', p)"),
    ],
)
def test_a_replacement_takes_all_of_the_data(
    bench: Bench, rule: str, text: str, old: str, good: str, bad: str
) -> None:
    one = bench(rule, text)
    assert one.put(old, good).objections == ()
    assert any("on as it was" in said for said in one.put(old, bad).objections)


@pytest.mark.parametrize("lines", ["x = ''", "for x in ['']:\n        pass", "(x := '')"])
def test_a_value_is_not_overwritten_first(bench: Bench, lines: str) -> None:
    objections = bench("S602", LIST).put(CALL, f"{lines}\n    subprocess.call(['ls', x])").objections
    assert any("overwrites x" in one for one in objections), objections


def test_a_value_may_be_narrowed_first(bench: Bench) -> None:
    assert bench("S602", LIST).put(CALL, "x = str(x)\n    subprocess.call(['ls', x])").objections == ()


def test_data_may_be_encoded(bench: Bench) -> None:
    text = HASH.replace("md5(b)", "md5(b.encode())")
    assert bench("S324", text).put("md5(b.encode())", "sha256(b.encode('utf-8'))").objections == ()


def test_one_document_does_not_become_many(bench: Bench) -> None:
    objections = bench("S506", YAML).put("yaml.load(p)", "yaml.safe_load_all(p)").objections
    assert any("number of documents" in one for one in objections)
    assert bench("S506", YAML).put("yaml.load(p)", "yaml.safe_load(p)").objections == ()


@pytest.mark.parametrize("line", ["print(p)", "logging.info(p)", "logger.warning(p)"])
def test_a_model_adds_no_messages(bench: Bench, scanners: Scan, line: str) -> None:
    head = "import logging\n\nlogger = logging.getLogger('x')\n"
    text = head + YAML
    new = f"{line}\n    return yaml.safe_load(p)"
    found = _objections(bench, scanners, "S506", text, "return yaml.load(p)", new, "model")
    assert any(one.startswith("It prints or logs") for one in found)


def test_a_message_that_was_there_stays(bench: Bench, scanners: Scan) -> None:
    text = "import yaml\n\n\ndef load(p):\n    print(p)\n    return yaml.load(p)\n"
    put = "yaml.load(p)", "yaml.safe_load(p)"
    assert _objections(bench, scanners, "S506", text, *put, "model") == ()


QUERY = "f\"SELECT id FROM t WHERE name = '{n}'\""


@pytest.mark.parametrize(
    ("driver", "right", "wrong"), [("sqlite3", "?", "%s"), ("psycopg", "%s", "?"), ("psycopg2", "%s", ":n")]
)
def test_placeholders_are_the_drivers(bench: Bench, driver: str, right: str, wrong: str) -> None:
    text = (
        f"import {driver}\n\n\ndef find(n):\n    connection = {driver}.connect('app')\n"
        f"    return connection.execute({QUERY}).fetchall()\n"
    )
    one = bench("S608", text)
    assert one.put(QUERY, f'"SELECT id FROM t WHERE name = {right}", (n,)').objections == ()
    objections = one.put(QUERY, f'"SELECT id FROM t WHERE name = {wrong}", (n,)').objections
    assert any("placeholders" in one for one in objections)
