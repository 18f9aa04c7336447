"""S201: Flask's debugger runs code for whoever opens a failing page.

Invariant: one constant changes.
"""

from __future__ import annotations

from collections.abc import Iterator

from deltaloom_server.security.codemods import Case
from deltaloom_server.security.codemods.matching import find_call, is_literal, keyword
from deltaloom_server.security.codemods.rewrite import Rewrite
from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.proposal import Proposal

RULES = ("S201",)


def propose(source: Source, finding: Finding) -> Iterator[Proposal]:
    call = find_call(
        source, finding, lambda one: any(k.arg == "debug" and is_literal(k.value, True) for k in one.keywords)
    )
    debug = keyword(call, "debug") if call is not None else None
    if debug is None:
        return
    rewrite = Rewrite(source)
    rewrite.replace(debug.value, "False")
    yield rewrite.proposal("Run without the debugger", note="The server no longer reloads on changes either.")


CASES = (
    Case(
        "from flask import Flask\n\napp = Flask(__name__)\napp.run(host, port=80, debug=True)\n",
        "from flask import Flask\n\napp = Flask(__name__)\napp.run(host, port=80, debug=False)\n",
    ),
    Case(
        "from flask import Flask\n\napp = Flask(__name__)\n\nif __name__ == '__main__':\n"
        "    app.run(\n        debug=True,  # ä\n        **options\n    )\n",
        "from flask import Flask\n\napp = Flask(__name__)\n\nif __name__ == '__main__':\n"
        "    app.run(\n        debug=False,  # ä\n        **options\n    )\n",
    ),
)
