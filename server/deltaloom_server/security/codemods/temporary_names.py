"""S306: somebody else can make the file that `tempfile.mktemp` only names; `mkstemp` makes it at once.

Invariant: what was a path stays a path. Where a folder, a pipe, a link or a socket is made under the name, a
file that is there already would be in the way: nothing is proposed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from deltaloom_server.security.codemods import Case
from deltaloom_server.security.codemods.matching import find_named, free_name, unpacks
from deltaloom_server.security.codemods.rewrite import Rewrite
from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.proposal import Proposal

RULES = ("S306",)

_PARAMETERS = ("suffix", "prefix", "dir")
_NEED_NO_FILE = frozenset({"mkfifo", "symlink", "link", "bind", "copytree", "symlink_to", "mknod", "rmdir"})
_MAKE_FOLDER = frozenset({"mkdir", "makedirs"})
_ADDRESS = re.compile(r"sock|pipe|fifo|listen|address|folder|directory|_dir\b", re.I)
_NOTE = "An empty file that only its owner may read stands at the path from the beginning."


def propose(source: Source, finding: Finding) -> Iterator[Proposal]:
    call = find_named(source, finding, ("tempfile.mktemp",))
    if call is None or unpacks(call) or len(call.args) > 3:
        return
    used_by = {
        node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        for node in ast.walk(source.enclosing_function(call) or source.tree)
        if isinstance(node, ast.Call)
    }
    if used_by & (_NEED_NO_FILE | _MAKE_FOLDER) or _ADDRESS.search(_said_of(source, call)):
        return
    yield from _made_before(source, call)
    yield _made_in_place(source, call)


def _said_of(source: Source, call: ast.Call) -> str:
    """The function that makes the name, what the name is assigned to, and the fixed text in it."""
    function = source.enclosing_function(call)
    statement = source.statement(call)
    said = [function.name] if function is not None else []
    if isinstance(statement, ast.Assign):
        said += [ast.unparse(one) for one in statement.targets]
    said += [str(one.value) for one in ast.walk(call) if isinstance(one, ast.Constant)]
    return " ".join(said)


def _made_before(source: Source, call: ast.Call) -> Iterator[Proposal]:
    """`fd, path = tempfile.mkstemp()` and `os.close(fd)`, where the call is all that a statement assigns or
    returns."""
    statement = source.parents[call]
    if isinstance(statement, ast.Return):
        path = free_name(source, "path", "temporary_path")
    elif isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
        if not isinstance(target, ast.Name | ast.Attribute):
            return
        path = source.segment(target)
    else:
        return
    start = source.start(statement)
    first = source.line_start(source.line_of(start))
    rest = source.text[source.end(statement) : source.line_start(statement.end_lineno or 0)]
    indent = source.text[first:start]
    if indent.strip() or rest.strip():
        return
    rewrite = Rewrite(source)
    descriptor = free_name(source, "fd", "descriptor")
    rewrite.replace(call.func, rewrite.use("tempfile", "mkstemp"))
    rewrite.replace_range(start, source.start(call), f"{descriptor}, {path} = ")
    lines = [f"{rewrite.use('os', 'close')}({descriptor})"]
    if isinstance(statement, ast.Return):
        lines.append(f"return {path}")
    rewrite.insert(source.end(statement), "".join(f"{source.line_end}{indent}{line}" for line in lines))
    yield rewrite.proposal("Make the file with tempfile.mkstemp", unsafe=True, note=_NOTE)


def _made_in_place(source: Source, call: ast.Call) -> Proposal:
    rewrite = Rewrite(source)
    rewrite.replace(call.func, rewrite.use("tempfile", "NamedTemporaryFile"))
    for name, value in zip(_PARAMETERS, call.args, strict=False):
        rewrite.insert(source.start(value), f"{name}=")
    rewrite.add_argument(call, "delete=False")
    rewrite.insert(source.end(call), ".name")
    return rewrite.proposal("Make the file with tempfile.NamedTemporaryFile", unsafe=True, note=_NOTE)


CASES = (
    Case(
        "import tempfile\n\n\ndef save(data):\n    name = tempfile.mktemp(suffix='.txt')\n"
        "    with open(name, 'w') as f:\n        f.write(data)\n    return name\n",
        "import tempfile\nimport os\n\n\ndef save(data):\n    fd, name = tempfile.mkstemp(suffix='.txt')\n"
        "    os.close(fd)\n    with open(name, 'w') as f:\n        f.write(data)\n    return name\n",
        unsafe=True,
    ),
    Case(
        "import os\nfrom tempfile import mktemp\n\n\ndef fresh():\n    return mktemp('.db', dir=HOME)\n",
        "import os\nfrom tempfile import mktemp, mkstemp\n\n\ndef fresh():\n"
        "    fd, path = mkstemp('.db', dir=HOME)\n    os.close(fd)\n    return path\n",
        unsafe=True,
    ),
    Case(
        "import tempfile\n\nwith open(tempfile.mktemp('.log'), 'w') as log:\n    log.write('ä')\n",
        "import tempfile\n\n"
        "with open(tempfile.NamedTemporaryFile(suffix='.log', delete=False).name, 'w') as log:\n"
        "    log.write('ä')\n",
        unsafe=True,
    ),
    Case("import tempfile\n\naddress = tempfile.mktemp(prefix='listener-')\n", None),
    Case("import os, tempfile\n\npath = tempfile.mktemp()\nos.mkfifo(path)\n", None),
)
