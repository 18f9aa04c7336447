"""DL101: secrets are compared in a time that doesn't depend on them.

Invariant: what was equal is equal still; where it can't be told that both sides are text, or both bytes, the
proposal says so.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from deltaloom_server.security.codemods import Case
from deltaloom_server.security.codemods.above import built_above
from deltaloom_server.security.codemods.rewrite import Rewrite
from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.codemods.template import annotation_of
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.proposal import Proposal

RULES = ("DL101",)

_NOTE = "None, and text with letters outside ASCII, now raise TypeError."


def propose(source: Source, finding: Finding) -> Iterator[Proposal]:
    """`hmac.compare_digest` for `==` and `!=`."""
    compare = next(
        (one for one in source.nodes_at(finding.span) if isinstance(one, ast.Compare) and _is_equality(one)),
        None,
    )
    if compare is None or any(isinstance(one, ast.JoinedStr) for one in source.ancestors(compare)):
        return
    sides = [compare.left, compare.comparators[0]]
    kinds = [_kind(source, one) for one in sides]
    texts = [source.segment(one) for one in sides]
    known = "bytes" in kinds or any(kind.startswith("text") for kind in kinds)
    if "bytes" not in kinds and known:
        ours = "text: ours" in kinds
        texts = [
            _encoded(source, one, kind, ours=ours) for one, kind in zip(sides, kinds, strict=True)
        ]  # fmt: skip
    rewrite = Rewrite(source)
    call = f"{rewrite.use('hmac', 'compare_digest')}({texts[0]}, {texts[1]})"
    if isinstance(compare.ops[0], ast.NotEq):
        call = f"not {call}"
        parent = source.parents[compare]
        if isinstance(parent, ast.Compare | ast.BinOp | ast.Attribute | ast.Await):
            call = f"({call})"
    rewrite.replace(compare, call)
    yield rewrite.proposal("Compare in constant time", unsafe=not known, note="" if known else _NOTE)


def _is_equality(node: ast.Compare) -> bool:
    return len(node.ops) == 1 and isinstance(node.ops[0], ast.Eq | ast.NotEq)


def _kind(source: Source, node: ast.expr) -> str:
    """ "bytes", "text", "text: ours" (made here, never None), "text?" (perhaps None), or ""."""
    built = built_above(source, node)
    made = built.value if built is not None else node
    if isinstance(made, ast.JoinedStr):
        return "text: ours"
    if isinstance(made, ast.Call) and isinstance(made.func, ast.Attribute):
        if made.func.attr == "hexdigest":
            return "text: ours"
        if made.func.attr == "digest" or made.func.attr == "encode":
            return "bytes"
        if made.func.attr == "get" and _is_request(made.func.value):
            return "text" if len(made.args) > 1 else "text?"
        if source.qualified(made.func) == "os.getenv":
            return "text?"
    if isinstance(made, ast.Subscript) and (
        source.qualified(made.value) == "os.environ" or _is_request(made.value)
    ):
        return "text"
    return {"str": "text", "bytes": "bytes"}.get(annotation_of(source, node), "")


def _is_request(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and node.attr in (
        "headers", "args", "form", "cookies", "GET", "POST", "COOKIES", "query_params"
    )  # fmt: skip


def _encoded(source: Source, node: ast.expr, kind: str, *, ours: bool) -> str:
    """As bytes, which may hold any letters. What may be None is never equal to what is made here."""
    text = source.segment(node)
    if kind == "text?" or (ours and not kind):
        return f"str({text}).encode()"
    simple = isinstance(node, ast.Name | ast.Attribute | ast.Call | ast.Subscript | ast.JoinedStr)
    return f"{text}.encode()" if simple else f"({text}).encode()"


CASES = (
    Case(
        "import hmac\n\n\ndef check(key, body, given):\n"
        "    mine = hmac.new(key, body, 'sha256').hexdigest()\n    return mine == given\n",
        "import hmac\n\n\ndef check(key, body, given):\n"
        "    mine = hmac.new(key, body, 'sha256').hexdigest()\n"
        "    return hmac.compare_digest(mine.encode(), str(given).encode())\n",
    ),
    Case(
        "import hmac\n\n\ndef check(key, body, given):\n"
        "    if given != hmac.new(key, body, 'sha256').digest():\n        raise ValueError\n",
        "import hmac\n\n\ndef check(key, body, given):\n"
        "    if not hmac.compare_digest(given, hmac.new(key, body, 'sha256').digest()):\n"
        "        raise ValueError\n",
    ),
    Case(
        "import os\nfrom flask import request\n\n\ndef check():\n"
        "    return request.headers.get('X-Token') == os.environ['HOOK_TOKEN']\n",
        "import os\nimport hmac\nfrom flask import request\n\n\ndef check():\n"
        "    return hmac.compare_digest(str(request.headers.get('X-Token')).encode(), "
        "os.environ['HOOK_TOKEN'].encode())\n",
    ),
    Case(
        "def check(api_key, settings):\n    return api_key == settings.stored()\n",
        "import hmac\n\ndef check(api_key, settings):\n"
        "    return hmac.compare_digest(api_key, settings.stored())\n",
        unsafe=True,
    ),
)
