"""DL117: a cryptographic key is read from the environment instead of from the code.

Invariant: only keys; a fixed salt or initialization vector can't be changed without what it was used for.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from deltaloom_server.security.codemods import Case
from deltaloom_server.security.codemods.matching import bindings
from deltaloom_server.security.codemods.rewrite import Rewrite
from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.codemods.told_names import environment_name
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.proposal import Proposal

RULES = ("DL117",)


def propose(source: Source, finding: Finding) -> Iterator[Proposal]:
    """`os.environ["NAME"]` for a literal, in the call or where its name is bound."""
    if finding.cwe != 321:
        return
    at = source.offset_of(finding.span.start_line, finding.span.start_column)
    given = next(
        (
            one
            for one in source.nodes_at(finding.span)
            if source.start(one) == at and isinstance(one, ast.expr)
        ),
        None,
    )
    literal = _literal(source, given) if given is not None else None
    if given is None or literal is None:
        return
    node, named = literal
    call = next((one for one in source.ancestors(node) if isinstance(one, ast.Call)), None)
    if not named:
        named = "JWT_SECRET" if call is not None and "jwt" in source.qualified(call.func) else "SECRET_KEY"
    variable = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", named).upper().strip("_")
    variable = environment_name(source, variable)
    rewrite = Rewrite(source)
    text = f'{rewrite.use("os", "environ")}["{variable}"]'
    text = f"{text}.encode()" if isinstance(node.value, bytes) else text
    if source.enclosing_function(node) is source.enclosing_function(given):
        rewrite.replace(node, text)
    elif isinstance(given, ast.Name) and _is_read_once(source, given.id):
        rewrite.replace(given, text)
    else:
        return
    note = (
        f"It must be set as {variable} where the program runs; choose a new key, as the old one stays known."
    )
    yield rewrite.proposal(f"Read {variable} from the environment", unsafe=True, note=note)


def _is_read_once(source: Source, name: str) -> bool:
    """Where two places must have the same key, one alone can't be changed."""
    named = [one for one in ast.walk(source.tree) if isinstance(one, ast.Name) and one.id == name]
    return len(named) == 2


def _literal(source: Source, node: ast.expr) -> tuple[ast.Constant, str] | None:
    """The one literal that a key is, and the name that it has."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "encode":
        return _literal(source, node.func.value)
    if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
        return node, ""
    if isinstance(node, ast.Name):
        found = bindings(source, node)
        if len(found) == 1 and isinstance(found[0], ast.expr):
            inner = _literal(source, found[0])
            return (inner[0], inner[1] or node.id) if inner is not None else None
    return None


CASES = (
    Case(
        '"""Links. The key is LINK_KEY in the environment."""\n\nimport hmac\nimport os\n\n\n'
        "def sign(data):\n    return hmac.new(b'k3y-0815', data, 'sha256')\n",
        '"""Links. The key is LINK_KEY in the environment."""\n\nimport hmac\nimport os\n\n\n'
        "def sign(data):\n    return hmac.new(os.environ[\"LINK_KEY\"].encode(), data, 'sha256')\n",
        unsafe=True,
    ),
    Case(
        "import jwt\n\nSIGNING = 'k3y-0815'\n\n\ndef sign(claims):\n"
        "    return jwt.encode(claims, SIGNING, algorithm='HS256')\n",
        "import jwt\nimport os\n\nSIGNING = 'k3y-0815'\n\n\ndef sign(claims):\n"
        "    return jwt.encode(claims, os.environ[\"SIGNING\"], algorithm='HS256')\n",
        unsafe=True,
    ),
    Case(
        "import jwt\n\nSIGNING = 'k3y-0815'\n\n\ndef sign(claims):\n"
        "    return jwt.encode(claims, SIGNING, algorithm='HS256')\n\n\ndef read(token):\n"
        "    return jwt.decode(token, SIGNING, algorithms=['HS256'])\n",
        None,
    ),
    Case(
        "import hmac\n\n\ndef sign(data):\n    return hmac.new('k3y'.encode(), data, 'sha256')\n",
        "import hmac\nimport os\n\n\ndef sign(data):\n"
        "    return hmac.new(os.environ[\"SECRET_KEY\"].encode(), data, 'sha256')\n",
        unsafe=True,
    ),
    Case(
        "import hashlib\n\n\ndef stored(password):\n"
        "    return hashlib.pbkdf2_hmac('sha256', password, b'pepper', 600_000)\n",
        None,
    ),
)
