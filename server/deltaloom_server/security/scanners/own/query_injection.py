"""DL109: an LDAP filter (CWE-90) or an XPath expression (CWE-643) is put together from pieces of text.

Seen in files that import an LDAP or XML library, where the text is made in the call or given to a name once
in the same function: an LDAP filter that begins with a parenthesis, an XPath with a value between quotes.

Not seen: text that is made elsewhere. What a call makes of a piece (escape_filter_chars) counts as a check.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from deltaloom_server.security.scanners.own.expressions import last_word, pieces
from deltaloom_server.security.scanners.own.view import Hit, View

RULES = ("DL109",)
WORDS = ("ldap", "xpath", "etree", "ElementTree")

_LDAP = ("search", "search_s", "search_st", "search_ext", "search_ext_s", "paged_search")
_XPATH = ("xpath", "find", "findall", "iterfind", "findtext")

VALID = (
    "import ldap\nfrom ldap.filter import escape_filter_chars\n\ndef find(connection, name):\n"
    "    return connection.search_s(BASE, 2, f'(uid={escape_filter_chars(name)})')\n",
    "import ldap\n\ndef find(connection):\n    return connection.search_s(BASE, 2, '(uid=admin)')\n",
    "from lxml import etree\n\ndef find(tree, name):\n"
    "    return tree.xpath('//user[@name = $name]', name=name)\n",
    "from lxml import etree\n\nNS = '{urn:x}'\n\ndef find(tree, tag):\n"
    "    return tree.findall(f'.//{NS}{tag}')\n",
    "import re\n\ndef find(text, name):\n    return text.find(f\"'{name}'\")\n",
)
INVALID = (
    "import ldap\n\ndef find(connection, name):\n"
    "    return connection.search_s(BASE, 2, f'(uid={name})')  # here\n",
    "import ldap3\n\ndef find(connection, name):\n    query = '(&(objectClass=user)(uid=' + name + '))'\n"
    "    connection.search(BASE, query)  # here\n",
    "from lxml import etree\n\ndef find(tree, name):\n"
    "    return tree.xpath(f\"//user[@name='{name}']\")  # here\n",
    "import xml.etree.ElementTree as ET\n\ndef find(root, name):\n"
    "    return root.find(\".//user[@name='%s']\" % name)  # here\n",
)


def check(view: View) -> Iterator[Hit]:
    if view.imports_any("ldap", "ldap3"):
        for call, _ in view.methods(*_LDAP):
            if any(_is_filter(view, one) for one in _given(call)):
                yield Hit(
                    "DL109",
                    call,
                    "This LDAP filter is put together from text: escape what is put into it.",
                    90,
                )
    if view.imports_any("lxml", "xml", "defusedxml"):
        for call, _ in view.methods(*_XPATH):
            if any(_is_quoting(view, one) for one in _given(call)):
                yield Hit(
                    "DL109",
                    call,
                    "This XPath is put together from text: a quote in it changes the query.",
                    643,
                )


def _given(call: ast.Call) -> Iterator[ast.expr]:
    yield from call.args
    yield from (one.value for one in call.keywords)


def _is_filter(view: View, node: ast.expr) -> bool:
    made = view.resolve(node)
    return _head(made).startswith("(") and any(map(_is_open, pieces(made)))


def _is_quoting(view: View, node: ast.expr) -> bool:
    """Does a value stand between quotes?"""
    made = view.resolve(node)
    if not any(map(_is_open, pieces(made))):
        return False
    fixed = "".join(
        one.value for one in ast.walk(made) if isinstance(one, ast.Constant) and isinstance(one.value, str)
    )
    if "/" not in fixed and "[" not in fixed:
        return False
    if isinstance(made, ast.JoinedStr):
        return any(
            isinstance(before, ast.Constant) and str(before.value).endswith(("'", '"')) and _is_open(one)
            for before, one in zip(made.values, made.values[1:], strict=False)
        )
    return any(quote in fixed for quote in ("'%s'", '"%s"', "'{}'", '"{}"', "='", '="'))


def _is_open(node: ast.expr) -> bool:
    """A name, attribute or item; no constant, no call, no SHOUTED name."""
    if isinstance(node, ast.FormattedValue):
        node = node.value
    return isinstance(node, ast.Name | ast.Attribute | ast.Subscript) and not last_word(node).isupper()


def _head(node: ast.expr) -> str:
    """The constant text that a text begins with."""
    match node:
        case ast.Constant(value=str() as text):
            return text
        case ast.JoinedStr(values=[first, *_]) | ast.BinOp(left=first):
            return _head(first)
        case ast.Call(func=ast.Attribute(value=first, attr="format")):
            return _head(first)
    return ""
