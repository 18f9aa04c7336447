"""S323: `ssl._create_unverified_context` accepts every certificate; `create_default_context` checks them.

Invariant: lines that switch the checks of the same context off again are switched on with it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from deltaloom_server.security.codemods import Case
from deltaloom_server.security.codemods.matching import find_named, is_literal, scope_of, unpacks
from deltaloom_server.security.codemods.rewrite import Rewrite
from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.proposal import Proposal

RULES = ("S323",)

_SHARED = {"purpose", "cafile", "capath", "cadata"}
_WEAKENING = {"cert_reqs", "check_hostname"}


def propose(source: Source, finding: Finding) -> Iterator[Proposal]:
    call = find_named(source, finding, ("ssl._create_unverified_context",))
    if call is None or unpacks(call) or call.args:
        return
    if any(one.arg not in _SHARED | _WEAKENING for one in call.keywords):
        return
    weakening = [one for one in call.keywords if one.arg in _WEAKENING]
    if len(weakening) > 1 or any(is_literal(one.value, True) for one in weakening):
        return
    rewrite = Rewrite(source)
    for one in weakening:
        rewrite.remove_argument(call, one)
    rewrite.replace(call.func, rewrite.use("ssl", "create_default_context"))
    for statement in _switched_off(source, call):
        on = "True" if is_literal(statement.value, False) else rewrite.use("ssl", "CERT_REQUIRED")
        rewrite.replace(statement.value, on)
    yield rewrite.proposal(
        "Use ssl.create_default_context",
        note="A certificate that no known authority signed is refused; cafile= takes the path of another.",
    )


def _switched_off(source: Source, call: ast.Call) -> Iterator[ast.Assign]:
    """`context.check_hostname = False` and `context.verify_mode = ssl.CERT_NONE` of what the call made."""
    made = source.parents.get(call)
    if not isinstance(made, ast.Assign) or made.value is not call:
        return
    names = {ast.unparse(target) for target in made.targets}
    for node in ast.walk(scope_of(source, call)):
        if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Attribute):
            continue
        target = node.targets[0]
        if ast.unparse(target.value) in names and (
            (target.attr == "check_hostname" and is_literal(node.value, False))
            or (target.attr == "verify_mode" and source.qualified(node.value) == "ssl.CERT_NONE")
        ):
            yield node


CASES = (
    Case(
        "import ssl\nfrom http import client\n\nc = client.HTTPSConnection(\n"
        "    h, context=ssl._create_unverified_context()\n)\n",
        "import ssl\nfrom http import client\n\nc = client.HTTPSConnection(\n"
        "    h, context=ssl.create_default_context()\n)\n",
    ),
    Case(
        "import ssl\n\n\ndef context():\n    ctx = ssl._create_unverified_context(cafile=CA)\n"
        "    ctx.check_hostname = False\n    ctx.verify_mode = ssl.CERT_NONE\n    return ctx\n",
        "import ssl\n\n\ndef context():\n    ctx = ssl.create_default_context(cafile=CA)\n"
        "    ctx.check_hostname = True\n    ctx.verify_mode = ssl.CERT_REQUIRED\n    return ctx\n",
    ),
    Case(
        "from ssl import _create_unverified_context\n\nctx = _create_unverified_context()\n",
        "from ssl import _create_unverified_context, create_default_context\n\n"
        "ctx = create_default_context()\n",
    ),
    Case(
        "import ssl\n\nctx = ssl._create_unverified_context(cert_reqs=ssl.CERT_NONE)\n",
        "import ssl\n\nctx = ssl.create_default_context()\n",
    ),
    Case("import ssl\n\nctx = ssl._create_unverified_context(certfile=own)\n", None),
)
