"""S313 to S319, S405 to S409: XML from outside is read by defusedxml, which refuses entities.

Invariant: defusedxml's function has the name and the arguments of the one it replaces.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from deltaloom_server.security.codemods import Case
from deltaloom_server.security.codemods.matching import find_call
from deltaloom_server.security.codemods.rewrite import Rewrite
from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.proposal import Proposal

_IMPORTS = ("S405", "S406", "S407", "S408", "S409")
RULES = ("S313", "S314", "S315", "S316", "S317", "S318", "S319", *_IMPORTS)

_TREE = ("parse", "iterparse", "fromstring", "XML", "XMLParser")
_SAFE: Mapping[str, tuple[str, tuple[str, ...]]] = MappingProxyType(
    {
        "xml.etree.ElementTree": ("defusedxml.ElementTree", _TREE),
        "xml.etree.cElementTree": ("defusedxml.ElementTree", _TREE),
        "xml.dom.minidom": ("defusedxml.minidom", ("parse", "parseString")),
        "xml.dom.pulldom": ("defusedxml.pulldom", ("parse", "parseString")),
        "xml.dom.expatbuilder": ("defusedxml.expatbuilder", ("parse", "parseString")),
        "xml.sax": ("defusedxml.sax", ("parse", "parseString", "make_parser")),
        "xml.sax.expatreader": ("defusedxml.expatreader", ("create_parser",)),
    }
)
_ALSO = MappingProxyType({"xml.etree.ElementTree": ("ParseError", "tostring", "TreeBuilder")})
_NOTE = "A document that declares entities is refused with an exception; it needs the package defusedxml."


def propose(source: Source, finding: Finding) -> Iterator[Proposal]:
    """The same function of defusedxml; for an import, the same module."""
    rewrite = Rewrite(source)
    if _import(rewrite, finding) if finding.rule in _IMPORTS else _call(rewrite, finding):
        yield rewrite.proposal("Read XML with defusedxml", note=_NOTE)


def _call(rewrite: Rewrite, finding: Finding) -> bool:
    source = rewrite.source
    call = find_call(source, finding, lambda one: _counterpart(source, one.func) is not None)
    counterpart = _counterpart(source, call.func) if call is not None else None
    if call is None or counterpart is None:
        return False
    module, name = counterpart
    if any(one.arg == "parser" for one in call.keywords) or (
        module == "defusedxml.ElementTree" and name != "XMLParser" and len(call.args) > 1
    ):
        return False
    if name in ("XMLParser", "make_parser") and (call.args or call.keywords):
        return False
    rewrite.replace(call.func, rewrite.use(module, name))
    return True


def _counterpart(source: Source, function: ast.expr) -> tuple[str, str] | None:
    full = source.qualified(function)
    module, _, name = full.rpartition(".")
    safe = _SAFE.get(module)
    return (safe[0], name) if safe is not None and name in safe[1] else None


def _import(rewrite: Rewrite, finding: Finding) -> bool:
    """Where a module is only used for what defusedxml has, too."""
    source = rewrite.source
    line = finding.span.start_line + 1
    for node in source.tree.body:
        if not node.lineno <= line <= (node.end_lineno or node.lineno):
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module in _SAFE and not node.level:
            names = {alias.name for alias in node.names}
            if names <= _names(node.module) and names & {*_SAFE[node.module][1]}:
                start = source.start(node)
                at = source.text.index(node.module, start)
                rewrite.replace_range(at, at + len(node.module), _SAFE[node.module][0])
                return True
        if isinstance(node, ast.Import) and len(node.names) == 1 and node.names[0].asname:
            return _alias(rewrite, node.names[0].name, node.names[0].asname, node.names[0])
        if isinstance(node, ast.ImportFrom) and len(node.names) == 1 and not node.level:
            alias, bound = node.names[0], node.names[0].asname or node.names[0].name
            module = f"{node.module}.{alias.name}"
            if module in _SAFE and _fits(source, bound, module):
                parent, _, name = _SAFE[module][0].rpartition(".")
                shown = name if name == bound else f"{name} as {bound}"
                rewrite.replace(node, f"from {parent} import {shown}")
                return True
    return False


def _alias(rewrite: Rewrite, module: str, bound: str, alias: ast.alias) -> bool:
    if module not in _SAFE or not _fits(rewrite.source, bound, module):
        return False
    rewrite.replace(alias, f"{_SAFE[module][0]} as {bound}")
    return True


def _names(module: str) -> set[str]:
    return {*_SAFE[module][1], *_ALSO.get(module, ())}


def _fits(source: Source, bound: str, module: str) -> bool:
    """Is a module used to read, and for nothing that defusedxml doesn't have?"""
    used = _used(source, bound)
    return used <= _names(module) and bool(used & {*_SAFE[module][1]})


def _used(source: Source, bound: str) -> set[str]:
    """The attributes of a module that a file uses; "" where it is used in any other way."""
    used = set()
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Name) and node.id == bound:
            parent = source.parents[node]
            used.add(parent.attr if isinstance(parent, ast.Attribute) else "")
    return used


CASES = (
    Case(
        "import xml.etree.ElementTree as ET\n\n\ndef read(path):\n    return ET.parse(path).getroot()\n",
        "import xml.etree.ElementTree as ET\nimport defusedxml.ElementTree\n\n\ndef read(path):\n"
        "    return defusedxml.ElementTree.parse(path).getroot()\n",
        "S314",
    ),
    Case(
        "from xml.dom.minidom import parseString\n\n\ndef read(text):\n    return parseString(text)\n",
        "from xml.dom.minidom import parseString\nimport defusedxml.minidom\n\n\ndef read(text):\n"
        "    return defusedxml.minidom.parseString(text)\n",
        "S318",
    ),
    Case(
        "import xml.etree.ElementTree as ET\n\n\ndef read(text):\n    return ET.fromstring(text)\n",
        "import defusedxml.ElementTree as ET\n\n\ndef read(text):\n    return ET.fromstring(text)\n",
        "S405",
    ),
    Case(
        "from xml.dom import minidom\n\n\ndef read(text):\n    return minidom.parseString(text)\n",
        "from defusedxml import minidom\n\n\ndef read(text):\n    return minidom.parseString(text)\n",
        "S408",
    ),
    # defusedxml makes no elements.
    Case(
        "import xml.etree.ElementTree as ET\n\n\ndef read(text):\n    top = ET.Element('a')\n"
        "    top.append(ET.fromstring(text))\n    return top\n",
        None,
        "S405",
    ),
)
