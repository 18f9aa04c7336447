"""DL112: a response header is given decoded text from a request, line breaks and all (CWE-113).

Seen for http.server's `send_header`, which writes what it gets: after parse_qs or unquote a value may hold a
line break, and with it headers and a body of the sender's choice. Frameworks refuse such values themselves.

Not seen: values that are decoded in another function. A call around the value, or any look for a line break
in the function, is taken for a check.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from deltaloom_server.security.scanners.own.expressions import argument
from deltaloom_server.security.scanners.own.view import Hit, View

RULES = ("DL112",)
WORDS = ("send_header",)

_DECODES = frozenset({"urllib.parse.parse_qs", "urllib.parse.unquote", "urllib.parse.unquote_plus"})

VALID = (
    "from urllib.parse import parse_qs\n\nclass H:\n    def do_GET(self):\n        q = parse_qs(self.path)\n"
    "        self.send_header('X-Kind', 'plain')\n",
    "from urllib.parse import unquote\n\nclass H:\n    def do_GET(self):\n        name = unquote(self.path)\n"
    "        if '\\n' in name or '\\r' in name:\n            raise ValueError\n"
    "        self.send_header('X-Name', name)\n",
    "from urllib.parse import quote, unquote\n\nclass H:\n    def do_GET(self):\n"
    "        self.send_header('Location', quote(unquote(self.path)))\n",
)
INVALID = (
    "from urllib.parse import unquote\n\nclass H:\n    def do_GET(self):\n        name = unquote(self.path)\n"
    "        self.send_header('X-Name', name)  # here\n",
    "from urllib.parse import parse_qs\n\nclass H:\n    def do_GET(self):\n        q = parse_qs(self.path)\n"
    "        self.send_header('Location', f'/go/{q[\"to\"][0]}')  # here\n",
)


def check(view: View) -> Iterator[Hit]:
    for call, _ in view.methods("send_header"):
        value = argument(call, 1, "value")
        if value is not None and _is_decoded(view, value, 4) and not _looks_for_breaks(view.scope(call)):
            yield Hit("DL112", call, "A line break in this value begins another header: refuse or quote it.")


def _is_decoded(view: View, node: ast.expr, steps: int) -> bool:
    """Follows names, items and pieces of text back to a function that decodes."""
    node = view.resolve(node)
    if not steps:
        return False
    match node:
        case ast.Call(func=function):
            if view.name_among(function, _DECODES):
                return True
            gets = isinstance(function, ast.Attribute) and function.attr == "get"
            return gets and _is_decoded(view, function.value, steps - 1)  # type: ignore[attr-defined]
        case ast.Subscript(value=value) | ast.FormattedValue(value=value):
            return _is_decoded(view, value, steps)
        case ast.JoinedStr(values=parts):
            return any(_is_decoded(view, one, steps) for one in parts)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _is_decoded(view, left, steps) or _is_decoded(view, right, steps)
    return False


def _looks_for_breaks(scope: ast.AST) -> bool:
    return any(
        isinstance(node, ast.Constant) and isinstance(node.value, str) and set(node.value) & set("\r\n")
        for node in ast.walk(scope)
    )
