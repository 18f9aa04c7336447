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
from deltaloom_server.security.codemods.template import Hole, compose, is_constant, parts_of
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.proposal import Proposal

RULES = ("S108",)

_FOLDER = re.compile(r"(/var/tmp|/tmp|/dev/shm)(?=/|$)/?")
_SHARED = re.compile(r"\.sock|socket|\.pid|\.lock|cache|\.X11|state|session|persist|\.db\b|sqlite", re.I)
_TAKING_FOLDER = frozenset({
    "mkdtemp", "mkstemp", "NamedTemporaryFile", "TemporaryFile", "TemporaryDirectory", "SpooledTemporaryFile",
})  # fmt: skip
_WRITING = frozenset(
    {"FileHandler", "RotatingFileHandler", "savefig", "to_csv", "imwrite", "copy", "copyfile"}
)
_NOTE = "The file is made in a new folder for each run, where programs that know the old path don't find it."


def propose(source: Source, finding: Finding) -> Iterator[Proposal]:
    whole = _path(source, finding)
    parts = parts_of(source, whole) if whole is not None else None
    if whole is None or parts is None or not isinstance(parts[0], str):
        return
    match = _FOLDER.match(parts[0])
    fixed = "".join(part for part in parts if isinstance(part, str))
    if match is None or _SHARED.search(fixed) or ".." in fixed or in_loop(source, whole):
        return
    rest = [parts[0][match.end() :], *parts[1:]] if match.end() < len(parts[0]) else list(parts[1:])
    parent = source.parents[whole]
    rewrite = Rewrite(source)
    if isinstance(parent, ast.keyword) and parent.arg == "dir" and _is_tempfile(source, parent) and not rest:
        rewrite.replace(whole, f"{rewrite.use('tempfile', 'gettempdir')}()")
        yield rewrite.proposal("Use the folder for temporary files", note="Which folder it is, TMPDIR says.")
        return
    if _is_named_again(source, parts[0]) or not _is_written_to(source, whole):
        return
    made = f"{rewrite.use('tempfile', 'mkdtemp')}()"
    if is_constant(rest) and rest:
        made = f"{rewrite.use('os', 'path')}.join({made}, {compose(rest)})"
    elif rest:
        made = compose([Hole(whole, made, is_text=True), "/", *rest])
    rewrite.replace(whole, made)
    yield rewrite.proposal("Make a folder of one's own for it", unsafe=True, note=_NOTE)


def _path(source: Source, finding: Finding) -> ast.expr | None:
    """The string that begins with the folder: a literal, or what is put together from it."""
    for node in source.nodes_at(finding.span):
        first = node.values[0] if isinstance(node, ast.JoinedStr) and node.values else node
        if isinstance(first, ast.Constant) and isinstance(first.value, str) and _FOLDER.match(first.value):
            return _put_together(source, node) if isinstance(node, ast.expr) else None
    return None


def _put_together(source: Source, node: ast.expr) -> ast.expr:
    while True:
        parent = source.parents[node]
        if isinstance(parent, ast.Attribute) and parent.attr == "format":
            parent = source.parents[parent]
            assert isinstance(parent, ast.Call)
        elif not (
            isinstance(parent, ast.BinOp) and isinstance(parent.op, ast.Add | ast.Mod) and parent.left is node
        ):
            return node
        node = parent


def _is_tempfile(source: Source, keyword: ast.keyword) -> bool:
    call = source.parents[keyword]
    return isinstance(call, ast.Call) and source.qualified(call.func).rpartition(".")[2] in _TAKING_FOLDER


def _is_named_again(source: Source, literal: str) -> bool:
    """Does another place name the same path, or one that begins as it does?"""
    same = (
        one
        for one in ast.walk(source.tree)
        if isinstance(one, ast.Constant)
        and isinstance(one.value, str)
        and (one.value == literal or one.value.startswith(literal.rstrip("/") + "/"))
    )
    return sum(1 for _ in same) > 1


def _is_written_to(source: Source, path: ast.expr) -> bool:
    """Is a file made at the path before anything is read from it?"""
    path = _lengthened(source, path)
    parent = source.parents[path]
    if isinstance(parent, ast.Assign | ast.AnnAssign) and parent.value is path:
        targets = parent.targets if isinstance(parent, ast.Assign) else [parent.target]
        return all(isinstance(one, ast.Name) and _name_is_written(source, parent, one.id) for one in targets)
    use = _use(source, path)
    return use is not None and use


