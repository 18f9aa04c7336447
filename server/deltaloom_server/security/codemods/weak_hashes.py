"""S303, S324: MD5 and SHA-1 can be made to collide; SHA-256 can't.

Invariant: a digest that is named after its algorithm, as an interface of somebody else's, keeps it and says
that it isn't for security; a password is left alone, since no plain hash is right for one.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from deltaloom_server.security.codemods import Case
from deltaloom_server.security.codemods.matching import argument, find_call, keyword, unpacks
from deltaloom_server.security.codemods.rewrite import Rewrite
from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.proposal import Proposal

RULES = ("S324", "S303")

_WEAK = frozenset({"md4", "md5", "sha", "sha1"})
_CHOICES = frozenset({*_WEAK, "sha-1", "md5-sess", "hmac-sha1", "hmac-md5"})
_OTHERS = {
    f"{root}.Hash.{name}.new": "SHA256" for root in ("Crypto", "Cryptodome") for name in ("MD4", "MD5", "SHA")
} | {f"cryptography.hazmat.primitives.hashes.{name}": "SHA256" for name in ("MD5", "SHA1")}
_PASSWORD = re.compile(r"passw|pwd|passphrase|\bpin\b|credential", re.I)
_NAMED_AFTER = re.compile(r"md5|sha_?1", re.I)
_SECURITY = re.compile(r"token|sign|secret|auth|session|reset|hmac|csrf|nonce|licen[cs]e", re.I)
_CHECKSUM = re.compile(
    r"etag|e_tag|checksum|fingerprint|cache|dedup|bucket|shard|partition|gravatar|uniq|hash_file|file_hash"
    r"|digest_file|file_digest|color|colour|slug|short|ident",
    re.I,
)
_NOTE = "Digests change and grow to 32 bytes: ones that are stored or compared elsewhere no longer match."


def propose(source: Source, finding: Finding) -> Iterator[Proposal]:
    if finding.rule == "S303":
        yield from _other_libraries(source, finding)
        return
    call = find_call(source, finding, lambda one: _is_weak(source, one))
    if call is None or unpacks(call):
        return
    around = _names_around(source, call)
    if _PASSWORD.search(around) or _is_chosen(source, call):
        return
    given = keyword(call, "usedforsecurity")
    named_after = bool(_NAMED_AFTER.search(around)) and not _SECURITY.search(around)
    harmless = Rewrite(source)
    harmless.set_keyword(call, "usedforsecurity", "False")
    kept = harmless.proposal(
        "Say that the digest isn't for security",
        note="The digest stays as weak as it is: right only where nobody gains from a collision.",
        unsafe=not named_after,
    )
    if named_after:
        yield kept
        return
    rewrite = Rewrite(source)
    if source.qualified(call.func) == "hashlib.new":
        name = argument(call, 0, "name")
        assert name is not None
        quote = source.segment(name)[-1]
        rewrite.replace(name, f"{quote}sha256{quote}")
    else:
        rewrite.replace(call.func, rewrite.use("hashlib", "sha256"))
    if given is None or getattr(given.value, "value", True) is True:
        yield rewrite.proposal("Use SHA-256", unsafe=True, note=_NOTE)
    if _CHECKSUM.search(around):
        yield kept


def _is_weak(source: Source, call: ast.Call) -> bool:
    name = source.qualified(call.func)
    if name == "hashlib.new":
        given = argument(call, 0, "name")
        return (
            isinstance(given, ast.Constant)
            and isinstance(given.value, str)
            and given.value.lower() in _WEAK
            and source.segment(given)[0] in "\"'"
        )
    return name.startswith("hashlib.") and name.removeprefix("hashlib.") in _WEAK


def _is_chosen(source: Source, call: ast.Call) -> bool:
    """Does its function compare with the algorithm's name, so that somebody else has chosen it?"""
    function = source.enclosing_function(call)
    return function is not None and any(
        isinstance(one, ast.Constant) and isinstance(one.value, str) and one.value.lower() in _CHOICES
        for node in ast.walk(function)
        if isinstance(node, ast.Compare | ast.Dict | ast.MatchValue)
        for one in ast.walk(node)
    )


