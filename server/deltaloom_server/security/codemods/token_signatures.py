"""DL102: the signature of a JSON Web Token is verified.

Invariant: the key and the algorithms are those that the call has, or those with which the same file signs.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from deltaloom_server.security.codemods import Case
from deltaloom_server.security.codemods.above import built_above
from deltaloom_server.security.codemods.matching import argument, find_named, is_literal, keyword, unpacks
from deltaloom_server.security.codemods.rewrite import Rewrite
from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.proposal import Proposal

RULES = ("DL102",)

_DECODE = ("jwt.decode", "jwt.decode_complete", "jwt.api_jwt.decode", "jose.jwt.decode")
_ENCODE = ("jwt.encode", "jwt.api_jwt.encode", "jose.jwt.encode")


def propose(source: Source, finding: Finding) -> Iterator[Proposal]:
    """Takes away what turns verification off, where the key is known."""
    call = find_named(source, finding, _DECODE)
    if call is None or unpacks(call) or not call.args:
        return
    rewrite = Rewrite(source)
    key = argument(call, 1, "key")
    given = not (key is None or is_literal(key, "") or is_literal(key, None) or is_literal(key, b""))
    algorithms = argument(call, 2, "algorithms")
    signed = _signed(source, call)
    if not given:
        if signed is None or len(call.args) > 2:
            return
        if key is not None:
            rewrite.replace(key, signed[0])
        else:
            rewrite.insert(source.end(call.args[0]), f", {signed[0]}")
    if not _turn_on(rewrite, call):
        return
    if algorithms is None or is_literal(algorithms, None):
        if signed is None:
            return
        rewrite.set_keyword(call, "algorithms", f'["{signed[1]}"]')
    elif not _without_none(rewrite, algorithms):
        return
    yield rewrite.proposal("Verify the token's signature")


def _signed(source: Source, decode: ast.Call) -> tuple[str, str] | None:
    """The key (a name of the module's) and the algorithm with which this file signs its tokens."""
    found = set()
    for one in ast.walk(source.tree):
        if isinstance(one, ast.Call) and source.qualified(one.func) in _ENCODE:
            key, algorithm = argument(one, 1, "key"), argument(one, 2, "algorithm")
            name = (
                "HS256"
                if algorithm is None
                else algorithm.value
                if isinstance(algorithm, ast.Constant)
                else ""
            )
            if key is None or not isinstance(name, str) or not name.startswith("HS"):
                return None
            if not _is_visible(source, key, one, decode):
                return None
            found.add((source.segment(key), name))
    return found.pop() if len(found) == 1 else None


def _is_visible(source: Source, key: ast.expr, encode: ast.Call, decode: ast.Call) -> bool:
    """Does an expression mean the same in the place of another call?"""
    root = key
    while isinstance(root, ast.Attribute | ast.Subscript):
        root = root.value
    if not isinstance(root, ast.Name):
        return False
    if root.id == "self":
        classes = [
            next((one for one in source.ancestors(call) if isinstance(one, ast.ClassDef)), None)
            for call in (encode, decode)
        ]
        return classes[0] is classes[1] and classes[0] is not None
    functions = [source.enclosing_function(call) for call in (encode, decode)]
    local = {
        name.id
        for function in functions
        if function is not None
        for name in ast.walk(function)
        if isinstance(name, ast.Name) and not isinstance(name.ctx, ast.Load)
    } | {
        arg.arg
        for function in functions
        if function
        for arg in ast.walk(function.args)
        if isinstance(arg, ast.arg)
    }
    return root.id not in local


def _turn_on(rewrite: Rewrite, call: ast.Call) -> bool:
    verify, options = keyword(call, "verify"), keyword(call, "options")
    if verify is not None:
        rewrite.remove_argument(call, verify)
    if options is None:
        return len(call.args) < 4
    built = built_above(rewrite.source, options.value)
    value = built.value if built is not None else options.value
    if not isinstance(value, ast.Dict):
        return isinstance(value, ast.Constant)
    for key, one in zip(value.keys, value.values, strict=True):
        if is_literal(key, "verify_signature") and is_literal(one, False):
            if len(value.keys) == 1 and built is None and verify is None:
                rewrite.remove_argument(call, options)
            else:
                rewrite.replace(one, "True")
    return True


def _without_none(rewrite: Rewrite, algorithms: ast.expr) -> bool:
    if not isinstance(algorithms, ast.List | ast.Tuple | ast.Set):
        return not (isinstance(algorithms, ast.Constant) and str(algorithms.value).lower() == "none")
    kept = [
        one
        for one in algorithms.elts
        if not (isinstance(one, ast.Constant) and str(one.value).lower() == "none")
    ]
    if len(kept) < len(algorithms.elts):
        rewrite.replace(algorithms, f"[{', '.join(map(rewrite.source.segment, kept))}]")
    return bool(kept)


_HEAD = "import jwt\n\n\ndef read(token, key):\n"
_SIGNS = "import jwt\nfrom settings import KEY\n\n\ndef make(it):\n    return jwt.encode(it, KEY, 'HS512')\n"

CASES = (
    Case(
        _HEAD + "    return jwt.decode(\n        token, key, ['HS256'],\n"
        "        options={'verify_signature': False},\n    )\n",
        _HEAD + "    return jwt.decode(\n        token, key, ['HS256'],\n    )\n",
    ),
    Case(
        _HEAD + "    return jwt.decode(token, key, algorithms=['HS256', 'none'])\n",
        _HEAD + "    return jwt.decode(token, key, algorithms=['HS256'])\n",
    ),
    Case(
        _SIGNS + "\n\ndef read(token):\n    return jwt.decode(token, options={'verify_signature': False})\n",
        _SIGNS + '\n\ndef read(token):\n    return jwt.decode(token, KEY, algorithms=["HS512"])\n',
    ),
    Case(_HEAD + "    return jwt.decode(token, options={'verify_signature': False})\n", None),
)
