"""S310: `urlopen` also opens `file:` and `ftp:` addresses, and data that an address holds itself.

Invariant: the address is opened as before, by an opener that knows HTTP, HTTPS and proxies and nothing else.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from deltaloom_server.security.codemods import Case
from deltaloom_server.security.codemods.matching import bindings, find_named, free_name, unpacks
from deltaloom_server.security.codemods.rewrite import Rewrite
from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.proposal import Proposal

RULES = ("S310",)

_HANDLERS = (
    "ProxyHandler", "UnknownHandler", "HTTPHandler", "HTTPSHandler", "HTTPDefaultErrorHandler",
    "HTTPRedirectHandler", "HTTPErrorProcessor",
)  # fmt: skip


def propose(source: Source, finding: Finding) -> Iterator[Proposal]:
    call = find_named(source, finding, ("urllib.request.urlopen",))
    if call is None or unpacks(call) or not call.args or len(call.args) > 3 or _is_web(source, call.args[0]):
        return
    if any(
        isinstance(node, ast.Attribute | ast.Name)
        and source.qualified(node) == "urllib.request.install_opener"
        for node in ast.walk(source.tree)
    ):
        return
    context = next((one for one in call.keywords if one.arg == "context"), None)
    if any(one.arg not in ("data", "timeout", "context") for one in call.keywords):
        return
    rewrite = Rewrite(source)
    module = rewrite.use("urllib.request")
    opener = free_name(source, "opener", "web_opener")
    handler = free_name(source, "handler", "web_handler")
    given = {"HTTPSHandler": f"context={source.segment(context.value)}"} if context is not None else {}
    unit = "\t" if source.indent_of(source.statement(call)).startswith("\t") else "    "
    lines = [
        f"{opener} = {module}.OpenerDirector()",
        f"for {handler} in (",
        *(f"{unit}{module}.{name}({given.get(name, '')})," for name in _HANDLERS),
        "):",
        f"{unit}{opener}.add_handler({handler})",
    ]
    if not rewrite.insert_before(call, *lines):
        return
    rewrite.replace(call.func, f"{opener}.open")
    if context is not None:
        rewrite.remove_argument(call, context)
    yield rewrite.proposal(
        "Open HTTP and HTTPS addresses only",
        note="Other addresses raise URLError; an opener that was installed globally isn't asked.",
    )


def _is_web(source: Source, url: ast.expr) -> bool:
    """Does the text itself say that it is HTTP or HTTPS?"""
    if isinstance(url, ast.Name):
        found = bindings(source, url)
        return len(found) == 1 and isinstance(found[0], ast.expr) and not isinstance(found[0], ast.Name) and (
            _is_web(source, found[0])
        )  # fmt: skip
    if isinstance(url, ast.BinOp):
        return _is_web(source, url.left)
    if isinstance(url, ast.JoinedStr):
        return bool(url.values) and _is_web(source, url.values[0])
    if isinstance(url, ast.Call) and isinstance(url.func, ast.Attribute) and url.func.attr == "format":
        return _is_web(source, url.func.value)
    return isinstance(url, ast.Constant) and str(url.value).startswith(("http://", "https://"))


_OPENER = "".join(
    f"{line}\n"
    for line in (
        "    opener = urllib.request.OpenerDirector()",
        "    for handler in (",
        *(f"        urllib.request.{name}()," for name in _HANDLERS),
        "    ):",
        "        opener.add_handler(handler)",
    )
)

CASES = (
    Case(
        "import urllib.request\n\n\ndef fetch(url):\n"
        "    with urllib.request.urlopen(url, timeout=5) as answer:\n        return answer.read()\n",
        "import urllib.request\n\n\ndef fetch(url):\n"
        + _OPENER
        + "    with opener.open(url, timeout=5) as answer:\n        return answer.read()\n",
    ),
    Case(
        "from urllib.request import urlopen\n\n\ndef fetch(url, ctx):\n"
        "    return urlopen(url, None, 5, context=ctx).read()\n",
        "from urllib.request import urlopen\nimport urllib.request\n\n\ndef fetch(url, ctx):\n"
        + _OPENER.replace("HTTPSHandler()", "HTTPSHandler(context=ctx)")
        + "    return opener.open(url, None, 5).read()\n",
    ),
    Case(
        "import urllib.request\n\n\ndef fetch(name):\n"
        "    return urllib.request.urlopen('https://a.example/' + name).read()\n",
        None,
    ),
)
