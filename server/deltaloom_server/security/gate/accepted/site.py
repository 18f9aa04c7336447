"""`Site`: what a change took away at a finding's place, and what it put there.

Invariant: "removed" and "added" are counted as nodes of the unit, so that moving code adds nothing.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property

from deltaloom_server.security.codemods.source import Function, Source
from deltaloom_server.security.finding import Finding

from ..change import Change
from ..imports import Binding, added_bindings, bindings
from .values import imported_values, outer_value, outer_values


@dataclass(frozen=True)
class Site:
    """One change of a Python text, seen from the finding that it is to remove."""

    change: Change
    finding: Finding

    @property
    def before(self) -> Source:
        return self.change.before

    @property
    def after(self) -> Source:
        return self.change.after

    # -- calls -------------------------------------------------------------------------------------------

    @cached_property
    def removed_calls(self) -> tuple[ast.Call, ...]:
        """Calls of the old unit that are no longer there as they were, inner ones first."""
        calls = [node for node in self.change.removed if isinstance(node, ast.Call)]
        return tuple(sorted(calls, key=lambda node: self.before.end(node) - self.before.start(node)))

    @cached_property
    def added_calls(self) -> tuple[ast.Call, ...]:
        """Calls of the new unit that weren't there, inner ones first."""
        calls = [node for node in self.change.added if isinstance(node, ast.Call)]
        return tuple(sorted(calls, key=lambda node: self.after.end(node) - self.after.start(node)))

    def new_calls(self, names: Collection[str]) -> tuple[ast.Call, ...]:
        """Calls of these names in the new unit, whether added or not."""
        calls = (one for root in self.change.new for one in ast.walk(root) if isinstance(one, ast.Call))
        return tuple(call for call in calls if matches(self.name(call), names))

    @cached_property
    def new_imports(self) -> tuple[Binding, ...]:
        return added_bindings(self.change)

    def name(self, call: ast.Call, source: Source | None = None) -> str:
        """What a call calls: the imported name, a builtin's, or ".method" where that's all one can tell."""
        source = source or self.after
        full = source.qualified(call.func)
        if full:
            return full
        if isinstance(call.func, ast.Attribute):
            return f".{call.func.attr}"
        return ast.unparse(call.func)

    def old_name(self, call: ast.Call) -> str:
        return self.name(call, self.before)

    def touches(self, node: ast.expr | ast.stmt) -> bool:
        """Is a node of the text before on the finding's lines?"""
        return self.before.span(node).touches(self.finding.span)

    def sinks(self, names: Collection[str]) -> tuple[ast.Call, ...]:
        """Removed calls of these names (".load" for methods), those at the finding's place first."""
        found = [call for call in self.removed_calls if matches(self.old_name(call), names)]
        return tuple(sorted(found, key=lambda call: not self.touches(call)))

    def replacements(self, names: Collection[str]) -> tuple[ast.Call, ...]:
        """Added calls of these names."""
        return tuple(call for call in self.added_calls if matches(self.name(call), names))

    @cached_property
    def sink(self) -> ast.Call | None:
        """The removed call at the finding that changed itself, not only in a call among its parts."""
        at_place = [call for call in self.removed_calls if self.touches(call)]
        return at_place[0] if at_place else None

    # -- what flows --------------------------------------------------------------------------------------

    def data(self, node: ast.AST, source: Source) -> frozenset[str]:
        """The variables that an expression reads: not what imports and builtins give."""
        inner = {
            name.id
            for one in ast.walk(node)
            if isinstance(one, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp)
            for generator in one.generators
            for name in ast.walk(generator.target)
            if isinstance(name, ast.Name)
        }
        imported = imported_names(source)
        return frozenset(
            one.id
            for one in ast.walk(node)
            if isinstance(one, ast.Name)
            and isinstance(one.ctx, ast.Load)
            and one.id not in inner
            and one.id not in imported
            and source.qualified(one) != one.id
        )

    @cached_property
    def added_data(self) -> frozenset[str]:
        """Variables that are read by what the change added, and of assignments by those that are used."""
        found: set[str] = set()
        read = self._read
        for node in self.change.added:
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                places = node.targets if isinstance(node, ast.Assign) else [node.target]
                targets = {one.id for place in places for one in ast.walk(place) if isinstance(one, ast.Name)}
                if not isinstance(node.value, ast.Name | ast.Tuple) and (not targets or targets & read):
                    found |= self.data(node.value, self.after)
            elif isinstance(node, ast.With | ast.AsyncWith):
                found |= {name for item in node.items for name in self.data(item, self.after)}
            elif isinstance(node, ast.Call | ast.Subscript | ast.BinOp | ast.Compare | ast.Return | ast.For):
                found |= self.data(node, self.after)
        return frozenset(found)

    @cached_property
    def _read(self) -> frozenset[str]:
        """Variables that the new unit reads anywhere."""
        return frozenset(
            one.id
            for root in self.change.new
            for one in ast.walk(root)
            if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Load)
        )

    def lost_data(self, node: ast.AST) -> frozenset[str]:
        """Variables that flowed into a removed expression and into nothing that was added."""
        aliases = {
            target.id
            for root in self.change.old
            for one in ast.walk(root)
            if isinstance(one, ast.Assign)
            for target in one.targets
            if isinstance(target, ast.Name)
        }
        gone = self.data(node, self.before) - self.added_data
        # A local that only carried the value on may go when the value itself flows in.
        lost = {name for name in gone if name not in aliases or name in self._read or self._is_dropped(name)}
        return frozenset(lost | (outer_values(node, self.before) - self._live_outer))

    def is_module_text(self, name: str) -> bool:
        """Does the module give the name a string, and nothing else?"""
        values = [
            one.value
            for one in self.before.tree.body
            if isinstance(one, ast.Assign)
            and any(isinstance(target, ast.Name) and target.id == name for target in one.targets)
        ]
        return len(values) == 1 and isinstance(constant(values[0]), str)

    def _is_dropped(self, name: str) -> bool:
        """A local that nobody reads any more: is what it held used nowhere else?"""
        for value in self._held(name):
            if outer_values(value, self.before) - self._live_outer:
                return True
            if any(one not in self._live_names for one in self.data(value, self.before)):
                return True
            if imported_values(value, self.before) - self._live_imported:
                return True
        return False

    def _held(self, name: str) -> Iterator[ast.expr]:
        """What the old unit assigned to a variable."""
        for root in self.change.old:
            for one in ast.walk(root):
                if isinstance(one, ast.Assign) and any(
                    isinstance(target, ast.Name) and target.id == name for target in one.targets
                ):
                    yield one.value

    @cached_property
    def _live(self) -> tuple[ast.AST, ...]:
        """The new unit without assignments to locals that nobody reads."""
        dead = {
            part
            for root in self.change.new
            for one in ast.walk(root)
            if isinstance(root, Function)
            and isinstance(one, ast.Assign)
            and all(isinstance(target, ast.Name) and target.id not in self._read for target in one.targets)
            for part in ast.walk(one)
        }
        return tuple(one for root in self.change.new for one in ast.walk(root) if one not in dead)

    @cached_property
    def _live_names(self) -> frozenset[str]:
        return frozenset(
            one.id for one in self._live if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Load)
        )

    @cached_property
    def _live_imported(self) -> frozenset[str]:
        return frozenset(
            name for one in self._live for name in imported_values(one, self.after, deeply=False)
        )

    @cached_property
    def _live_outer(self) -> frozenset[str]:
        return frozenset(name for one in self._live if (name := outer_value(one, self.after)))

    def assigned(self, name: str) -> Iterator[ast.expr]:
        """What the new unit assigns to a variable."""
        for root in self.change.new:
            for node in ast.walk(root):
                if isinstance(node, ast.Assign):
                    if any(isinstance(target, ast.Name) and target.id == name for target in node.targets):
                        yield node.value
                elif (
                    isinstance(node, ast.AnnAssign | ast.NamedExpr)
                    and isinstance(node.target, ast.Name)
                    and node.target.id == name
                    and node.value
                ):
                    yield node.value

    def resolved(self, node: ast.expr) -> ast.expr:
        """A variable that the new unit assigns once, to what it is assigned; everything else as it is."""
        if isinstance(node, ast.Name):
            values = list(self.assigned(node.id))
            if len(values) == 1:
                return values[0]
        return node

    # -- calls that may not go ---------------------------------------------------------------------------

    def vanished(self, may: Collection[str]) -> tuple[str, ...]:
        """Names that the old unit calls more often than the new one; those of `may` left out."""
        old = Counter(
            self.old_name(one)
            for root in self.change.old
            for one in ast.walk(root)
            if isinstance(one, ast.Call)
        )
        new = Counter(
            self.name(one) for root in self.change.new for one in ast.walk(root) if isinstance(one, ast.Call)
        )
        return tuple(name for name in sorted(old - new) if not matches(name, may))

    def is_discarded(self, call: ast.Call, source: Source) -> bool:
        """Does a call stand alone, so that its result goes nowhere?"""
        node: ast.AST = call
        parent = source.parents.get(node)
        while isinstance(parent, ast.Await):
            node, parent = parent, source.parents.get(parent)
        return isinstance(parent, ast.Expr)


def imported_names(source: Source) -> frozenset[str]:
    """Names that any import of the file binds, also those that two imports bind to different things."""
    return frozenset(one.name for node in ast.walk(source.tree) for one in bindings(node))


def matches(name: str, names: Collection[str]) -> bool:
    """Is a call's name among these? ".load" stands for any method of that name, "yaml.*" for all of yaml."""
    if name in names:
        return True
    last = "." + name.rpartition(".")[2]
    if last in names:
        return True
    return any(one.endswith(".*") and name.startswith(one[:-1]) for one in names)


def keyword(call: ast.Call, name: str) -> ast.expr | None:
    """The value of a call's keyword argument."""
    return next((one.value for one in call.keywords if one.arg == name), None)


def constant(node: ast.expr | None) -> object:
    """A literal's value; Ellipsis where it is no literal (and None for a missing node)."""
    if node is None:
        return None
    return node.value if isinstance(node, ast.Constant) else ...
