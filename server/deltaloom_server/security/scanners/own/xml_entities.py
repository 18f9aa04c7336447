"""DL114: an XML parser is told to follow external entities (CWE-611), which read files and call addresses.

Seen for lxml's parsers with `resolve_entities=True` (or `no_network=False`), and for the two features of
xml.sax that turn them on.

Not seen: lxml before 5.0, which follows them unless told otherwise.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from deltaloom_server.security.scanners.own.expressions import is_const, keyword
from deltaloom_server.security.scanners.own.view import Hit, View

RULES = ("DL114",)
WORDS = ("resolve_entities", "no_network", "feature_external", "external-general", "external-parameter")

_LXML = (
    "lxml.etree.XMLParser",
    "lxml.etree.ETCompatXMLParser",
    "lxml.etree.iterparse",
    "lxml.etree.XMLPullParser",
)
_FEATURES = frozenset({"feature_external_ges", "feature_external_pes"})
_ADDRESSES = frozenset(
    {
        "http://xml.org/sax/features/external-general-entities",
        "http://xml.org/sax/features/external-parameter-entities",
    }
)

VALID = (
    "from lxml import etree\n\nparser = etree.XMLParser(resolve_entities=False, no_network=True)\n",
    "from xml.sax.handler import feature_external_ges\n\ndef prepare(parser):\n"
    "    parser.setFeature(feature_external_ges, False)\n",
)
INVALID = (
    "from lxml import etree\n\nparser = etree.XMLParser(resolve_entities=True)  # here\n",
    "from lxml import etree\n\nparser = etree.XMLParser(load_dtd=True, no_network=False)  # here\n",
    "import xml.sax.handler\n\ndef prepare(parser):\n"
    "    parser.setFeature(xml.sax.handler.feature_external_ges, True)  # here\n",
)


def check(view: View) -> Iterator[Hit]:
    for call in view.calls(*_LXML):
        wrong = is_const(keyword(call, "resolve_entities"), True) or is_const(
            keyword(call, "no_network"), False
        )
        if wrong:
            yield Hit("DL114", call, "This parser follows entities that name files and addresses.")
    for call, _ in view.methods("setFeature"):
        if len(call.args) == 2 and _names_feature(call.args[0]) and _is_on(call.args[1]):
            yield Hit("DL114", call, "This parser follows entities that name files and addresses.")


def _names_feature(node: ast.expr) -> bool:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in _FEATURES
        case ast.Constant(value=str() as address):
            return address in _ADDRESSES
    return False


def _is_on(node: ast.expr) -> bool:
    return is_const(node, True) or is_const(node, 1)
