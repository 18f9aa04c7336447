"""DL117: a key (CWE-321), an initialization vector (CWE-329) or a salt (CWE-760) stands in the code.

Seen for cryptography, PyCryptodome, hashlib, hmac and PyJWT, where the value is a constant in the call, or a
name that is given one constant in the function or the module.

Not seen: constants of other modules, and keys that are read as text and decoded.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from deltaloom_server.security.scanners.own.expressions import argument
from deltaloom_server.security.scanners.own.view import Hit, View

RULES = ("DL117",)
WORDS = ("Crypto", "cryptography", "hashlib", "hmac", "jwt")


@dataclass(frozen=True, slots=True)
class _Use:
    """An argument that must not be a constant: its place, its names, and what it is."""

    position: int
    names: tuple[str, ...]
    what: str
    cwe: int


_KEY = _Use(0, ("key",), "key", 321)
_IV = _Use(0, ("initialization_vector", "nonce"), "initialization vector", 329)
_CIPHERS = "cryptography.hazmat.primitives.ciphers"
_KDF = "cryptography.hazmat.primitives.kdf"
_USES: tuple[tuple[str, _Use], ...] = (
    ("cryptography.fernet.Fernet", _KEY),
    *((f"{_CIPHERS}.algorithms.{name}", _KEY) for name in ("AES", "AES128", "AES256", "ChaCha20")),
    *((f"{_CIPHERS}.aead.{name}", _KEY) for name in ("AESGCM", "AESCCM", "ChaCha20Poly1305", "AESSIV")),
    *((f"{_CIPHERS}.modes.{name}", _IV) for name in ("CBC", "CTR", "GCM", "OFB", "CFB")),
    *((f"{root}.Cipher.{name}.new", _KEY)
      for root in ("Crypto", "Cryptodome") for name in ("AES", "DES3", "ChaCha20")),
    *((f"{root}.Cipher.AES.new", _Use(2, ("iv", "IV", "nonce"), "initialization vector", 329))
      for root in ("Crypto", "Cryptodome")),
    ("hmac.new", _KEY),
    ("hmac.digest", _KEY),
    ("jwt.encode", _Use(1, ("key",), "key", 321)),
    ("jwt.decode", _Use(1, ("key",), "key", 321)),
    ("hashlib.pbkdf2_hmac", _Use(2, ("salt",), "salt", 760)),
    ("hashlib.scrypt", _Use(9, ("salt",), "salt", 760)),
    (f"{_KDF}.pbkdf2.PBKDF2HMAC", _Use(2, ("salt",), "salt", 760)),
    (f"{_KDF}.scrypt.Scrypt", _Use(0, ("salt",), "salt", 760)),
)  # fmt: skip

_FUNCTIONS = frozenset(name for name, _ in _USES)

VALID = (
    "import os\nfrom cryptography.fernet import Fernet\n\nbox = Fernet(os.environ['KEY'])\n",
    "import os, hashlib\n\ndef stored(password):\n    salt = os.urandom(16)\n"
    "    return salt + hashlib.pbkdf2_hmac('sha256', password, salt, 600_000)\n",
    "import jwt\n\ndef read(token):\n    return jwt.decode(token, '', options={'verify_signature': False})\n",
    "import hmac\n\ndef sign(key, data):\n    return hmac.new(key, data, 'sha256')\n",
)
INVALID = (
    "from Crypto.Cipher import AES\n\ndef box(iv):\n"
    "    return AES.new(b'0123456789abcdef', AES.MODE_CBC, iv)  # here\n",
    "from cryptography.hazmat.primitives.ciphers import modes\n\nmode = modes.CBC(b'\\0' * 16)  # here\n",
    "import hashlib\n\nSALT = b'pepper'\n\ndef stored(password):\n"
    "    return hashlib.pbkdf2_hmac('sha256', password, SALT, 600_000)  # here\n",
    "import jwt\n\nSECRET = 'change me'\n\ndef sign(claims):\n"
    "    return jwt.encode(claims, SECRET, algorithm='HS256')  # here\n",
    "import hmac\n\ndef sign(data):\n    return hmac.new('k3y'.encode(), data, 'sha256')  # here\n",
)


def check(view: View) -> Iterator[Hit]:
    for call in view.all(ast.Call):
        name = view.name_among(call.func, _FUNCTIONS)
        for wanted, use in _USES if name else ():
            given = argument(call, use.position, *use.names) if name == wanted else None
            if given is not None and _is_fixed(view, given):
                yield Hit(
                    "DL117", given, f"This {use.what} stands in the code, where everybody reads it.", use.cwe
                )


def _is_fixed(view: View, node: ast.expr) -> bool:
    made = view.resolve(node)
    match made:
        case ast.Constant(value=str() | bytes() as value):
            return bool(value)
        case ast.BinOp(left=left, op=ast.Mult(), right=ast.Constant()):
            return _is_fixed(view, left)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _is_fixed(view, left) and _is_fixed(view, right)
        case ast.Call(func=ast.Name(id="bytes"), args=[ast.Constant(value=int())]):
            return True
        case ast.Call(func=ast.Attribute(value=value, attr="encode")):
            return _is_fixed(view, value)
        case ast.Call(func=ast.Attribute(value=ast.Name(id="bytes"), attr="fromhex"), args=[ast.Constant()]):
            return True
    return False
