"""DL108: a regular expression is made from text that comes from outside (CWE-1333).

Whoever writes the expression chooses how long it takes: "(a+)+$" needs years for some texts.

Seen where a request's part, or a handler's parameter, reaches a function of `re` within one function without
re.escape. Not seen: expressions that are stored first. A call around the text is taken for a check.
"""

from __future__ import annotations

from collections.abc import Iterator

from deltaloom_server.security.scanners.own.expressions import argument
from deltaloom_server.security.scanners.own.outside import is_outside
from deltaloom_server.security.scanners.own.view import Hit, View

RULES = ("DL108",)
WORDS = ("import re", "regex", "from re ")

_FUNCTIONS = tuple(
    f"{module}.{name}"
    for module in ("re", "regex")
    for name in ("compile", "match", "search", "fullmatch", "sub", "subn", "split", "findall", "finditer")
)

VALID = (
    "import re\nfrom flask import request\n\ndef find(text):\n"
    "    return re.search(re.escape(request.args['q']), text)\n",
    "import re\nfrom flask import request\n\ndef find():\n    return re.search('a+', request.args['q'])\n",
    "import re\n\ndef find(pattern, text):\n    return re.search(pattern, text)\n",
)
INVALID = (
    "import re\nfrom flask import request\n\ndef find(text):\n"
    "    return re.search(request.args['q'], text)  # here\n",
    "import re\n\ndef find(request, text):\n    wanted = request.GET.get('q', '')\n"
    "    return re.findall(rf'\\b{wanted}\\b', text)  # here\n",
)


def check(view: View) -> Iterator[Hit]:
    for call in view.calls(*_FUNCTIONS):
        pattern = argument(call, 0, "pattern")
        if pattern is not None and is_outside(view, pattern):
            yield Hit("DL108", call, "Outside text as a regular expression may take for ever: use re.escape.")