def _names_around(source: Source, call: ast.Call) -> str:
    """The names that tell what a digest is for: its function's, its target's, what it is made of."""
    function = source.enclosing_function(call)
    names = [function.name] if function is not None else []
    statement = source.statement(call)
    if isinstance(statement, ast.Assign):
        names += [ast.unparse(one) for one in statement.targets]
    elif isinstance(statement, ast.AnnAssign | ast.AugAssign):
        names.append(ast.unparse(statement.target))
    for one in source.ancestors(call):
        if isinstance(one, ast.keyword) and one.arg:
            names.append(one.arg)
        if isinstance(one, ast.stmt):
            break
    own = {call.func, *ast.walk(call.func)}
    if isinstance(statement, ast.Return | ast.Expr | ast.Assign | ast.AugAssign):
        walked = (node for node in ast.walk(statement) if node not in own)
        names += [getattr(node, "id", getattr(node, "attr", "")) for node in walked]
    if function is not None and not call.args:  # What goes in by `update` is likely a parameter.
        names += [one.arg for one in function.args.args]
    return " ".join(name for name in names if name not in _WEAK | {"hashlib"})


def _other_libraries(source: Source, finding: Finding) -> Iterator[Proposal]:
    call = find_call(source, finding, lambda one: source.qualified(one.func) in _OTHERS)
    if call is None or _PASSWORD.search(_names_around(source, call)):
        return
    if any(
        isinstance(one, ast.Call) and ast.unparse(one.func).rpartition(".")[2] in ("HOTP", "TOTP")
        for one in source.ancestors(call)
    ):
        return  # One-time passwords are SHA-1's by their standard.
    name = source.qualified(call.func)
    rewrite = Rewrite(source)
    module = name.removesuffix(".new")
    package, _, _ = module.rpartition(".")
    new = rewrite.use(package, "SHA256")
    rewrite.replace(call.func, f"{new}.new" if name.endswith(".new") else new)
    yield rewrite.proposal("Use SHA-256", unsafe=True, note=_NOTE)


CASES = (
    Case(
        "import hashlib\n\n\ndef sign(data):\n    return hashlib.md5(data).hexdigest()\n",
        "import hashlib\n\n\ndef sign(data):\n    return hashlib.sha256(data).hexdigest()\n",
        "S324",
        unsafe=True,
    ),
    Case(
        "from hashlib import sha1\n\ntoken = sha1(seed + b'\\xc3').digest()\n",
        "from hashlib import sha1, sha256\n\ntoken = sha256(seed + b'\\xc3').digest()\n",
        "S324",
        unsafe=True,
    ),
    Case(
        "import hashlib\n\nh = hashlib.new('MD5')\n", "import hashlib\n\nh = hashlib.new('sha256')\n",
        "S324", unsafe=True,
    ),
    Case(
        "import hashlib\n\n\ndef md5sum(path):\n    h = hashlib.md5()\n    return h\n",
        "import hashlib\n\n\ndef md5sum(path):\n    h = hashlib.md5(usedforsecurity=False)\n    return h\n",
        "S324",
    ),
    Case(
        "import hashlib\n\nstored = hashlib.md5(password.encode()).hexdigest()\n", None, "S324",
    ),
    Case(
        "import hashlib\n\n\ndef digest(kind, data):\n    if kind == 'MD5':\n"
        "        return hashlib.md5(data).digest()\n    return data\n",
        None,
        "S324",
    ),
    Case(
        "from cryptography.hazmat.primitives import hashes\n\ndigest = hashes.Hash(hashes.SHA1())\n",
        "from cryptography.hazmat.primitives import hashes\n\ndigest = hashes.Hash(hashes.SHA256())\n",
        "S303",
        unsafe=True,
    ),
    Case(
        "from Crypto.Hash import MD5\n\nh = MD5.new(data)\n",
        "from Crypto.Hash import MD5, SHA256\n\nh = SHA256.new(data)\n",
        "S303",
        unsafe=True,
    ),
)  # fmt: skip
