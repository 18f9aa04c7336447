"""DL101: a secret value is compared with `==` (CWE-208), which takes longer the more of it fits.

Reported where one side is an HMAC made in the same function, or is called what only secrets are called
(`api_key`, `csrf_token`, `expected_signature`) and the other side is no constant. Plain digests of files,
parsers' tokens, and a password that is typed twice are fine.

Not seen: secrets under other names, digests that are made elsewhere, and comparisons by `in`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from deltaloom_server.security.scanners.own.expressions import last_word, words
from deltaloom_server.security.scanners.own.outside import is_outside
from deltaloom_server.security.scanners.own.view import Hit, View

RULES = ("DL101",)
WORDS = (
    "hmac", "apikey", "_key", "_token", "_secret", "_signature", "_sig", "_mac", "_hash", "_KEY", "_TOKEN",
    "_SECRET", "_PASSWORD", "_SIGNATURE", "_password", "Token", "ApiKey", "Signature",
)  # fmt: skip

_SECRET_NAMES = (
    ("api", "key"), ("apikey",), ("api", "token"), ("access", "token"), ("auth", "token"), ("csrf", "token"),
    ("session", "token"), ("reset", "token"), ("bearer", "token"), ("secret", "token"), ("expected", "token"),
    ("expected", "signature"), ("expected", "sig"), ("expected", "mac"), ("expected", "hmac"),
    ("computed", "signature"), ("calculated", "signature"), ("webhook", "secret"), ("shared", "secret"),
    ("client", "secret"), ("password", "hash"), ("hashed", "password"), ("secret", "key"),
)  # fmt: skip
_CONFIGURED = frozenset({"token", "secret", "password", "signature", "key"})
_HMAC = frozenset({"hmac.new", "hmac.digest", "hmac.HMAC"})

VALID = (
    "import hmac\n\ndef check(key, body, given):\n"
    "    return hmac.compare_digest(hmac.new(key, body, 'sha256').hexdigest(), given)\n",
    "def check(token):\n    return token == '('\n",
    "import hashlib\n\ndef same(data, digest):\n    return hashlib.sha256(data).hexdigest() == digest\n",
    "def check(api_key):\n    return api_key == ''\n",
    "def check(password, password_again):\n    return password == password_again\n",
    "def test_it(user):\n    assert user.api_key == make_key()\n",
    "class Key:\n    def __eq__(self, other):\n        return self.api_key == other.api_key\n",
    "def check(state):\n    return state.access_token_type == kind()\n",
)
INVALID = (
    "import hmac\n\ndef check(key, body, given):\n    mine = hmac.new(key, body, 'sha256').hexdigest()\n"
    "    return mine == given  # here\n",
    "import hmac\n\ndef check(key, body, given):\n"
    "    if given != hmac.new(key, body, 'sha256').hexdigest():  # here\n        raise ValueError\n",
    "def check(api_key, settings):\n    return api_key == settings.stored()  # here\n",
    "import os\nfrom flask import request\n\ndef check():\n"
    "    return request.headers['X-Token'] == os.environ['HOOK_TOKEN']  # here\n",
    "def valid(signature, expected_signature):\n    return signature == expected_signature  # here\n",
)


def check(view: View) -> Iterator[Hit]:
    for node in view.all(ast.Compare):
        if len(node.ops) != 1 or not isinstance(node.ops[0], ast.Eq | ast.NotEq):
            continue
        left, right = node.left, node.comparators[0]
        if _is_plain(left) or _is_plain(right) or _may_be_quick(view, node, left, right):
            continue
        if any(_is_hmac(view, one) or _is_secret(one) for one in (left, right)) or any(
            is_outside(view, one) and _is_configured(other) for one, other in ((left, right), (right, left))
        ):
            yield Hit(
                "DL101",
                node,
                "Comparing a secret with `==` tells how much of it fits: use hmac.compare_digest.",
            )


def _is_plain(node: ast.expr) -> bool:
    """What isn't compared as a secret: constants, enumeration members, sizes, answers of predicates."""
    if isinstance(node, ast.Constant | ast.Compare | ast.List | ast.Tuple | ast.Dict | ast.Set):
        return True
    return isinstance(node, ast.Call) and last_word(node.func) in ("len", "type", "id", "int", "bool")


def _may_be_quick(view: View, node: ast.Compare, left: ast.expr, right: ast.expr) -> bool:
    """Tests, and objects that compare themselves with others of their kind."""
    if last_word(left) and last_word(left) == last_word(right):
        return True
    return isinstance(view.source.statement(node), ast.Assert)


def _is_hmac(view: View, node: ast.expr) -> bool:
    made = view.resolve(node)
    while isinstance(made, ast.Call):
        if view.name_among(made.func, _HMAC):
            return True
        if not isinstance(made.func, ast.Attribute):
            return False
        made = view.resolve(made.func.value)
    return False


def _is_secret(node: ast.expr) -> bool:
    if isinstance(node, ast.Call):
        return False
    ending = tuple(words(last_word(node)))
    return any(ending[-len(one) :] == one for one in _SECRET_NAMES)


def _is_configured(node: ast.expr) -> bool:
    """A setting that holds a secret, as its name says: `os.environ["HOOK_TOKEN"]`, `API_SECRET`."""
    name = last_word(node)
    return name.isupper() and words(name)[-1:] != [] and words(name)[-1] in _CONFIGURED
