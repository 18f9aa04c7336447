"""DL115: files are made so that anybody may write to them (CWE-276).

Seen: `os.umask(0)` that stays, and os.open that creates a file with a mode that lets others write and
execute.

Not seen: modes that are computed. `os.umask(0)` whose result is put back in the same function only reads the
mask, which has no other way.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from deltaloom_server.security.scanners.own.expressions import argument
from deltaloom_server.security.scanners.own.view import Hit, View

RULES = ("DL115",)
WORDS = ("umask", "os.open", "O_CREAT")

VALID = (
    "import os\n\nos.umask(0o077)\n",
    "import os\n\ndef mask():\n    now = os.umask(0)\n    os.umask(now)\n    return now\n",
    "import os\n\ndef make(path):\n    return os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)\n",
    "import os\n\ndef read(path):\n    return os.open(path, os.O_RDONLY, 0o777)\n",
)
INVALID = (
    "import os\n\nos.umask(0)  # here\n",
    "import os\n\ndef make(path):\n    return os.open(path, os.O_CREAT | os.O_WRONLY, 0o777)  # here\n",
)


def check(view: View) -> Iterator[Hit]:
    for call in view.calls("os.umask"):
        if _number(argument(call, 0)) == 0 and not _is_put_back(view, call):
            yield Hit("DL115", call, "With this mask, files are made so that anybody may write to them.")
    for call in view.calls("os.open"):
        mode = _number(argument(call, 2, "mode"))
        if mode is not None and mode & 0o003 == 0o003 and _creates(argument(call, 1, "flags")):
            yield Hit("DL115", call, "This file is made so that anybody may write to it and run it.")


def _number(node: ast.expr | None) -> int | None:
    return node.value if isinstance(node, ast.Constant) and type(node.value) is int else None


def _creates(flags: ast.expr | None) -> bool:
    return flags is not None and any(
        isinstance(node, ast.Attribute) and node.attr == "O_CREAT" for node in ast.walk(flags)
    )


def _is_put_back(view: View, call: ast.Call) -> bool:
    """Is the old mask, which the call returns, set again?"""
    statement = view.source.statement(call)
    if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Name):
        return False
    name = statement.targets[0].id
    scope = view.scope(call)
    return any(
        isinstance(given := argument(one, 0), ast.Name) and given.id == name and view.scope(one) is scope
        for one in view.calls("os.umask")
    )
