"""Paths, tokens, patterns, templates, keys: ways in which they are put right, and ways that only look so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Bench = Callable[..., Any]

FILES = """
import os
from pathlib import Path
from flask import Flask, abort, request, send_file, send_from_directory

app = Flask(__name__)
ROOT = Path("/srv/files")


@app.get("/f")
def f():
    name = request.args["name"]
    BODY
"""
READ = "return (ROOT / name).read_text()"
SEND = "return send_file(os.path.join(ROOT, name))"

CONTAINED = [
    (
        READ,
        (
            "path: Path = (ROOT / name).resolve()\n    if not path.is_relative_to(ROOT.resolve()):\n"
            "        abort(404)\n    return path.read_text()"
        ),
    ),
    (
        READ,
        (
            "root = ROOT.resolve()\n    path = (root / name).resolve()\n"
            "    if root not in path.parents:\n        abort(404)\n    return path.read_text()"
        ),
    ),
    (SEND, "return send_from_directory(ROOT, name)"),
    (
        "return send_file(os.path.join(app.config['X'], name))",
        "return send_from_directory(app.config['X'], name)",
    ),
    ("path = os.path.join(ROOT, name)\n    return send_file(path)", "return send_from_directory(ROOT, name)"),
]
ESCAPING = [
    (
        READ,
        (
            "path = ROOT / name\n    if ROOT not in path.parents:\n        abort(404)\n"
            "    return path.read_text()"
        ),
    ),
    (
        READ,
        (
            "path = (ROOT / name).resolve()\n    if ROOT.resolve() in path.parents:\n        abort(404)\n"
            "    return path.read_text()"
        ),
    ),
    (
        READ,
        (
            "path = (ROOT / name).resolve()\n    if ROOT.resolve() not in path.parents:\n"
            "        print(name)\n    return path.read_text()"
        ),
    ),
    (SEND, "return send_from_directory('/', name)"),
    (SEND, "return send_from_directory(os.path.dirname(name), os.path.basename(name))"),
    (SEND, "return send_from_directory(ROOT, 'index.html')"),
    (SEND, "send_from_directory(ROOT, name)\n    " + SEND),
]


def _both(text: str, old: str, new: str) -> tuple[str, str]:
    return text.replace("BODY", old), text.replace("BODY", new)


@pytest.mark.parametrize(("old", "new"), CONTAINED)
def test_a_path_is_held_in_its_folder(bench: Bench, old: str, new: str) -> None:
    text, after = _both(FILES, old, new)
    assert bench("DL103", text).whole(after).objections == ()


@pytest.mark.parametrize(("old", "new"), ESCAPING)
def test_a_path_that_still_leads_out_or_elsewhere_is_refused(bench: Bench, old: str, new: str) -> None:
    text, after = _both(FILES, old, new)
    assert bench("DL103", text).whole(after).objections


TOKENS = """
import jwt

ALGORITHMS = ["HS256"]
WEAK = ["HS256", "none"]


class Reader:
    def __init__(self, key, algorithm):
        self.key = key
        self._algorithm = algorithm
        self._weak = "none"

    def read(self, token, claims):
        BODY
"""
UNVERIFIED = "return jwt.decode(token, self.key, options={'verify_signature': False})"


@pytest.mark.parametrize(
    "given",
    [
        "['HS256']",
        "algorithms=['HS256']",
        "algorithms=ALGORITHMS",
        "ALGORITHMS",
        "[self._algorithm]",
        "algorithms=[self._algorithm]",
        "ALGORITHMS, {'verify_signature': True}",
    ],
)
def test_algorithms_are_the_programs_choice(bench: Bench, given: str) -> None:
    text, after = _both(TOKENS, UNVERIFIED, f"return jwt.decode(token, self.key, {given})")
    assert bench("DL102", text).whole(after).objections == ()


def test_a_variable_of_the_function_is_followed(bench: Bench) -> None:
    good = "allowed = ['HS256']\n        return jwt.decode(token, self.key, algorithms=allowed)"
    text, after = _both(TOKENS, UNVERIFIED, good)
    assert bench("DL102", text).whole(after).objections == ()
    text, after = _both(TOKENS, UNVERIFIED, good.replace("['HS256']", "jwt.get_unverified_header(token)"))
    assert bench("DL102", text).whole(after).objections


@pytest.mark.parametrize(
    "given",
    [
        "['none']",
        "algorithms=None",
        "algorithms=[]",
        "algorithms=WEAK",
        "algorithms=[self._weak]",
        "algorithms=token.algorithms",
        "algorithms=[claims['alg']]",
        "algorithms=[jwt.get_unverified_header(token)['alg']]",
        "ALGORITHMS, {'verify_signature': False}",
        "['HS256'], {'verify_signature': False}",
        "algorithms=ALGORITHMS, options={'verify_exp': False}",
        "algorithms=ALGORITHMS, verify=False",
    ],
)
def test_no_algorithm_and_no_token_chooses_for_itself(bench: Bench, given: str) -> None:
    text, after = _both(TOKENS, UNVERIFIED, f"return jwt.decode(token, self.key, {given})")
    assert bench("DL102", text).whole(after).objections


SEARCH = """
import re
from flask import Flask, request

