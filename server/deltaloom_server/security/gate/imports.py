"""Imports are only added, or taken away where nothing uses them any more; what is added can be found.

Invariant: no module of the workspace, and nothing that an import names, is ever imported to find out.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from deltaloom_server.security.codemods.source import Source

from .change import Change
from .scope import Import
from .standard import is_standard, missing_attribute
from .words import words
from .workspace import Workspace

_PARSES = frozenset({"parse", "parseString"})
_ELEMENT_TREE = words(
    "ParseError XML XMLParse XMLParser XMLTreeBuilder fromstring fromstringlist iterparse parse"
    " tostring"
)  # fmt: skip
_HARDENED: dict[str, tuple[str, frozenset[str]]] = {
    "xml.etree.ElementTree": ("defusedxml.ElementTree", _ELEMENT_TREE),
    "xml.etree.cElementTree": ("defusedxml.ElementTree", _ELEMENT_TREE),
    "xml.dom.minidom": ("defusedxml.minidom", _PARSES),
    "xml.dom.pulldom": ("defusedxml.pulldom", _PARSES),
    "xml.dom.expatbuilder": ("defusedxml.expatbuilder", _PARSES),
    "xml.sax": ("defusedxml.sax", _PARSES | {"make_parser"}),
}
"""Modules that another stands in for, with those of its names that the other has, so that an import may be
exchanged where the file uses no other names. (defusedxml 0.7's `__all__`.)"""

_NEVER_ADDED = words(
    "ctypes builtins importlib runpy code codeop pty imp marshal inspect gc sys.settrace antigravity"
    " this site pip ensurepip"
)


@dataclass(frozen=True, slots=True)
class Binding:
    """One name that an import binds. `module` may be relative; `member` is "" for `import module`."""

    name: str
    module: str
    member: str
    renamed: bool
    node: Import

    @property
    def full(self) -> str:
        if not self.member:
            return self.module
        return self.module + self.member if self.module.endswith(".") else f"{self.module}.{self.member}"


def bindings(node: ast.AST) -> Iterator[Binding]:
    """What an import statement binds; nothing for other nodes. `*` is a name of its own."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            name = alias.asname or alias.name.partition(".")[0]
            yield Binding(name, alias.name, "", alias.asname is not None, node)
    elif isinstance(node, ast.ImportFrom):
        module = "." * node.level + (node.module or "")
        for alias in node.names:
            yield Binding(alias.asname or alias.name, module, alias.name, alias.asname is not None, node)


def top_bindings(source: Source) -> dict[tuple[str, str], Binding]:
    """By name and what it stands for: the module's own imports."""
    found = (one for node in source.tree.body for one in bindings(node))
    return {(one.name, one.full): one for one in found}


def roots_of_imports(source: Source) -> frozenset[str]:
    """The packages that a text imports by absolute names."""
    found = (one.module.partition(".")[0] for node in ast.walk(source.tree) for one in bindings(node))
    return frozenset(one for one in found if one)


def added_bindings(change: Change) -> tuple[Binding, ...]:
    """Those at the top and those within the unit that weren't there before."""
    old = top_bindings(change.before)
    top = [one for key, one in top_bindings(change.after).items() if key not in old]
    inner = [one for node in change.added if isinstance(node, Import) for one in bindings(node)]
    return (*top, *inner)


def kept(change: Change) -> Iterator[str]:
    """What the file's imports gave to the rest of it, they still give."""
    old, new = top_bindings(change.before), top_bindings(change.after)
    lost = [one for key, one in old.items() if key not in new]
    used = _used_names(change.after)
    now: dict[str, list[Binding]] = {}
    for one in new.values():
        now.setdefault(one.name, []).append(one)
    for one in lost:
        if one.module == "__future__":
            yield f"It removes from __future__ import {one.member}."
        elif one.name == "*":
            yield f"It removes the import of everything from {one.module}."
        elif any(_is_hardened(one, other, change.after) for other in now.get(one.name, ())):
            continue
        elif one.name in now and not _same_package(one, now[one.name]):
            yield f"It makes the name {one.name} stand for something else in the whole file."
        elif one.name in used and not _still_reached(one, new, change.after):
            yield f"It removes the import of {one.full}, which is still used."
        elif change.path.endswith("__init__.py"):
            yield f"It removes the import of {one.full}, which others may take from this package."
    yield from _shadowing(change, old)


def _shadowing(change: Change, old: dict[tuple[str, str], Binding]) -> Iterator[str]:
    before = {name for name, _ in old}
    top_level = {one.name for key, one in top_bindings(change.after).items() if key not in old}
    for name in sorted(top_level - before):
        if name in change.before.bound_names or (name in _builtins() and name in _used_names(change.before)):
            yield f"Its import of {name} takes a name that the file uses for something else."


def _same_package(one: Binding, others: list[Binding]) -> bool:
    """`import a.b` and `import a.c` bind the same name to the same package."""
    root = one.module.partition(".")[0]
    plain = not one.member and not one.renamed
    return plain and any(
        not other.member and not other.renamed and other.module.partition(".")[0] == root for other in others
    )


def _still_reached(one: Binding, new: dict[tuple[str, str], Binding], after: Source) -> bool:
    """`import a.b` went away, the name `a` is still bound, and nobody writes `a.b` any more."""
    if one.member or one.renamed or "." not in one.module:
        return False
    if not any(other.name == one.name for other in new.values()):
        return False
    return not any(
        isinstance(node, ast.Attribute) and ast.unparse(node) == one.module for node in ast.walk(after.tree)
    )


def _is_hardened(old: Binding, new: Binding, after: Source) -> bool:
    """The same name for the same thing of the other module, and nothing is used that it doesn't have."""
    for module, (other, names) in _HARDENED.items():
        if (old.full, new.full) == (module, other):
            used = {
                node.attr
                for node in ast.walk(after.tree)
                if isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == old.name
            }
            return used <= names
        if old.module == module and old.member in names:
            return new.full == f"{other}.{old.member}"
    return False


def added_well(change: Change, workspace: Workspace) -> Iterator[str]:
    """Each added import names one thing, under its own name, that exists."""
    for one in added_bindings(change):
        if one.name == "*":
            yield f"It imports everything from {one.module}."
        elif one.module == "__future__":
            yield "It adds an import from __future__, which changes how the whole file is read."
        elif one.module.partition(".")[0] in _NEVER_ADDED:
            yield f"It imports {one.module}, which a fix has no use for."
        elif one.renamed and _misleads(one):
            yield f"It imports {one.full} under the name {one.name}."
        else:
            yield from _resolves(one, change.path, workspace)


def _misleads(one: Binding) -> bool:
    """A member under another name hides what is called; a module may have an alias of its own name, as
    `_json`, `ET`, `np`, but not that of another module."""
    if one.member and one.member.islower():
        return one.name.strip("_") not in {one.member, one.full.replace(".", "_")}
    return not one.member and one.name != one.module.rpartition(".")[2] and is_standard(one.name)


def _resolves(one: Binding, path: str, workspace: Workspace) -> Iterator[str]:
    if one.module.startswith("."):
        if not workspace.has_relative(path, one.module, one.member):
            yield f"{one.full} is not a module of this workspace."
    elif is_standard(one.module):
        if missing := missing_attribute(one.full):
            yield f"{missing} does not exist."
    elif not workspace.has_module(one.module, one.member):
        yield (
            f"{one.full} is neither in the standard library nor among what this workspace holds, imports"
            " or declares."
        )


def _used_names(source: Source) -> frozenset[str]:
    """Names that are read, and those that strings give (`__all__`, quoted annotations)."""
    names: set[str] = set()
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load | ast.Del):
            names.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 200:
            names.update(part for part in _identifiers(node.value))
    return frozenset(names)


def _identifiers(text: str) -> Iterator[str]:
    """A string counts as naming something where it is an identifier, dotted or in brackets."""
    if text and all(one.isalnum() or one in "_.[]|, " for one in text):
        for part in text.replace("[", " ").replace("]", " ").replace("|", " ").replace(",", " ").split():
            yield part.partition(".")[0]


def _builtins() -> frozenset[str]:
    import builtins

    return frozenset(dir(builtins))
