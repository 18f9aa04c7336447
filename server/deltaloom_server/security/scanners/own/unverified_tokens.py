"""DL102: a JSON Web Token is read without verifying its signature (CWE-347).

Seen for PyJWT and python-jose: `verify_signature` or `verify` set to False, and "none" among the algorithms.

Not seen: options that are put together elsewhere. A token that is first read to find its key and verified
afterwards is reported too: what is read before must not be trusted.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from deltaloom_server.security.scanners.own.expressions import argument, is_const, keyword
from deltaloom_server.security.scanners.own.view import Hit, View

RULES = ("DL102",)
WORDS = ("jwt",)

_DECODE = ("jwt.decode", "jwt.decode_complete", "jwt.api_jwt.decode", "jose.jwt.decode")

VALID = (
    "import jwt\n\ndef read(token, key):\n    return jwt.decode(token, key, algorithms=['HS256'])\n",
    "import jwt\n\ndef read(token, key):\n"
    "    return jwt.decode(token, key, algorithms=['RS256'], options={'verify_aud': False})\n",
    "from mine import jwt\n\ndef read(token):\n    return jwt.decode(token, verify=False)\n",
)
INVALID = (
    "import jwt\n\ndef read(token):\n"
    "    return jwt.decode(token, options={'verify_signature': False})  # here\n",
    "import jwt\n\ndef read(token, key):\n    return jwt.decode(token, key, verify=False)  # here\n",
    "import jwt\n\ndef read(token, key):\n"
    "    return jwt.decode(token, key, algorithms=['HS256', 'none'])  # here\n",
    "from jose import jwt\n\ndef read(token, key):\n    options = {'verify_signature': False}\n"
    "    return jwt.decode(token, key, options=options)  # here\n",
)


def check(view: View) -> Iterator[Hit]:
    for call in view.calls(*_DECODE):
        options = argument(call, 3, "options")
        if is_const(keyword(call, "verify"), False) or (options and _turned_off(view.resolve(options))):
            yield Hit("DL102", call, "This token's signature isn't verified: anybody can write such a token.")
        elif _allows_none(argument(call, 2, "algorithms"), view):
            yield Hit("DL102", call, 'The algorithm "none" accepts tokens without a signature.')


def _turned_off(options: ast.expr) -> bool:
    if isinstance(options, ast.Dict):
        return any(
            is_const(key, "verify_signature") and is_const(value, False)
            for key, value in zip(options.keys, options.values, strict=True)
        )
    return isinstance(options, ast.Call) and is_const(keyword(options, "verify_signature"), False)


def _allows_none(algorithms: ast.expr | None, view: View) -> bool:
    if algorithms is None:
        return False
    listed = view.resolve(algorithms)
    parts = listed.elts if isinstance(listed, ast.List | ast.Tuple | ast.Set) else [listed]
    return any(
        isinstance(one, ast.Constant) and str(one.value).lower() == "none" and one.value for one in parts
    )
