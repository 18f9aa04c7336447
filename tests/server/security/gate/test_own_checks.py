"""Rule 4 for our own checks: what they ask for is really done, to the value that they are about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Bench = Callable[..., Any]

DIGEST = (
    "import hmac\n\n\ndef check(key, text, signature):\n"
    "    digest = hmac.new(key, text, 'sha256').hexdigest()\n    return digest == signature\n"
)
TOKEN = (
    "import jwt\n\n\ndef claims(token, key):\n"
    "    return jwt.decode(token, key, algorithms=['HS256'], options={'verify_signature': False})\n"
)
PATTERN = (
    "import re\nfrom flask import request\n\n\ndef find(text):\n    word = request.args['q']\n"
    "    return re.search(word, text)\n"
)
COOKIE = (
    "from flask import make_response\n\n\ndef login(token):\n    response = make_response('hello')\n"
    "    response.set_cookie('session', token)\n    return response\n"
)

GOOD = [
    ("DL101", DIGEST, "digest == signature", "hmac.compare_digest(digest, signature)"),
    ("DL102", TOKEN, ", options={'verify_signature': False}", ""),
    ("DL102", TOKEN, "'verify_signature': False", "'verify_signature': True"),
    ("DL108", PATTERN, "re.search(word, text)", "re.search(re.escape(word), text)"),
    ("DL107", COOKIE, "'session', token", "'session', token, secure=True, httponly=True"),
]

CHEATS = [
    ("DL101", DIGEST, "digest == signature", "not digest != signature"),
    ("DL101", DIGEST, "digest == signature", "digest.__eq__(signature)"),
    ("DL101", DIGEST, "digest == signature", "hmac.compare_digest(digest, digest)"),
    ("DL101", DIGEST, "digest == signature", "hmac.compare_digest(signature, signature)"),
    ("DL101", DIGEST, "digest == signature", "digest in (signature,)"),
    ("DL101", DIGEST, "digest == signature", "True"),
    ("DL101", DIGEST, "return digest == signature", "a, b = digest, signature\n    return a == b"),
    (
        "DL101",
        DIGEST,
        "return digest == signature",
        "hmac.compare_digest(digest, signature)\n    return True",
    ),
    ("DL102", TOKEN, "'verify_signature': False", "'verify_signature': 0"),
    ("DL102", TOKEN, "'verify_signature': False", "'verify_signature': not True"),
    ("DL102", TOKEN, "algorithms=['HS256'], options={'verify_signature': False}", "algorithms=['none']"),
    (
        "DL102",
        TOKEN,
        "jwt.decode(token, key, algorithms=['HS256'], options={'verify_signature': False})",
        "{}",
    ),
    ("DL102", TOKEN, "options={'verify_signature': False}", "options=dict(verify_signature=False)"),
    (
        "DL102",
        TOKEN,
        "    return jwt.decode(token, key, algorithms=['HS256'], options={'verify_signature': False})",
        (
            "    o = {'verify_signature': False}\n"
            "    return jwt.decode(token, key, algorithms=['HS256'], options=o)"
        ),
    ),
    ("DL108", PATTERN, "re.search(word, text)", "re.search(re.escape(text), text)"),
    ("DL108", PATTERN, "re.search(word, text)", "re.search('word', text)"),
    ("DL108", PATTERN, "re.search(word, text)", "re.compile(word).search(text)"),
    (
        "DL108",
        PATTERN,
        "    return re.search(word, text)",
        "    re.escape(word)\n    return re.search(word, text)",
    ),
    ("DL107", COOKIE, "'session', token", "'session', token, secure=False, httponly=False"),
    ("DL107", COOKIE, "'session', token", "'session', token, secure=True"),
    ("DL107", COOKIE, "'session', token", "'session', token, secure=1 == 2, httponly=True"),
    ("DL107", COOKIE, "'session', token", "'s', token, **{'secure': False}"),
    ("DL107", COOKIE, "    response.set_cookie('session', token)\n", ""),
    (
        "DL107",
        COOKIE,
        "response.set_cookie('session', token)",
        "response.headers['Set-Cookie'] = f'session={token}'",
    ),
]


@pytest.mark.parametrize(("rule", "text", "old", "new"), GOOD)
def test_what_the_check_asks_for_passes(bench: Bench, rule: str, text: str, old: str, new: str) -> None:
    verdict = bench(rule, text).put(old, new)
    assert verdict.objections == ()
    assert "deltaloom" in verdict.rescanned


@pytest.mark.parametrize(("rule", "text", "old", "new"), CHEATS)
def test_what_only_looks_like_it_is_refused(bench: Bench, rule: str, text: str, old: str, new: str) -> None:
    assert bench(rule, text).put(old, new).objections, new


READ = (
    "from flask import request\n\n\ndef show():\n    name = request.args['name']\n"
    "    with open('/srv/' + name) as f:\n        return f.read()\n"
)
CHECKED = (
    "    path = Path('/srv', name).resolve()\n    if not path.is_relative_to('/srv'):\n"
    "        raise ValueError('no such file')\n    with open(path) as f:\n"
)
OPENED = "    with open('/srv/' + name) as f:\n"


def _read(bench: Bench, new: str) -> Any:
    return bench("DL103", READ).put(
        OPENED, new, ("import request\n", "import request\nfrom pathlib import Path\n")
    )


def test_a_path_that_is_checked_passes(bench: Bench) -> None:
    assert _read(bench, CHECKED).objections == ()


@pytest.mark.parametrize(
    "new",
    [
        CHECKED.replace("if not path", "if path"),
        CHECKED.replace("        raise ValueError('no such file')\n", "        print(path)\n"),
        CHECKED.replace(
            "    if not path.is_relative_to('/srv'):\n        raise ValueError('no such file')\n", ""
        ),
        CHECKED.replace(
            "    if not path.is_relative_to('/srv'):\n        raise ValueError('no such file')\n",
            "    path.is_relative_to('/srv')\n",
        ),
        CHECKED.replace("not path.is_relative_to('/srv')", "not path.is_relative_to('/srv') and False"),
        "    name = name.replace('..', '')\n" + OPENED,
        OPENED.replace("'/srv/' + name", "'/srv/x'"),
    ],
)
def test_a_path_that_is_not_checked_is_refused(bench: Bench, new: str) -> None:
    verdict = _read(bench, new)
    assert verdict.objections, new


def test_hidden_characters_are_taken_out_and_nothing_else(bench: Bench) -> None:
    text = "def allow(user):\n    if user == 'admin\u202e':\n        return True\n    return False\n"
    one = bench("B613", text)
    assert one.put("\u202e", "").objections == ()
    assert one.put("\u202e", "\u2066").objections
    assert one.put("'admin\u202e'", "'root'").objections
    assert one.put("\u202e", "", ("return False", "return user")).objections
