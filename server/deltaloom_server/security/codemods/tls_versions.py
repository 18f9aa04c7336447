"""S502, S503, S504: TLS 1.1 and older have known breaks; TLS 1.2 is named in their place.

Invariant: each version constant is replaced by the constant of TLS 1.2 of the same library.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from deltaloom_server.security.codemods import Case
from deltaloom_server.security.codemods.matching import find_call, find_named, keyword, unpacks
from deltaloom_server.security.codemods.rewrite import Rewrite
from deltaloom_server.security.codemods.source import Function, Source
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.proposal import Proposal

RULES = ("S502", "S503", "S504")

_TITLE = "Speak TLS 1.2"
_OLD = frozenset({
    "ssl.PROTOCOL_SSLv2", "ssl.PROTOCOL_SSLv3", "ssl.PROTOCOL_TLSv1", "ssl.PROTOCOL_TLSv1_1",
    "OpenSSL.SSL.SSLv2_METHOD", "OpenSSL.SSL.SSLv3_METHOD", "OpenSSL.SSL.TLSv1_METHOD",
    "OpenSSL.SSL.TLSv1_1_METHOD",
})  # fmt: skip
_NEGOTIATING = frozenset({"OpenSSL.SSL.SSLv23_METHOD"})


def propose(source: Source, finding: Finding) -> Iterator[Proposal]:
    if finding.rule == "S504":
        yield from _name_a_version(source, finding)
        return
    values = _defaults(source, finding) if finding.rule == "S503" else _arguments(source, finding)
    if not values:
        return
    rewrite = Rewrite(source)
    for value in values:
        module, _, constant = source.qualified(value).rpartition(".")
        new = "PROTOCOL_TLSv1_2" if module == "ssl" else "TLSv1_2_METHOD"
        if isinstance(value, ast.Attribute):
            rewrite.replace_range(source.end(value) - len(constant), source.end(value), new)
        else:
            rewrite.replace(value, rewrite.use(module, new))
    negotiating = any(source.qualified(value) in _NEGOTIATING for value in values)
    yield rewrite.proposal(
        _TITLE,
        unsafe=negotiating,
        note="Both sides must speak TLS 1.2, neither an older nor a newer version.",
    )


def _name_a_version(source: Source, finding: Finding) -> Iterator[Proposal]:
    call = find_named(source, finding, ("ssl.wrap_socket",))
    if call is None or unpacks(call) or len(call.args) > 5 or keyword(call, "ssl_version") is not None:
        return
    rewrite = Rewrite(source)
    rewrite.add_argument(call, f"ssl_version={rewrite.use('ssl', 'PROTOCOL_TLSv1_2')}")
    yield rewrite.proposal(
        _TITLE, unsafe=True, note="Both sides must speak TLS 1.2, neither an older nor a newer version."
    )


def _is_old(source: Source, value: ast.expr) -> bool:
    return source.qualified(value) in _OLD | _NEGOTIATING


def _arguments(source: Source, finding: Finding) -> list[ast.expr]:
    def old_ones(call: ast.Call) -> list[ast.expr]:
        given = [one.value for one in call.keywords if one.arg in ("ssl_version", "method")]
        return [value for value in given if _is_old(source, value)]

    call = find_call(source, finding, lambda one: bool(old_ones(one)))
    return old_ones(call) if call is not None else []


def _defaults(source: Source, finding: Finding) -> list[ast.expr]:
    """All old versions among a function's defaults: one scanner reports the function, one each of them."""
    for node in ast.walk(source.tree):
        if isinstance(node, Function) and source.span(node).touches(finding.span):
            defaults = [*node.args.defaults, *(one for one in node.args.kw_defaults if one is not None)]
            old = [value for value in defaults if _is_old(source, value)]
            first, last = finding.span.start_line + 1, finding.span.end_line + 1
            if old and (node.lineno in range(first, last + 1) or any(v.lineno == first for v in old)):
                return old
    return []


CASES = (
    Case(
        "import ssl\n\nconn = ssl.wrap_socket(sock, ssl_version=ssl.PROTOCOL_SSLv3)\n",
        "import ssl\n\nconn = ssl.wrap_socket(sock, ssl_version=ssl.PROTOCOL_TLSv1_2)\n",
        "S502",
    ),
    Case(
        "import ssl\n\n\nclass Adapter(HTTPAdapter):\n    def init_poolmanager(self, n, m, block=False):\n"
        "        self.poolmanager = PoolManager(\n            num_pools=n,\n"
        "            ssl_version=ssl.PROTOCOL_TLSv1,\n        )\n",
        "import ssl\n\n\nclass Adapter(HTTPAdapter):\n    def init_poolmanager(self, n, m, block=False):\n"
        "        self.poolmanager = PoolManager(\n            num_pools=n,\n"
        "            ssl_version=ssl.PROTOCOL_TLSv1_2,\n        )\n",
        "S502",
    ),
    Case(
        "from OpenSSL import SSL\n\ncontext = SSL.Context(method=SSL.SSLv23_METHOD)\n",
        "from OpenSSL import SSL\n\ncontext = SSL.Context(method=SSL.TLSv1_2_METHOD)\n",
        "S502",
        unsafe=True,
    ),
    Case(
        "from ssl import PROTOCOL_TLSv1, wrap_socket\n\nc = wrap_socket(s, ssl_version=PROTOCOL_TLSv1)\n",
        "from ssl import PROTOCOL_TLSv1, wrap_socket, PROTOCOL_TLSv1_2\n\n"
        "c = wrap_socket(s, ssl_version=PROTOCOL_TLSv1_2)\n",
        "S502",
    ),
    Case(
        "import ssl\n\n\ndef dial(host, version=ssl.PROTOCOL_TLSv1_1):\n    return tls(host, version)\n",
        "import ssl\n\n\ndef dial(host, version=ssl.PROTOCOL_TLSv1_2):\n    return tls(host, version)\n",
        "S503",
    ),
    Case(
        "import ssl\n\nconn = ssl.wrap_socket(sock, keyfile, certfile)\n",
        "import ssl\n\nconn = ssl.wrap_socket(sock, keyfile, certfile, ssl_version=ssl.PROTOCOL_TLSv1_2)\n",
        "S504",
        unsafe=True,
    ),
    Case("import ssl\n\nconn = ssl.wrap_socket(sock, **options)\n", None, "S504"),
)