app = Flask(__name__)
TEXT = "a.b"


@app.get("/f")
def f():
    BODY
"""
FIND = "return re.findall(request.args['q'], TEXT)"


@pytest.mark.parametrize(
    "new",
    [
        "return re.findall(re.escape(request.args['q']), TEXT)",
        "return re.findall(re.escape(request.args.get('q')), TEXT)",
        "q = request.args['q']\n    return re.findall(re.escape(q), TEXT)",
        "q = re.escape(request.args['q'])\n    return re.findall(q, TEXT)",
        "pattern = re.compile(re.escape(request.args['q']))\n    return pattern.findall(TEXT)",
    ],
)
def test_any_expression_may_be_escaped(bench: Bench, new: str) -> None:
    text, after = _both(SEARCH, FIND, new)
    assert bench("DL108", text).whole(after).objections == ()


@pytest.mark.parametrize(
    "new",
    [
        "return re.findall(request.args['q'], re.escape(TEXT))",
        "return re.findall(re.escape('q'), request.args['q'])",
        "return re.findall(re.escape(request.args['p']), TEXT)",
        "return re.findall(re.escape(TEXT), TEXT)",
        "re.escape(request.args['q'])\n    " + FIND,
    ],
)
def test_what_is_escaped_is_the_pattern(bench: Bench, new: str) -> None:
    text, after = _both(SEARCH, FIND, new)
    assert bench("DL108", text).whole(after).objections


PAGES = """
from flask import Flask, render_template_string, request

app = Flask(__name__)
PAGE = "<h1>Hello %s</h1>"
FIXED = "<h1>Hello {{ name }}</h1>"
OTHER = "<h1>Bye {{ name }}</h1>"
OPEN = "<h1>Hello %s {{ name }}</h1>"


@app.get("/f")
def f():
    BODY
"""
WRITTEN = "return render_template_string('<h1>Hello %s</h1>' % request.args['n'])"
HELD = "return render_template_string(PAGE % request.args['n'])"


@pytest.mark.parametrize("old", [WRITTEN, HELD])
@pytest.mark.parametrize(
    "new",
    [
        "return render_template_string('<h1>Hello {{ n }}</h1>', n=request.args['n'])",
        "return render_template_string(FIXED, name=request.args['n'])",
        "page = '<h1>Hello {{ n }}</h1>'\n    return render_template_string(page, n=request.args['n'])",
    ],
)
def test_a_template_is_fixed_wherever_it_is_held(bench: Bench, old: str, new: str) -> None:
    text, after = _both(PAGES, old, new)
    assert bench("DL110", text).whole(after).objections == ()


@pytest.mark.parametrize("old", [WRITTEN, HELD])
@pytest.mark.parametrize(
    "new",
    [
        "return render_template_string('<h1>Hello {{ n }}</h1>')",
        "return render_template_string(FIXED)",
        "return render_template_string(PAGE, n=request.args['n'])",
        "return render_template_string(OTHER, name=request.args['n'])",
        "return render_template_string('<h1>Hello {{ n | safe }}</h1>', n=request.args['n'])",
        (
            "return render_template_string('<h1>Hello {% autoescape false %}{{ n }}"
            "{% endautoescape %}</h1>', n=request.args['n'])"
        ),
        "return render_template_string(OPEN % request.args['n'], name=request.args['n'])",
    ],
)
def test_a_template_that_says_something_else_or_escapes_nothing_is_refused(
    bench: Bench, old: str, new: str
) -> None:
    text, after = _both(PAGES, old, new)
    assert bench("DL110", text).whole(after).objections


KEYS = """
import os

import jwt

SECRET = "k3y-0815"


def sign(data):
    return jwt.encode(data, SECRET, algorithm="HS256")


def read(token):
    return jwt.decode(token, SECRET, algorithms=["HS256"])
"""


@pytest.mark.parametrize("line", ["jwt.encode", "jwt.decode"])
def test_a_key_is_put_right_where_it_stands(bench: Bench, line: str) -> None:
    marked = "\n".join(one + "  # <- DL117" if line in one else one for one in KEYS.split("\n"))
    assert bench("DL117", marked).put('"k3y-0815"', 'os.environ["JWT_SECRET"]').objections == ()


@pytest.mark.parametrize(
    "new",
    [
        'os.environ.get("JWT_SECRET", "k3y-0815")',
        'os.environ.get("JWT_SECRET") or "k3y-0815"',
        'str("k3y-0815")',
        '"another"',
        'os.environ["JWT_SECRET"]\nOLD = "k3y-0815"',
        '("" if os.environ else "k3y-0815")',
    ],
)
def test_a_key_that_is_still_there_is_refused(bench: Bench, new: str) -> None:
    assert bench("DL117", KEYS).put('"k3y-0815"', new).objections


def test_beside_the_key_nothing_else_changes(bench: Bench) -> None:
    verdict = bench("DL117", KEYS).put(
        '"k3y-0815"',
        'os.environ["JWT_SECRET"]',
        ("return jwt.decode(", "print(token)\n    return jwt.decode("),
    )
    assert "It changes code outside of the function that the finding is in." in verdict.objections
