"""DL104: members of an archive are written to wherever their names say (CWE-22, "zip slip").

Seen where a loop over an archive's members joins their names to a folder and writes there, in one function.

Not seen: extractall (ruff and bandit look at it), and names that are handed to another function. Any sign of
a check in the function silences it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from deltaloom_server.security.scanners.own.path_traversal import is_checked
from deltaloom_server.security.scanners.own.view import Hit, View

RULES = ("DL104",)
WORDS = ("namelist", "infolist", "getmembers", "getnames", "tarfile")

_LISTS = frozenset({"namelist", "infolist", "getmembers", "getnames"})
_TARS = frozenset({"tarfile.open", "tarfile.TarFile"})
_JOIN = frozenset({"os.path.join"})
_NAMES = frozenset({"filename", "name", "path"})
_WRITES = frozenset({"open", "write_bytes", "write_text", "copyfileobj", "write"})

VALID = (
    "import zipfile, os\n\ndef names(path):\n    with zipfile.ZipFile(path) as archive:\n"
    "        for name in archive.namelist():\n            print(os.path.join('/srv', name))\n",
    "import zipfile\n\ndef unpack(path, folder):\n    with zipfile.ZipFile(path) as archive:\n"
    "        for name in archive.namelist():\n            target = (folder / name).resolve()\n"
    "            if not target.is_relative_to(folder):\n                raise ValueError(name)\n"
    "            target.write_bytes(archive.read(name))\n",
)
INVALID = (
    "import zipfile, os\n\ndef unpack(path, folder):\n    with zipfile.ZipFile(path) as archive:\n"
    "        for name in archive.namelist():\n            target = os.path.join(folder, name)  # here\n"
    "            with open(target, 'wb') as file:\n                file.write(archive.read(name))\n",
    "import tarfile\n\ndef unpack(path, folder):\n    with tarfile.open(path) as archive:\n"
    "        for member in archive.getmembers():\n            data = archive.extractfile(member).read()\n"
    "            (folder / member.name).write_bytes(data)  # here\n",
    "import tarfile, os\n\ndef unpack(path, folder):\n    with tarfile.open(path) as archive:\n"
    "        for member in archive:\n            target = os.path.join(folder, member.name)  # here\n"
    "            open(target, 'wb').write(archive.extractfile(member).read())\n",
)


def check(view: View) -> Iterator[Hit]:
    for loop in view.all(ast.For):
        if not isinstance(loop.target, ast.Name) or not _over_members(view, loop):
            continue
        called = {
            node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            for node in ast.walk(loop)
            if isinstance(node, ast.Call)
        }
        joined = next((node for node in ast.walk(loop) if _joins(view, node, loop.target.id)), None)
        if (
            isinstance(joined, ast.expr)
            and called & _WRITES
            and not is_checked(view, view.scope(loop), joined)
        ):
            yield Hit("DL104", joined, "An archive's member may name a place outside this folder (`../`).")


def _over_members(view: View, loop: ast.For) -> bool:
    match loop.iter:
        case ast.Call(func=ast.Attribute(attr=name)):
            return name in _LISTS and view.imports_any("zipfile", "tarfile")
        case ast.Name(id=name):
            return name in _open_archives(view, loop)
    return False


def _open_archives(view: View, loop: ast.For) -> set[str]:
    """Names that hold an open tar archive around a loop, which goes over its members."""
    return {
        item.optional_vars.id
        for around in view.source.ancestors(loop)
        if isinstance(around, ast.With)
        for item in around.items
        if isinstance(item.optional_vars, ast.Name)
        and isinstance(item.context_expr, ast.Call)
        and view.name_among(item.context_expr.func, _TARS)
    }


def _joins(view: View, node: ast.AST, member: str) -> bool:
    """Is a member's name put behind a folder here?"""
    match node:
        case ast.Call(args=[_, *rest]) if view.name_among(node.func, _JOIN):
            return any(_is_name(one, member) for one in rest)
        case ast.BinOp(op=ast.Div(), right=right):
            return _is_name(right, member)
        case ast.Call(func=ast.Attribute(attr="joinpath"), args=rest):
            return any(_is_name(one, member) for one in rest)
    return False


def _is_name(node: ast.expr, member: str) -> bool:
    match node:
        case ast.Name(id=name):
            return name == member
        case ast.Attribute(value=ast.Name(id=name), attr=attr):
            return name == member and attr in _NAMES
    return False
