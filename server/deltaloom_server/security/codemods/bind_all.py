"""S104: a server on 0.0.0.0 answers everybody who reaches the machine; on 127.0.0.1 the machine alone.

Invariant: only a string that says where to listen changes, not one that is compared or replaced.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from deltaloom_server.security.codemods import Case
from deltaloom_server.security.codemods.rewrite import Rewrite
from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.proposal import Proposal

RULES = ("S104",)

_LOCAL = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
_NOT_TO_LISTEN = frozenset({
    "replace", "startswith", "endswith", "split", "index", "find", "count", "remove", "compile", "match",
    "ip_address", "ip_network", "IPv4Address", "IPv4Network", "connect", "create_connection", "print",
    "assertEqual", "inet_aton", "sendto",
})  # fmt: skip

_OTHER_MEANING = re.compile(
    r"^[^=]*(mask|route|gateway|subnet|network|peer|remote|unspecified|_any|any_)", re.I
)


def propose(source: Source, finding: Finding) -> Iterator[Proposal]:
    node = _address(source, finding)
    if node is None or not _is_listened_on(source, node):
        return
    written = source.segment(node)
    if written[0] not in "\"'" or written[1:-1] != node.value:
        return
    rewrite = Rewrite(source)
    local = _LOCAL[str(node.value)]
    rewrite.replace(node, f"{written[0]}{local}{written[0]}")
    yield rewrite.proposal(
        f"Listen on {local}",
        unsafe=True,
        note="Other machines (or the host of a container) no longer connect.",
    )


def _address(source: Source, finding: Finding) -> ast.Constant | None:
    at = source.offset_of(finding.span.start_line, finding.span.start_column)
    found = [
        node
        for node in source.nodes_at(finding.span)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in _LOCAL
    ]
    exact = [node for node in found if source.start(node) == at]
    plain = [node for node in found if node.value == "0.0.0.0"]
    return next(iter(exact or plain), None)


def _is_listened_on(source: Source, node: ast.expr) -> bool:
    for one in source.ancestors(node):
        if isinstance(one, ast.Compare | ast.List | ast.Set | ast.Subscript | ast.JoinedStr | ast.BinOp):
            return False
        if isinstance(one, ast.Call):
            name = one.func.attr if isinstance(one.func, ast.Attribute) else getattr(one.func, "id", "")
            return name not in _NOT_TO_LISTEN
        if isinstance(one, ast.Assign | ast.AnnAssign) and _OTHER_MEANING.search(source.segment(one)):
            return False
        if isinstance(one, ast.stmt):
            return isinstance(
                one, ast.Assign | ast.AnnAssign | ast.Return | ast.FunctionDef | ast.AsyncFunctionDef
            )
    return False


CASES = (
    Case("app.run(host='0.0.0.0', port=80)\n", "app.run(host='127.0.0.1', port=80)\n", unsafe=True),
    Case('s.bind(("0.0.0.0", 80))\n', 's.bind(("127.0.0.1", 80))\n', unsafe=True),
    Case('HOST: str = "0.0.0.0"\n', 'HOST: str = "127.0.0.1"\n', unsafe=True),
    Case(
        "import os\n\n\ndef serve(host=os.environ.get('H', '0.0.0.0')):\n    start(host)\n",
        "import os\n\n\ndef serve(host=os.environ.get('H', '127.0.0.1')):\n    start(host)\n",
        unsafe=True,
    ),
    Case("NETMASK = '0.0.0.0'\n", None),
    Case("if host == '0.0.0.0':\n    warn()\n", None),
    Case("shown = host.replace('0.0.0.0', 'localhost')\n", None),
)
