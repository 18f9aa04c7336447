"""DL116: a password is hashed with a function made to be fast (CWE-916): billions of guesses a second.

Seen where a function of hashlib is given a value that is called a password, alone or with a salt, or where
`update` of such a hash is.

Not seen: passwords under other names. Asking whether a password is known to be stolen needs SHA-1 (functions
that say so by their name), and keys for a cache are no passwords.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from deltaloom_server.security.codemods.source import Function
from deltaloom_server.security.scanners.own.expressions import argument, last_word, pieces, words
from deltaloom_server.security.scanners.own.view import Hit, View

RULES = ("DL116",)
WORDS = ("hashlib",)

_FAST = frozenset(
    f"hashlib.{name}"
    for name in (
        "new", "md5", "sha1", "sha224", "sha256", "sha384", "sha512", "sha3_256", "sha3_512", "blake2b",
        "blake2s",
    )
)  # fmt: skip
_PASSWORDS = frozenset({"password", "passwd", "pwd", "passphrase", "pw"})
_STOLEN = frozenset({"pwned", "breach", "breached", "hibp", "leaked", "stolen", "compromised"})

VALID = (
    "import hashlib\n\ndef stored(password, salt):\n"
    "    return hashlib.pbkdf2_hmac('sha256', password.encode(), salt, 600_000)\n",
    "import hashlib\n\ndef checksum(data):\n    return hashlib.sha256(data).hexdigest()\n",
    "import hashlib\n\ndef is_pwned(password):\n    return hashlib.sha1(password.encode()).hexdigest()[:5]\n",
    "import hashlib\n\ndef key(password_policy):\n    return hashlib.sha256(password_policy.encode())\n",
)
INVALID = (
    "import hashlib\n\ndef stored(password):\n"
    "    return hashlib.sha256(password.encode()).hexdigest()  # here\n",
    "from hashlib import sha512\n\ndef stored(user, salt):\n"
    "    return sha512((salt + user.password).encode('utf-8')).digest()  # here\n",
    "import hashlib\n\ndef stored(pwd, salt):\n    made = hashlib.sha256(salt)\n"
    "    made.update(pwd.encode())  # here\n    return made.hexdigest()\n",
    "import hashlib\n\ndef stored(password, salt):\n"
    "    return hashlib.new('sha256', f'{salt}{password}'.encode()).hexdigest()  # here\n",
)


def check(view: View) -> Iterator[Hit]:
    for call, data in _hashed(view):
        scope = view.scope(call)
        asks = isinstance(scope, Function) and set(words(scope.name)) & _STOLEN
        if not asks and _is_password(data):
            yield Hit(
                "DL116", call, "A fast hash lets passwords be guessed: use scrypt, Argon2, bcrypt or PBKDF2."
            )


def _hashed(view: View) -> Iterator[tuple[ast.Call, ast.expr]]:
    """Calls that hash something, and what they hash."""
    for call in view.all(ast.Call):
        if name := view.name_among(call.func, _FAST):
            data = argument(call, 1 if name == "hashlib.new" else 0, "data", "string")
        elif isinstance(call.func, ast.Attribute) and call.func.attr == "update":
            made = view.resolve(call.func.value)
            is_hash = isinstance(made, ast.Call) and view.name_among(made.func, _FAST)
            data = argument(call, 0) if is_hash else None
        else:
            continue
        if data is not None:
            yield call, data


def _is_password(node: ast.expr) -> bool:
    match node:
        case ast.Call(func=ast.Attribute(value=value, attr="encode" | "strip")):
            return _is_password(value)
        case ast.Call(func=ast.Name(id="bytes" | "str"), args=[value, *_]):
            return _is_password(value)
        case ast.Name() | ast.Attribute() | ast.Subscript():
            return words(last_word(node))[-1:] != [] and words(last_word(node))[-1] in _PASSWORDS
    return any(_is_password(one) for one in pieces(node))
