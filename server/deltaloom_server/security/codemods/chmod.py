"""S103: a file that others may write, or that the group may run, changes under its owner's hands.

Invariant: the owner keeps each bit, and everybody else loses all of them.
"""

from __future__ import annotations

import ast
import stat
from collections.abc import Iterator

from deltaloom_server.security.codemods import Case
from deltaloom_server.security.codemods.matching import argument, find_call, unpacks
from deltaloom_server.security.codemods.rewrite import Rewrite
from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.proposal import Proposal

RULES = ("S103",)

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def propose(source: Source, finding: Finding) -> Iterator[Proposal]:
    call = find_call(source, finding, lambda one: _mode(one) is not None)
    mode = _mode(call) if call is not None else None
    if call is None or mode is None or unpacks(call):
        return
    narrowed = _narrowed(source, mode)
    if narrowed is None:
        return
    rewrite = Rewrite(source)
    rewrite.replace(mode, narrowed)
    yield rewrite.proposal(
        f"Narrow the mode to {narrowed}",
        unsafe=True,
        note="The group and other users lose their access to the file.",
    )


def _mode(call: ast.Call) -> ast.expr | None:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    return argument(call, 1, "mode") if "chmod" in name else None


def _narrowed(source: Source, mode: ast.expr) -> str | None:
    """The mode without the bits of others; None where there are none, or nothing is left for the owner."""
    terms = list(_terms(mode))
    values = [_value(source, term) for term in terms]
    known = [value for value in values if value is not None]
    if not any(value & _OTHERS for value in known) or not any(value & stat.S_IRWXU for value in known):
        return None
    kept = []
    for term, value in zip(terms, values, strict=True):
        if value is None or not value & _OTHERS:
            kept.append(source.segment(term))
        elif value & ~_OTHERS:
            kept.append(f"0o{value & ~_OTHERS:o}")
    return " | ".join(kept)


def _terms(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        yield from _terms(node.left)
        yield from _terms(node.right)
    else:
        yield node


def _value(source: Source, term: ast.expr) -> int | None:
    if isinstance(term, ast.Constant) and type(term.value) is int:
        return term.value
    name = source.qualified(term)
    value = getattr(stat, name.removeprefix("stat."), None) if name.startswith("stat.S_I") else None
    return value if isinstance(value, int) else None


CASES = (
    Case("import os\n\nos.chmod(path, 0o777)\n", "import os\n\nos.chmod(path, 0o700)\n", unsafe=True),
    Case("import os\n\nos.chmod(path, 0o666)\n", "import os\n\nos.chmod(path, 0o600)\n", unsafe=True),
    Case("import os\n\nos.chmod(path, mode=511)\n", "import os\n\nos.chmod(path, mode=0o700)\n", unsafe=True),
    Case("import os\n\nos.chmod(path, 0o1777)\n", "import os\n\nos.chmod(path, 0o1700)\n", unsafe=True),
    Case(
        "import os\nimport stat\n\nos.chmod(path, stat.S_IRWXU | stat.S_IRWXG | stat.S_IRWXO)\n",
        "import os\nimport stat\n\nos.chmod(path, stat.S_IRWXU)\n",
        unsafe=True,
    ),
    Case(
        "from os import chmod, stat\n\nchmod(path, stat(path).st_mode | 0o111)\n",
        "from os import chmod, stat\n\nchmod(path, stat(path).st_mode | 0o100)\n",
        unsafe=True,
    ),
    Case("sftp.chmod(remote, 0o755)\n", "sftp.chmod(remote, 0o700)\n", unsafe=True),
    Case("import os\n\nos.chmod(path, 0o022)\n", None),
)
