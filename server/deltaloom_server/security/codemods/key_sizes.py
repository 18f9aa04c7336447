"""S505: short keys can be broken; 3072 bits of RSA, 2048 of DSA and the curve P-256 can't yet.

Invariant: a literal size or curve is replaced by a larger one of the same kind.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from deltaloom_server.security.codemods import Case
from deltaloom_server.security.codemods.matching import argument, find_named
from deltaloom_server.security.codemods.rewrite import Rewrite
from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.proposal import Proposal

RULES = ("S505",)

_HAZMAT = "cryptography.hazmat.primitives.asymmetric"
_SIZES = {
    f"{_HAZMAT}.rsa.generate_private_key": (1, "key_size", 3072),
    f"{_HAZMAT}.dsa.generate_private_key": (0, "key_size", 2048),
    "Crypto.PublicKey.RSA.generate": (0, "bits", 3072),
    "Crypto.PublicKey.DSA.generate": (0, "bits", 2048),
    "Cryptodome.PublicKey.RSA.generate": (0, "bits", 3072),
    "Cryptodome.PublicKey.DSA.generate": (0, "bits", 2048),
}
_CURVES = (f"{_HAZMAT}.ec.generate_private_key",)


def propose(source: Source, finding: Finding) -> Iterator[Proposal]:
    call = find_named(source, finding, (*_SIZES, *_CURVES))
    if call is None:
        return
    name = source.qualified(call.func)
    rewrite = Rewrite(source)
    if name in _SIZES:
        position, keyword, size = _SIZES[name]
        value = argument(call, position, keyword)
        if not isinstance(value, ast.Constant) or type(value.value) is not int or value.value >= size:
            return
        rewrite.replace(value, str(size))
        yield rewrite.proposal(f"Make a key of {size} bits", note="Making a longer key takes longer.")
        return
    value = argument(call, 0, "curve")
    curve = value.func if isinstance(value, ast.Call) else value
    if curve is None or not source.qualified(curve).startswith(f"{_HAZMAT}.ec.SEC"):
        return
    if isinstance(curve, ast.Attribute):
        rewrite.replace_range(source.end(curve) - len(curve.attr), source.end(curve), "SECP256R1")
    else:
        rewrite.replace(curve, rewrite.use(f"{_HAZMAT}.ec", "SECP256R1"))
    yield rewrite.proposal("Use the curve P-256", note="Keys and signatures are longer.")


CASES = (
    Case(
        "from cryptography.hazmat.primitives.asymmetric import rsa\n\n"
        "key = rsa.generate_private_key(public_exponent=65537, key_size=1024)\n",
        "from cryptography.hazmat.primitives.asymmetric import rsa\n\n"
        "key = rsa.generate_private_key(public_exponent=65537, key_size=3072)\n",
    ),
    Case(
        "from cryptography.hazmat.primitives.asymmetric import dsa\n\n"
        "key = dsa.generate_private_key(1024, backend=b)\n",
        "from cryptography.hazmat.primitives.asymmetric import dsa\n\n"
        "key = dsa.generate_private_key(2048, backend=b)\n",
    ),
    Case(
        "from Crypto.PublicKey import RSA\n\nkey = RSA.generate(1024)\n",
        "from Crypto.PublicKey import RSA\n\nkey = RSA.generate(3072)\n",
    ),
    Case(
        "from cryptography.hazmat.primitives.asymmetric import ec\n\n"
        "key = ec.generate_private_key(ec.SECP192R1, default_backend())\n",
        "from cryptography.hazmat.primitives.asymmetric import ec\n\n"
        "key = ec.generate_private_key(ec.SECP256R1, default_backend())\n",
    ),
)
