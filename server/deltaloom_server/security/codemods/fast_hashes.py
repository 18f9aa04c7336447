"""DL116: a salted password is hashed with scrypt, which costs an attacker memory and time for every guess.

Invariant: the same password and salt go in, bytes or hexadecimal digits come out as before; where the file
shows no salt, or hashes passwords in more than one place, nothing is proposed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import TypeGuard

from deltaloom_server.security.codemods import Case
from deltaloom_server.security.codemods.matching import bindings, find_call
from deltaloom_server.security.codemods.rewrite import Rewrite
from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.codemods.template import Hole, parts_of
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.proposal import Proposal

RULES = ("DL116",)

_KINDS = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512", "sha3_256", "sha3_512", "blake2b", "blake2s")
_NAMES = frozenset(f"hashlib.{kind}" for kind in (*_KINDS, "new"))
_PASSWORD = re.compile(r"(?:.*_)?(?:password|passwd|pwd|passphrase|pw)(?:_bytes)?", re.IGNORECASE)
_SALT = re.compile(r"(?:.*_)?salt(?:_bytes)?", re.IGNORECASE)
_NOTE = (
    "Passwords that are stored already no longer match: they must be set anew, or be checked the old way once"
    " and then be stored the new way."
)


def propose(source: Source, finding: Finding) -> Iterator[Proposal]:
    """`hashlib.scrypt(password, salt=salt, …)` in the place of the hash and its digest."""
    call = find_call(source, finding, lambda one: source.qualified(one.func) in _NAMES)
    digest = _digest_of(source, call) if call is not None else None
    if call is None or digest is None or not _is_only_one(source, call):
        return
    kind = source.qualified(call.func).removeprefix("hashlib.")
    arguments = list(call.args)
    if kind == "new":
        first = arguments.pop(0) if arguments else None
        kind = str(first.value).lower() if isinstance(first, ast.Constant) else ""
    mixed = _password_and_salt(source, arguments[0]) if len(arguments) == 1 and not call.keywords else None
    if mixed is None or not kind:
        return
    password, salt = mixed
    length = 64 if kind in ("sha512", "sha3_512", "blake2b") else 32
    rewrite = Rewrite(source)
    hashed = f"{rewrite.use('hashlib', 'scrypt')}({password}, salt={salt}, n=2**14, r=8, p=1, dklen={length})"
    assert isinstance(digest.func, ast.Attribute)
    rewrite.replace(digest, f"{hashed}.hex()" if digest.func.attr == "hexdigest" else hashed)
    yield rewrite.proposal("Hash the password with scrypt", unsafe=True, note=_NOTE)


def _is_only_one(source: Source, call: ast.Call) -> bool:
    """Where one function makes hashes and another makes them again to compare, one alone can't be changed."""
    return not any(
        one is not call
        and isinstance(one, ast.Call)
        and source.qualified(one.func) in _NAMES
        and any(_PASSWORD.fullmatch(_name_of(each)) for each in ast.walk(one) if isinstance(each, ast.expr))
        for one in ast.walk(source.tree)
    )


def _digest_of(source: Source, call: ast.Call) -> ast.Call | None:
    """`.digest()` or `.hexdigest()` of a hash."""
    attribute = source.parents[call]
    if not isinstance(attribute, ast.Attribute) or attribute.attr not in ("digest", "hexdigest"):
        return None
    digest = source.parents[attribute]
    return digest if isinstance(digest, ast.Call) and not digest.args and not digest.keywords else None


def _password_and_salt(source: Source, data: ast.expr) -> tuple[str, str] | None:
    """The two as bytes, from `salt + password.encode()`, `(salt + password).encode()` or an f-string's."""
    encoding = ""
    if isinstance(data, ast.Name):
        found = bindings(source, data)
        data = found[0] if len(found) == 1 and isinstance(found[0], ast.expr) else data
    if isinstance(data, ast.Call) and isinstance(data.func, ast.Attribute) and data.func.attr == "encode":
        encoding = ", ".join(source.segment(one) for one in data.args)
        parts = parts_of(source, data.func.value)
        if parts is None:
            pieces = list(_added(data.func.value))
        elif all(isinstance(one, Hole) and not one.shaped for one in parts if one != ""):
            pieces = [one.node for one in parts if isinstance(one, Hole)]
        else:
            pieces = [one.node for one in parts if isinstance(one, Hole) and not one.shaped]
            if "".join(one for one in parts if isinstance(one, str)).strip(":$.-_ "):
                return None
        texts = [f"{ast.unparse(one)}.encode({encoding})" for one in pieces]
    else:
        pieces = list(_added(data))
        texts = [ast.unparse(one) for one in pieces]
    if len(pieces) != 2:
        return None
    named = dict(zip(map(_name_of, pieces), texts, strict=True))
    passwords = [text for name, text in named.items() if _PASSWORD.fullmatch(name)]
    salts = [text for name, text in named.items() if _SALT.fullmatch(name)]
    return (passwords[0], salts[0]) if len(passwords) == len(salts) == 1 else None


def _added(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        yield from _added(node.left)
        yield from _added(node.right)
    elif isinstance(node, ast.JoinedStr):
        yield from (one.value for one in node.values if _is_as_it_is(one))
    else:
        yield node


def _is_as_it_is(node: ast.expr) -> TypeGuard[ast.FormattedValue]:
    return isinstance(node, ast.FormattedValue) and node.conversion == -1 and node.format_spec is None


def _name_of(node: ast.expr) -> str:
    """What a value is called, however it is made bytes or text."""
    while isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute) and node.func.attr in ("encode", "hex", "strip"):
            node = node.func.value
        elif ast.unparse(node.func) in ("bytes", "bytes.fromhex", "str") and node.args:
            node = node.args[0]
        else:
            return ""
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        return str(node.slice.value)
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


_HEAD = "import hashlib\n\n\ndef stored(password, salt):\n    return "

CASES = (
    Case(
        _HEAD + "hashlib.sha256(salt + password.encode('utf-8')).digest()\n",
        _HEAD + "hashlib.scrypt(password.encode('utf-8'), salt=salt, n=2**14, r=8, p=1, dklen=32)\n",
        unsafe=True,
    ),
    Case(
        _HEAD + "hashlib.sha512((salt + password).encode()).hexdigest()\n",
        _HEAD + "hashlib.scrypt(password.encode(), salt=salt.encode(), n=2**14, r=8, p=1, dklen=64).hex()\n",
        unsafe=True,
    ),
    Case(
        _HEAD + "hashlib.sha256(f'{salt}{password}'.encode()).hexdigest()\n",
        _HEAD + "hashlib.scrypt(password.encode(), salt=salt.encode(), n=2**14, r=8, p=1, dklen=32).hex()\n",
        unsafe=True,
    ),
    Case(_HEAD + "hashlib.sha256(password.encode()).hexdigest()\n", None),
    Case(
        _HEAD + "hashlib.sha256(salt + password.encode()).digest()\n\n\ndef fits(password, salt, hashed):\n"
        "    return hashlib.sha256(salt + password.encode()).digest() == hashed\n",
        None,
    ),
    Case(_HEAD + "hashlib.sha256(f'{salt}|{3}{password}'.encode()).hexdigest()\n", None),
)
