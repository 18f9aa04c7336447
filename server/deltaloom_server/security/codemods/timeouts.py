"""S113: an HTTP request without a timeout waits for ever for a server that doesn't answer.

Invariant: only the one argument `timeout` changes; an argument that comes from a mapping keeps its say.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from deltaloom_server.security.codemods import Case
from deltaloom_server.security.codemods.matching import find_call, free_name, in_loop, is_literal, keyword
from deltaloom_server.security.codemods.rewrite import Rewrite
from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.proposal import Proposal

RULES = ("S113",)

_SECONDS = "10"


def propose(source: Source, finding: Finding) -> Iterator[Proposal]:
    call = find_call(source, finding, lambda one: _is_request(source, one))
    if call is None or any(isinstance(one, ast.Starred) for one in call.args):
        return
    unpacked = [one for one in call.keywords if one.arg is None]
    rewrite = Rewrite(source)
    if not unpacked:
        rewrite.set_keyword(call, "timeout", _SECONDS)
    elif keyword(call, "timeout") is None and _is_own_keywords(source, call, unpacked):
        name = free_name(source, "timeout", "request_timeout")
        mapping = source.segment(unpacked[0].value)
        if not rewrite.insert_before(call, f'{name} = {mapping}.pop("timeout", {_SECONDS})'):
            return
        rewrite.insert(source.start(unpacked[0]), f"timeout={name}, ")
    else:
        return
    yield rewrite.proposal(
        f"Give up after {_SECONDS} seconds",
        note=f"A server that is silent for {_SECONDS} seconds raises a timeout error.",
    )


def _is_request(source: Source, call: ast.Call) -> bool:
    name = source.qualified(call.func)
    timeout = keyword(call, "timeout")
    return name.startswith(("requests.", "httpx.")) and (
        is_literal(timeout.value, None) if timeout is not None else name.startswith("requests.")
    )


def _is_own_keywords(source: Source, call: ast.Call, unpacked: list[ast.keyword]) -> bool:
    """Is it the function's own `**kwargs`, so that nobody else sees what is taken out, and only once?"""
    function = source.enclosing_function(call)
    mapping = unpacked[0].value
    return (
        len(unpacked) == 1
        and function is not None
        and function.args.kwarg is not None
        and isinstance(mapping, ast.Name)
        and mapping.id == function.args.kwarg.arg
        and not in_loop(source, call)
        and sum(isinstance(one, ast.Name) and one.id == mapping.id for one in ast.walk(function)) == 1
    )


CASES = (
    Case(
        "import requests\n\nr = requests.get(url)\n", "import requests\n\nr = requests.get(url, timeout=10)\n"
    ),
    Case(
        "import requests\n\nr = requests.post(\n    url,\n    json={'a': 1},\n)\n",
        "import requests\n\nr = requests.post(\n    url,\n    json={'a': 1},\n    timeout=10,\n)\n",
    ),
    Case(
        "import requests\n\nr = requests.get(url, timeout=None)\n",
        "import requests\n\nr = requests.get(url, timeout=10)\n",
    ),
    Case(
        "import httpx as h\n\nclass C:\n    client = h.AsyncClient(timeout=None, http2=True)\n",
        "import httpx as h\n\nclass C:\n    client = h.AsyncClient(timeout=10, http2=True)\n",
    ),
    Case(
        "from requests import get\n\nif (r := get('ä' + url, params={'q': (1)})).ok:\n    print(r.json())\n",
        "from requests import get\n\nif (r := get('ä' + url, params={'q': (1)}, timeout=10)).ok:\n"
        "    print(r.json())\n",
    ),
    Case(
        "import requests\n\n\ndef get(url, **kw):\n    return requests.get(url, **kw).json()\n",
        "import requests\n\n\ndef get(url, **kw):\n"
        '    timeout = kw.pop("timeout", 10)\n    return requests.get(url, timeout=timeout, **kw).json()\n',
    ),
    Case("import requests\n\nr = requests.get(url, **options)\n", None),
    Case(
        "import requests\n\nr = [requests.get(a), requests.get(b, timeout=3)]\n",
        "import requests\n\nr = [requests.get(a, timeout=10), requests.get(b, timeout=3)]\n",
    ),
    Case(
        "import requests\n\nr = requests.post(a, data=requests.get(b).text, timeout=1)\n",
        "import requests\n\nr = requests.post(a, data=requests.get(b, timeout=10).text, timeout=1)\n",
    ),
)