def _lengthened(source: Source, path: ast.expr) -> ast.expr:
    """`os.path.join(path, …)`, `Path(path)`, `path / …` around it."""
    while True:
        parent = source.parents[path]
        if isinstance(parent, ast.Call) and parent.args and parent.args[0] is path:
            if _last_name(parent.func) not in ("join", "Path"):
                return path
        elif not (isinstance(parent, ast.BinOp) and isinstance(parent.op, ast.Div) and parent.left is path):
            return path
        path = parent


def _use(source: Source, path: ast.expr) -> bool | None:
    """True where this use of a path makes the file, False where it needs one, None where one can't tell."""
    parent = source.parents[path]
    if isinstance(parent, ast.Attribute):
        method = source.parents[parent]
        if parent.attr in ("write_text", "write_bytes", "touch"):
            return True
        if parent.attr == "open" and isinstance(method, ast.Call):
            return _writes(source, argument(method, 0, "mode"), method)
        return False
    if isinstance(parent, ast.keyword):
        return True if parent.arg == "filename" else None
    if not isinstance(parent, ast.Call) or path not in parent.args:
        return None
    name = _last_name(parent.func)
    if name == "open":
        return _writes(source, argument(parent, 1, "mode"), parent)
    if name in ("exists", "isfile", "isdir", "listdir", "stat", "access", "read", "load"):
        return False
    return True if name in _WRITING else None


def _last_name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _name_is_written(source: Source, statement: ast.stmt, name: str) -> bool:
    """The first use of a variable that tells must make the file; a constant may have none that tells."""
    if _SHARED.search(name):
        return False
    scope = next(one for one in source.ancestors(statement) if isinstance(one, Function | ast.Module))
    reads = [
        one
        for one in ast.walk(scope)
        if isinstance(one, ast.Name) and one.id == name and isinstance(one.ctx, ast.Load)
    ]
    uses = [_use(source, _lengthened(source, one)) for one in sorted(reads, key=source.start)]
    told = [one for one in uses if one is not None]
    return told[0] if told else isinstance(scope, ast.Module) and bool(reads)


def _writes(source: Source, mode: ast.expr | None, call: ast.Call) -> bool:
    """Appending in a function goes on with the file of the last call, which a new folder doesn't have."""
    if not isinstance(mode, ast.Constant) or not isinstance(mode.value, str):
        return False
    return bool(set("wx" if source.enclosing_function(call) else "wxa") & set(mode.value))


CASES = (
    Case(
        "def dump(data):\n    with open('/tmp/report.txt', 'w') as f:\n        f.write(data)\n",
        "import os\nimport tempfile\n\ndef dump(data):\n"
        "    with open(os.path.join(tempfile.mkdtemp(), \"report.txt\"), 'w') as f:\n        f.write(data)\n",
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
    Case(
        "import tempfile\nimport os\n\n\ndef save(name, data):\n    path = f'/tmp/out-{name}.txt'\n"
        "    with open(path, 'w') as f:\n        f.write(data)\n    return path\n",
        "import tempfile\nimport os\n\n\ndef save(name, data):\n"
        '    path = f"{tempfile.mkdtemp()}/out-{name}.txt"\n'
        "    with open(path, 'w') as f:\n        f.write(data)\n    return path\n",
        unsafe=True,
    ),
    Case(
        "from pathlib import Path\n\n\ndef save(name: str, data):\n"
        "    (Path('/tmp') / name).write_text(data)\n    open('/var/tmp/' + name, 'x')\n",
        "from pathlib import Path\nimport tempfile\n\n\ndef save(name: str, data):\n"
        "    (Path(tempfile.mkdtemp()) / name).write_text(data)\n    open('/var/tmp/' + name, 'x')\n",
        unsafe=True,
    ),
    Case(
        "import os\nimport tempfile\n\n\ndef save(name: str, data):\n"
        "    open('/var/tmp/%s.log' % name, 'x').write(data)\n",
        "import os\nimport tempfile\n\n\ndef save(name: str, data):\n"
        "    open(f\"{tempfile.mkdtemp()}/{name}.log\", 'x').write(data)\n",
        unsafe=True,
    ),
    Case("def note(line):\n    with open('/tmp/log.txt', 'a') as f:\n        f.write(line)\n", None),
    Case("def where(name):\n    return '/tmp/' + name\n", None),
    Case("def load():\n    with open('/tmp/settings.txt') as f:\n        return f.read()\n", None),
    Case("SOCKET = '/tmp/app.sock'\n", None),
    Case("if path.startswith('/tmp/'):\n    drop(path)\n", None),
)
