"""What an import or the language gives keeps its meaning: a fix changes nothing that others share.

Invariant: only what the change adds is looked at; a target or a call that stood there before may stay.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator

from deltaloom_server.security.codemods.source import Function, Source

from .change import Change
from .imports import bindings
from .words import words

_MUTATORS = words(
    "add_constructor add_multi_constructor add_implicit_resolver add_path_resolver add_representer"
    " add_type update append extend insert setdefault pop popitem clear remove discard register"
    " register_archive_format register_unpack_format register_error register_adapter register_converter"
    " register_namespace register_opener install_opener setitem delitem simplefilter filterwarnings"
    " disable set_default_verify_paths putenv unsetenv install mount add_handler reload"
)
_PLAIN = words("os.remove")
"""Functions of modules that only sound like one of those."""

_WRITERS = words(
    "operator.setitem operator.delitem operator.ior operator.iadd copyreg.pickle os.chdir os.fchdir os.chroot"
    " os.umask os.setuid os.setgid os.seteuid os.setegid os.setreuid os.setresuid sys.setrecursionlimit"
)
"""They change a table, or the whole process."""

_MOCKS = ("unittest.mock.", "mock.", "pytest.MonkeyPatch")
_HARMLESS_DUNDERS = words("__name__ __qualname__ __file__ __doc__ __version__ __init__ __post_init__")
_TYPE_OF = frozenset({"type", "super"})


def rebound(change: Change) -> Iterator[str]:
    """Objections to what gives a shared name, attribute or table another content."""
    yield from _targets(change)
    yield from _names(change)
    yield from _dunders(change)
    yield from _mutating_calls(change)


def _targets(change: Change) -> Iterator[str]:
    """`yaml.SafeLoader = …`, `for yaml.SafeLoader in …`, `del os.environ[…]`"""
    shared = _Shared(change)
    for node in change.added:
        if (
            isinstance(node, ast.Attribute | ast.Subscript)
            and not isinstance(node.ctx, ast.Load)
            and shared.holds(node.value)
        ):
            yield f"It changes {ast.unparse(node)[:60]}, which other code relies on."
            return


def _names(change: Change) -> Iterator[str]:
    """`yaml = …` where yaml is an import that the unit sees."""
    imported = _visible_imports(change)
    for node in change.added:
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            name = node.id
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar | Function | ast.ClassDef):
            name = node.name or ""
        else:
            continue
        if name in imported and name not in _stored(change):
            yield f"It gives the imported name {name} another meaning."
            return


def _visible_imports(change: Change) -> frozenset[str]:
    source = change.after
    inside = {node for root in change.new for node in ast.walk(root)}
    around = {one for root in change.new for one in source.ancestors(root)}
    return frozenset(
        binding.name
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        and ((function := source.enclosing_function(node)) is None or function in inside | around)
        for binding in bindings(node)
    )


def _stored(change: Change) -> frozenset[str]:
    """Names that the old unit gave a value already."""
    found: set[str] = set()
    for root in change.old:
        for node in ast.walk(root):
            if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
                found.add(node.id)
            elif isinstance(node, ast.ExceptHandler | Function | ast.ClassDef) and node.name:
                found.add(node.name)
    return frozenset(found)


def _dunders(change: Change) -> Iterator[str]:
    for node in change.added:
        if not isinstance(node, ast.Attribute):
            continue
        is_dunder = node.attr.startswith("__") and node.attr.endswith("__")
        if is_dunder and not (isinstance(node.ctx, ast.Load) and node.attr in _HARMLESS_DUNDERS):
            yield f"It reaches behind the language's back with {node.attr}."
            return


def _mutating_calls(change: Change) -> Iterator[str]:
    shared = _Shared(change)
    before = Counter(_called(root) for old in change.old for root in ast.walk(old))
    now = Counter(_called(root) for new in change.new for root in ast.walk(new))
    for node in change.added:
        if not isinstance(node, ast.Call) or now[_called(node)] <= before[_called(node)]:
            continue
        name = change.after.qualified(node.func)
        if name in _WRITERS or name.startswith(_MOCKS):
            yield f"It calls {name}, which changes what other code relies on."
            return
        if not name and (handed := [one for one in node.args if _is_module(change, one)]):
            yield f"It hands the module {ast.unparse(handed[0])} to other code."
            return
        if (
            isinstance(node.func, ast.Attribute)
            and node.func.attr in _MUTATORS
            and name not in _PLAIN
            and shared.holds(node.func.value)
        ):
            yield f"It calls {ast.unparse(node.func)[:60]}, which changes what other code relies on."
            return


def _is_module(change: Change, node: ast.expr) -> bool:
    full = change.after.qualified(node) if isinstance(node, ast.Name) else ""
    return bool(full) and any(
        alias.name == full
        for one in ast.walk(change.after.tree)
        if isinstance(one, ast.Import)
        for alias in one.names
    )


def _called(node: ast.AST) -> str:
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


class _Shared:
    """Which expressions of the new unit name something that an import or the language gives."""

    def __init__(self, change: Change) -> None:
        self._source: Source = change.after
        self._local = self._locals(change)

    def holds(self, node: ast.expr) -> bool:
        """Is this the shared thing itself, or a part of it? What a call has made is the function's own."""
        while isinstance(node, ast.Attribute | ast.Subscript | ast.Starred):
            node = node.value
        if isinstance(node, ast.Call):
            return self._source.qualified(node.func) in _TYPE_OF
        if isinstance(node, ast.NamedExpr):
            return self.holds(node.value)
        if isinstance(node, ast.IfExp):
            return self.holds(node.body) or self.holds(node.orelse)
        if isinstance(node, ast.BoolOp):
            return any(map(self.holds, node.values))
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            return any(map(self.holds, node.elts))
        if isinstance(node, ast.Dict):
            return any(map(self.holds, node.values))
        if not isinstance(node, ast.Name):
            return False
        known = self._source.targets(node) or self._source.qualified(node)
        return bool(known) or node.id in self._local

    def _locals(self, change: Change) -> frozenset[str]:
        """Locals that are only other names of shared things: `loader = yaml.SafeLoader`."""
        found: set[str] = set()
        self._local = frozenset[str]()
        while True:
            for root in change.new:
                for node in ast.walk(root):
                    for target, value in _bindings(node):
                        if self.holds(value):
                            found.update(_bound_names(target))
            if found == self._local:
                return self._local
            self._local = frozenset(found)


def _bound_names(target: ast.expr) -> Iterator[str]:
    for node in ast.walk(target):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def _bindings(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """What a node binds, each with what it binds to it."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if (
                isinstance(target, ast.Tuple | ast.List)
                and isinstance(node.value, ast.Tuple | ast.List)
                and len(target.elts) == len(node.value.elts)
            ):
                yield from zip(target.elts, node.value.elts, strict=True)
            else:
                yield target, node.value
    elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
        yield node.target, node.value
    elif isinstance(node, ast.For | ast.AsyncFor | ast.comprehension):
        yield node.target, node.iter
    elif isinstance(node, ast.withitem) and node.optional_vars is not None:
        yield node.optional_vars, node.context_expr
