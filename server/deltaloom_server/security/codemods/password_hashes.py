"""S324 where a password is hashed: a thief can try billions of fast hashes a second, but few of PBKDF2's.

Invariant: a password is hashed with the salt that the file has for it already, and at one place only, so that
what is stored and what is compared stay alike. Without a salt nothing is proposed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from deltaloom_server.security.codemods import Case
from deltaloom_server.security.codemods.matching import find_call
from deltaloom_server.security.codemods.rewrite import Rewrite
from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.proposal import Proposal

RULES = ("S324",)

_ROUNDS = "600_000"
_WEAK = frozenset({"hashlib.md5", "hashlib.sha1"})
_PASSWORD = re.compile(r"passw|pwd|passphrase", re.I)
_SALT = re.compile(r"salt", re.I)


def propose(source: Source, finding: Finding) -> Iterator[Proposal]:
    call = find_call(source, finding, lambda one: source.qualified(one.func) in _WEAK)
    if call is None or len(call.args) != 1 or call.keywords or not _is_only_one(source):
        return
    digest = source.parents.get(call)
    used = source.parents.get(digest) if digest is not None else None
    if not isinstance(digest, ast.Attribute) or not isinstance(used, ast.Call) or used.args or used.keywords:
        return
    pair = _password_and_salt(source, call.args[0])
    if pair is None or digest.attr not in ("hexdigest", "digest"):
        return
    password, salt = pair
    rewrite = Rewrite(source)
    derived = f'{rewrite.use("hashlib", "pbkdf2_hmac")}("sha256", {password}, {salt}, {_ROUNDS})'
    rewrite.replace(used, f"{derived}.hex()" if digest.attr == "hexdigest" else derived)
    yield rewrite.proposal(
        "Derive it with PBKDF2",
        unsafe=True,
        note="Hashes that are stored already no longer match, and hashing takes a moment.",
    )


def _is_only_one(source: Source) -> bool:
    calls = (one for one in ast.walk(source.tree) if isinstance(one, ast.Call))
    return sum(source.qualified(one.func).startswith("hashlib.") for one in calls) == 1


def _password_and_salt(source: Source, data: ast.expr) -> tuple[str, str] | None:
    """Both as bytes, from `salt + password.encode()`, `(salt + password).encode()` or an f-string of both."""
    encoded = ""
    if isinstance(data, ast.Call) and isinstance(data.func, ast.Attribute) and data.func.attr == "encode":
        given: list[ast.expr | ast.keyword] = [*data.args, *data.keywords]
        arguments = ", ".join(source.segment(one) for one in given)
        data, encoded = data.func.value, f".encode({arguments})"
    terms: list[ast.expr] = []
    if isinstance(data, ast.BinOp) and isinstance(data.op, ast.Add):
        terms = [data.left, data.right]
    elif isinstance(data, ast.JoinedStr) and encoded:
        terms = [one.value for one in data.values if isinstance(one, ast.FormattedValue)]
        if len(terms) != len(data.values):
            return None
    if len(terms) != 2:
        return None
    passwords = [one for one in terms if _PASSWORD.search(ast.unparse(one))]
    salts = [one for one in terms if _SALT.search(ast.unparse(one))]
    if len(passwords) != 1 or len(salts) != 1 or passwords[0] is salts[0]:
        return None
    simple = (ast.Name, ast.Attribute, ast.Call)
    if not all(isinstance(one, simple) for one in terms):
        return None
    return ast.unparse(passwords[0]) + encoded, ast.unparse(salts[0]) + encoded


CASES = (
    Case(
        "import hashlib\n\n\ndef stored(password: str, salt: bytes) -> str:\n"
        "    return hashlib.md5(salt + password.encode()).hexdigest()\n",
        "import hashlib\n\n\ndef stored(password: str, salt: bytes) -> str:\n"
        '    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 600_000).hex()\n',
        unsafe=True,
    ),
    Case(
        "from hashlib import sha1\n\n\ndef stored(pwd, user):\n"
        "    return sha1(f'{user.salt}{pwd}'.encode('utf-8')).digest()\n",
        "from hashlib import sha1, pbkdf2_hmac\n\n\ndef stored(pwd, user):\n"
        "    return pbkdf2_hmac(\"sha256\", pwd.encode('utf-8'), user.salt.encode('utf-8'), 600_000)\n",
        unsafe=True,
    ),
    Case("import hashlib\n\nx = hashlib.md5(password.encode()).hexdigest()\n", None),
)
