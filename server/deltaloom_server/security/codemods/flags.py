"""DL107, DL114, DL115: a flag or a number in a call is set as it should be.

Invariant: nothing but that argument changes.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from deltaloom_server.security.codemods import Case
from deltaloom_server.security.codemods.matching import argument, find_call, is_literal, keyword
from deltaloom_server.security.codemods.rewrite import Rewrite
from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.proposal import Proposal

RULES = ("DL107", "DL114", "DL115")

_LXML = frozenset(
    f"lxml.etree.{name}" for name in ("XMLParser", "ETCompatXMLParser", "iterparse", "XMLPullParser")
)


def propose(source: Source, finding: Finding) -> Iterator[Proposal]:
    """One proposal, by the finding's rule."""
    rewrite = Rewrite(source)
    if finding.rule == "DL107":
        yield from _cookie(rewrite, finding)
    elif finding.rule == "DL114":
        yield from _entities(rewrite, finding)
    else:
        yield from _mode(rewrite, finding)


def _cookie(rewrite: Rewrite, finding: Finding) -> Iterator[Proposal]:
    call = find_call(rewrite.source, finding, lambda one: _is_method(one, "set_cookie"))
    if call is None or any(one.arg is None for one in call.keywords):
        return
    texts = []
    for name in ("secure", "httponly"):
        flag = keyword(call, name)
        if flag is None:
            texts.append(f"{name}=True")
        elif is_literal(flag.value, False):
            rewrite.replace(flag.value, "True")
    if keyword(call, "samesite") is None and len(call.args) < 9:
        texts.append('samesite="Lax"')
    for text in texts[:1]:
        rewrite.add_argument(call, ", ".join([text, *texts[1:]]))
    note = "Scripts can't read the cookie any more, and browsers send it by HTTPS (and to localhost) only."
    yield rewrite.proposal("Set secure, httponly and samesite", note=note)


def _entities(rewrite: Rewrite, finding: Finding) -> Iterator[Proposal]:
    source = rewrite.source
    call = find_call(
        source,
        finding,
        lambda one: source.qualified(one.func) in _LXML or _is_method(one, "setFeature"),
    )
    if call is None:
        return
    if _is_method(call, "setFeature") and len(call.args) == 2:
        rewrite.replace(call.args[1], "False")
    else:
        rewrite.set_keyword(call, "resolve_entities", "False")
        network = keyword(call, "no_network")
        if network is not None:
            rewrite.replace(network.value, "True")
    yield rewrite.proposal("Don't follow external entities")


def _mode(rewrite: Rewrite, finding: Finding) -> Iterator[Proposal]:
    source = rewrite.source
    call = find_call(source, finding, lambda one: source.qualified(one.func) in ("os.umask", "os.open"))
    if call is None:
        return
    if source.qualified(call.func) == "os.umask":
        if len(call.args) == 1 and is_literal(call.args[0], 0):
            rewrite.replace(call.args[0], "0o022")
            yield rewrite.proposal("Let only the owner write to new files")
        return
    mode = argument(call, 2, "mode")
    if isinstance(mode, ast.Constant) and isinstance(mode.value, int):
        rewrite.replace(mode, f"0o{mode.value & 0o755:03o}")
        yield rewrite.proposal("Let only the owner write to the file")


def _is_method(call: ast.Call, name: str) -> bool:
    return isinstance(call.func, ast.Attribute) and call.func.attr == name


CASES = (
    Case(
        "def login(response, value):\n    response.set_cookie('session', value, httponly=False)\n",
        "def login(response, value):\n"
        "    response.set_cookie('session', value, httponly=True, secure=True, samesite=\"Lax\")\n",
        "DL107",
    ),
    Case(
        "from lxml import etree\n\nparser = etree.XMLParser(resolve_entities=True, no_network=False)\n",
        "from lxml import etree\n\nparser = etree.XMLParser(resolve_entities=False, no_network=True)\n",
        "DL114",
    ),
    Case(
        "from xml.sax.handler import feature_external_ges\n\n\ndef prepare(parser):\n"
        "    parser.setFeature(feature_external_ges, True)\n",
        "from xml.sax.handler import feature_external_ges\n\n\ndef prepare(parser):\n"
        "    parser.setFeature(feature_external_ges, False)\n",
        "DL114",
    ),
    Case("import os\n\nos.umask(0)\n", "import os\n\nos.umask(0o022)\n", "DL115"),
    Case(
        "import os\n\n\ndef make(path):\n    return os.open(path, os.O_CREAT | os.O_WRONLY, 0o777)\n",
        "import os\n\n\ndef make(path):\n    return os.open(path, os.O_CREAT | os.O_WRONLY, 0o755)\n",
        "DL115",
    ),
)
