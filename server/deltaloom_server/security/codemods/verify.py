"""S501: `verify=False` accepts every certificate; without the argument requests and httpx check them.

Invariant: one argument goes away, and the call stays as it is otherwise.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from deltaloom_server.security.codemods import Case
from deltaloom_server.security.codemods.matching import find_call, is_literal, keyword
from deltaloom_server.security.codemods.rewrite import Rewrite
from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.proposal import Proposal

RULES = ("S501",)


def propose(source: Source, finding: Finding) -> Iterator[Proposal]:
    def unverified(call: ast.Call) -> bool:
        given = keyword(call, "verify")
        return given is not None and is_literal(given.value, False) and _is_client(source, call)

    call = find_call(source, finding, unverified)
    given = keyword(call, "verify") if call is not None else None
    if call is None or given is None:
        return
    rewrite = Rewrite(source)
    rewrite.remove_argument(call, given)
    yield rewrite.proposal(
        "Verify the server's certificate",
        note="A certificate that no known authority signed is refused; verify= takes the path of another.",
    )


def _is_client(source: Source, call: ast.Call) -> bool:
    return source.qualified(call.func).startswith(("requests.", "httpx."))


CASES = (
    Case(
        "import requests\n\nr = requests.get(url, verify=False, timeout=5)\n",
        "import requests\n\nr = requests.get(url, timeout=5)\n",
    ),
    Case(
        "import requests\n\nr = requests.post(\n    url,\n    json=data,\n    timeout=3,\n"
        "    verify=False,  # the server's certificate is our own\n)\n",
        "import requests\n\nr = requests.post(\n    url,\n    json=data,\n    timeout=3,\n)\n",
    ),
    Case(
        "from httpx import AsyncClient\n\n\nasync def get(url):\n"
        "    async with AsyncClient(verify=False) as client:\n        return await client.get(url)\n",
        "from httpx import AsyncClient\n\n\nasync def get(url):\n"
        "    async with AsyncClient() as client:\n        return await client.get(url)\n",
    ),
    Case(
        "import httpx\n\nclient = httpx.Client(verify=False, **options)\n",
        "import httpx\n\nclient = httpx.Client(**options)\n",
    ),
    Case(
        "import requests\n\na = [requests.get(u, verify=False, timeout=1), requests.get(v, timeout=1)]\n",
        "import requests\n\na = [requests.get(u, timeout=1), requests.get(v, timeout=1)]\n",
    ),
)
