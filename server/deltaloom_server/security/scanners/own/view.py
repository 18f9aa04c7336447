"""What the checks ask of a Python text: its nodes by kind, its scopes, and what names are given.

Invariant: nothing here changes the tree, and each answer is about this one text.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from deltaloom_server.security.codemods.source import Function, Source
from deltaloom_server.security.finding import Confidence, Severity
from deltaloom_server.security.scanners.own.expressions import dotted, last_word, parameters

Scope = ast.Module | ast.FunctionDef | ast.AsyncFunctionDef
N = TypeVar("N", bound=ast.AST)


@dataclass(frozen=True, slots=True)
class Hit:
    """What a check reports: where, in what words, and what differs from the catalogue's entry."""

    rule: str
    node: ast.expr | ast.stmt | ast.keyword | ast.arg | ast.excepthandler
    message: str
    cwe: int | None = None
    confidence: Confidence | None = None
    severity: Severity | None = None


class View:
    """One parsed text."""

    def __init__(self, source: Source) -> None:
        self.source = source

    # -- nodes -------------------------------------------------------------------------------------------

    @cached_property
    def _by_kind(self) -> dict[type[ast.AST], list[ast.AST]]:
        kinds: dict[type[ast.AST], list[ast.AST]] = {}
        for node in self.source.parents:
            kinds.setdefault(type(node), []).append(node)
        return kinds

    def all(self, kind: type[N]) -> list[N]:
        """All nodes of exactly this kind."""
        return self._by_kind.get(kind, [])  # type: ignore[return-value]

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        yield from self.all(ast.FunctionDef)
        yield from self.all(ast.AsyncFunctionDef)

    def calls(self, *names: str) -> Iterator[ast.Call]:
        """Calls of imported things or builtins with these full names."""
        wanted = frozenset(names)
        yield from (call for call in self.all(ast.Call) if self.name_among(call.func, wanted))

    def name_among(self, node: ast.expr, wanted: frozenset[str]) -> str:
        """Which of the full names of imported things and builtins an expression has; "" for none of them.

        Resolving a name by its scopes is dear, so it is left for those that some import may bring.
        """
        root, *rest = dotted(node).split(".")
        tail = "".join(f".{one}" for one in rest)
        possible = {full + tail for full in self._imported.get(root, ())} | (set() if rest else {root})
        if possible.isdisjoint(wanted):
            return ""
        if root not in self._imported:
            return "" if root in self._bound else root
        name = self.source.qualified(node)
        return name if name in wanted else ""

    @cached_property
    def _bound(self) -> frozenset[str]:
        """Names that the file gives something of its own, by which they are no builtins."""
        return frozenset(
            (
                *(one.id for one in self.all(ast.Name) if not isinstance(one.ctx, ast.Load)),
                *(one.arg for one in self.all(ast.arg)),
                *(one.name for one in self.functions()),
                *(one.name for one in self.all(ast.ClassDef)),
            )
        )

    def is_imported(self, node: ast.expr) -> bool:
        """Does an expression begin with a name that some import binds?"""
        return dotted(node).partition(".")[0] in self._imported

    @cached_property
    def _imported(self) -> dict[str, set[str]]:
        """What each name that some import binds may stand for, whatever else may be called so."""
        found: dict[str, set[str]] = {}
        for plain in self.all(ast.Import):
            for alias in plain.names:
                root = alias.name.partition(".")[0]
                found.setdefault(alias.asname or root, set()).add(alias.name if alias.asname else root)
        for node in self.all(ast.ImportFrom):
            for alias in node.names:
                found.setdefault(alias.asname or alias.name, set()).add(f"{node.module}.{alias.name}")
        return found

    def methods(self, *names: str) -> Iterator[tuple[ast.Call, ast.Attribute]]:
        """Calls of anything's methods with these names."""
        for call in self.all(ast.Call):
            if isinstance(call.func, ast.Attribute) and call.func.attr in names:
                yield call, call.func

    def imports_any(self, *roots: str) -> bool:
        """Does the text import one of these top-level modules?"""
        return any(full.partition(".")[0] in roots for one in self._imported.values() for full in one)

    # -- scopes ------------------------------------------------------------------------------------------

    def scope(self, node: ast.AST) -> Scope:
        """The function that a node stands in, or the module."""
        return self.source.enclosing_function(node) or self.source.tree

    @cached_property
    def _assigned(self) -> dict[Scope, dict[str, list[ast.expr | None]]]:
        """What each scope's names are given; None for what can't be said."""
        found: dict[Scope, dict[str, list[ast.expr | None]]] = {}

        def give(node: ast.AST, target: ast.AST, value: ast.expr | None) -> None:
            if isinstance(target, ast.Name):
                found.setdefault(self.scope(node), {}).setdefault(target.id, []).append(value)
            elif isinstance(target, ast.Tuple | ast.List | ast.Starred):
                for part in ast.iter_child_nodes(target):
                    give(node, part, None)

        for assign in self.all(ast.Assign):
            for target in assign.targets:
                give(assign, target, assign.value)
        for annotated in self.all(ast.AnnAssign):
            give(annotated, annotated.target, annotated.value)
        for changed in self.all(ast.AugAssign):
            give(changed, changed.target, changed.value)
        for walrus in self.all(ast.NamedExpr):
            give(walrus, walrus.target, walrus.value)
        loops: tuple[ast.For | ast.AsyncFor | ast.comprehension, ...] = (
            *self.all(ast.For),
            *self.all(ast.AsyncFor),
            *self.all(ast.comprehension),
        )
        for loop in loops:
            give(loop, loop.target, None)
        for item in self.all(ast.withitem):
            if item.optional_vars is not None:
                give(item, item.optional_vars, None)
        return found

    def values(self, name: str, scope: Scope) -> list[ast.expr | None]:
        """All that a name is given in a scope."""
        return self._assigned.get(scope, {}).get(name, [])

    def resolve(self, node: ast.expr) -> ast.expr:
        """The one value that a name has in its scope (or the module), else the node itself.

        Only a value that stands above is taken, so that following values comes to an end.
        """
        if not isinstance(node, ast.Name):
            return node
        scope = self.scope(node)
        for place in dict.fromkeys((scope, self.source.tree)):
            given = self.values(node.id, place)
            if len(given) == 1 and (value := given[0]) is not None:
                above = (value.lineno, value.col_offset) < (node.lineno, node.col_offset)
                return value if above else node
            if given or (isinstance(place, Function) and node.id in parameters(place)):
                return node
        return node

    def names_called(self, scope: Scope) -> set[str]:
        """Last words of all that is called in a scope ("startswith", "basename")."""
        return {last_word(node.func) for node in ast.walk(scope) if isinstance(node, ast.Call)} - {""}
