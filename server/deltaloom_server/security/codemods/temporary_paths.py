"""S108: everybody can write to /tmp, and lie in wait under a name that is known; a new folder is one's own.

Invariant: only a path that this program writes to and names once is moved. A path that two places must agree
on (named twice, a socket, a lock, a cache) stays.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from deltaloom_server.security.codemods import Case
from deltaloom_server.security.codemods.matching import argument, in_loop
from deltaloom_server.security.codemods.rewrite import Rewrite
from deltaloom_server.security.codemods.source import Function, Source
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.proposal import Proposal

RULES = ("S108",)

_FOLDER = re.compile(r"(/var/tmp|/tmp|/dev/shm)(?=/|$)/?")
_SHARED = re.compile(r"\.sock|socket|\.pid|\.lock|cache|\.X11|state|session|persist|\.db\b|sqlite", re.I)
_TAKING_FOLDER = frozenset({"mkdtemp", "mkstemp", "NamedTemporaryFile", "TemporaryFile", "TemporaryDirectory",
                            "SpooledTemporaryFile"})  # fmt: skip
_OPENING = frozenset({"open", "Path", "join", "FileHandler", "makedirs", "mkdir", "write_text", "savefig"})
_NOTE = "The file is made in a new folder for each run, where programs that know the old path don't find it."


def propose(source: Source, finding: Finding) -> Iterator[Proposal]:
    node = _literal(source, finding)
    if node is None:
        return
    value = str(node.value)
    match = _FOLDER.match(value)
    if match is None or _SHARED.search(value) or ".." in value or in_loop(source, node):
        return
    rest = value[match.end() :]
    parent = source.parents[node]
    rewrite = Rewrite(source)
    if isinstance(parent, ast.keyword) and parent.arg == "dir" and _is_tempfile(source, parent) and not rest:
        rewrite.replace(node, f"{rewrite.use('tempfile', 'gettempdir')}()")
        yield rewrite.proposal("Use the folder for temporary files", note="Which folder it is, TMPDIR says.")
        return
    if _is_named_again(source, node) or not _is_for_writing(source, node):
        return
    made = f"{rewrite.use('tempfile', 'mkdtemp')}()"
    if rest:
        written = source.segment(node)
        quote = written[-1]
        if written[0] not in "\"'" or written[1:-1] != value:
            return
        made = f"{rewrite.use('os', 'path')}.join({made}, {quote}{rest}{quote})"
    rewrite.replace(node, made)
    yield rewrite.proposal("Make a folder of one's own for it", unsafe=True, note=_NOTE)


def _literal(source: Source, finding: Finding) -> ast.Constant | None:
    return next(
        (
            node
            for node in source.nodes_at(finding.span)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and _FOLDER.match(node.value)
            and not isinstance(source.parents[node], ast.JoinedStr)
        ),
        None,
    )  # fmt: skip


def _is_tempfile(source: Source, keyword: ast.keyword) -> bool:
    call = source.parents[keyword]
    return isinstance(call, ast.Call) and source.qualified(call.func).rpartition(".")[2] in _TAKING_FOLDER


def _is_named_again(source: Source, node: ast.Constant) -> bool:
    same = (one for one in ast.walk(source.tree) if isinstance(one, ast.Constant) and one.value == node.value)
    return sum(1 for _ in same) > 1


def _is_for_writing(source: Source, node: ast.Constant) -> bool:
    """Does it go straight into something that makes a file, or into a name of which nothing else is known?"""
    parent = source.parents[node]
    if isinstance(parent, ast.Call) and parent.args and parent.args[0] is node:
        name = parent.func.attr if isinstance(parent.func, ast.Attribute) else getattr(parent.func, "id", "")
        if name not in _OPENING:
            return False
        mode = argument(parent, 1, "mode")
        return name != "open" or _writes(mode)
    if isinstance(parent, ast.Assign | ast.AnnAssign) and parent.value is node:
        targets = parent.targets if isinstance(parent, ast.Assign) else [parent.target]
        return all(isinstance(one, ast.Name) and _is_written(source, parent, one) for one in targets)
    return False


def _is_written(source: Source, statement: ast.stmt, name: ast.Name) -> bool:
    """Is a name written to somewhere, and read before by nothing? Names like CACHE speak for themselves."""
    if _SHARED.search(name.id):
        return False
    scope = next(one for one in source.ancestors(statement) if isinstance(one, Function | ast.Module))
    calls = [
        one
        for one in ast.walk(scope)
        if isinstance(one, ast.Call)
        and any(
            isinstance(inner, ast.Name) and inner.id == name.id
            for given in one.args
            for inner in ast.walk(given)
        )
    ]
    opened = [one for one in calls if isinstance(one.func, ast.Name) and one.func.id == "open"]
    first = min(opened, key=source.start, default=None)
    asked = any(
        isinstance(one.func, ast.Attribute) and one.func.attr in ("exists", "isfile") for one in calls
    )
    return not asked and (first is None or _writes(argument(first, 1, "mode")))


def _writes(mode: ast.expr | None) -> bool:
    return (
        isinstance(mode, ast.Constant) and isinstance(mode.value, str) and bool(set("wxa") & set(mode.value))
    )


CASES = (
    Case(
        "def dump(data):\n    with open('/tmp/report.txt', 'w') as f:\n        f.write(data)\n",
        "import os\nimport tempfile\n\ndef dump(data):\n"
        "    with open(os.path.join(tempfile.mkdtemp(), 'report.txt'), 'w') as f:\n        f.write(data)\n",
        unsafe=True,
    ),
    Case(
        'import os\n\nWORK = "/tmp/build"\n\n\ndef target(name):\n    return os.path.join(WORK, name)\n',
        'import os\nimport tempfile\n\nWORK = os.path.join(tempfile.mkdtemp(), "build")\n\n\n'
        "def target(name):\n    return os.path.join(WORK, name)\n",
        unsafe=True,
    ),
    Case(
        "import os\n\n\ndef save(name, data):\n    path = os.path.join('/tmp', name)\n"
        "    with open(path, 'wb') as f:\n        f.write(data)\n",
        "import os\nimport tempfile\n\n\ndef save(name, data):\n"
        "    path = os.path.join(tempfile.mkdtemp(), name)\n"
        "    with open(path, 'wb') as f:\n        f.write(data)\n",
        unsafe=True,
    ),
    Case("def load():\n    with open('/tmp/settings.txt') as f:\n        return f.read()\n", None),
    Case("SOCKET = '/tmp/app.sock'\n", None),
    Case("if path.startswith('/tmp/'):\n    drop(path)\n", None),
)
