"""The code still does what it did: nothing is swallowed, skipped, emptied or made unreachable.

Invariant: statements that raise, test or assert before the change still stand after it.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Sequence

from deltaloom_server.security.codemods.source import Function
from deltaloom_server.security.finding import Span

from .change import Change
from .constants import folded
from .words import words

_QUIETERS = words(
    "contextlib.suppress suppress warnings.filterwarnings warnings.simplefilter"
    " warnings.catch_warnings urllib3.disable_warnings requests.packages.urllib3.disable_warnings"
    " logging.disable sys.exit exit quit os._exit os.abort"
)  # fmt: skip
_ENDS = ast.Return | ast.Raise | ast.Continue | ast.Break


def flow(change: Change, *, may_drop_assert: bool = False, may_fix_text: bool = False) -> Iterator[str]:
    """Objections to a change of what runs."""
    yield from _swallowed(change)
    yield from _never(change)
    yield from _unreachable(change)
    yield from _emptied(change)
    yield from _constants_for_results(change, may_fix_text)
    yield from _validation(change, may_drop_assert)


def _swallowed(change: Change) -> Iterator[str]:
    for node in change.added:
        if isinstance(node, ast.ExceptHandler) and _catches_all(node.type) and not _reraises(node):
            old = [one for one in change.removed if isinstance(one, ast.ExceptHandler)]
            if not any(_catches_all(one.type) for one in old):
                yield "It adds an except clause that catches everything."
                return
        if (
            isinstance(node, ast.ExceptHandler)
            and _is_idle(node.body)
            and not any(isinstance(one, ast.ExceptHandler) and _is_idle(one.body) for one in change.removed)
        ):
            yield "It adds an except clause that does nothing."
            return
        if isinstance(node, ast.Call) and change.after.qualified(node.func) in _QUIETERS:
            yield f"It calls {change.after.qualified(node.func)}, which silences or ends the program."
            return
        if isinstance(node, ast.Try | ast.TryStar) and any(_ends(one) for one in node.finalbody):
            yield "It leaves a finally clause early, which drops exceptions."
            return


def _catches_all(kind: ast.expr | None) -> bool:
    kinds = kind.elts if isinstance(kind, ast.Tuple) else [kind]
    return any(
        one is None or (isinstance(one, ast.Name) and one.id in ("Exception", "BaseException"))
        for one in kinds
    )


def _reraises(node: ast.ExceptHandler) -> bool:
    return bool(node.body) and isinstance(node.body[-1], ast.Raise)


def _is_idle(body: Sequence[ast.stmt]) -> bool:
    return all(
        isinstance(one, ast.Pass | ast.Continue | ast.Break)
        or (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))
        or (isinstance(one, ast.Return | ast.Assign) and _is_blank(one.value))
        for one in body
    )


def _is_blank(value: ast.expr | None) -> bool:
    """A result that says nothing: None, a literal, an empty container."""
    if value is None or isinstance(value, ast.Constant):
        return True
    return (isinstance(value, ast.List | ast.Tuple) and not value.elts) or (
        isinstance(value, ast.Dict) and not value.keys
    )


def _never(change: Change) -> Iterator[str]:
    for node in change.added:
        if isinstance(node, ast.If | ast.While | ast.IfExp) and (test := folded(node.test)) is not None:
            if isinstance(node, ast.While) and test.value is True:
                continue
            yield "It adds a condition that always or never holds."
            return
        if isinstance(node, ast.Assert):
            yield "It adds an assert, which python -O leaves out."
            return
        if isinstance(node, ast.Raise) and _is_not_implemented(node.exc):
            yield "It raises NotImplementedError in the place of code."
            return
        if (
            isinstance(node, ast.For | ast.AsyncFor)
            and (items := folded(node.iter)) is not None
            and not items.value
        ):
            yield "It adds a loop that never runs."
            return
        if isinstance(node, ast.Match) and folded(node.subject) is not None:
            yield "It adds a match whose result is known."
            return


def _is_not_implemented(node: ast.expr | None) -> bool:
    name = node.func if isinstance(node, ast.Call) else node
    return isinstance(name, ast.Name) and name.id in ("NotImplementedError", "NotImplemented")


def _unreachable(change: Change) -> Iterator[str]:
    """Of each list of statements: what follows one that ends it never runs."""
    before = sum(1 for root in change.old for body in _bodies(root) if _dead_after(body))
    after = sum(1 for root in change.new for body in _bodies(root) if _dead_after(body))
    if after > before:
        yield "It makes code unreachable."
    added = change.added_set
    for root in change.new:
        if isinstance(root, Function):
            for one in root.body[:-1]:
                if one in added and _always_ends(one):
                    yield "It makes code unreachable."
                    return


def _bodies(root: ast.AST) -> Iterator[list[ast.stmt]]:
    for node in ast.walk(root):
        for name in ("body", "orelse", "finalbody"):
            body = getattr(node, name, None)
            if isinstance(body, list) and body and isinstance(body[0], ast.stmt):
                yield body


def _dead_after(body: Sequence[ast.stmt]) -> bool:
    return any(_ends(one) for one in body[:-1])


def _ends(node: ast.stmt) -> bool:
    return isinstance(node, _ENDS)


def _always_ends(node: ast.stmt) -> bool:
    """Does control never come past it? (`if c: return` with an else that returns too; a with, a try.)"""
    if isinstance(node, ast.Return | ast.Raise):
        return True
    if isinstance(node, ast.If):
        return bool(node.orelse) and _block_ends(node.body) and _block_ends(node.orelse)
    if isinstance(node, ast.With | ast.AsyncWith):
        return _block_ends(node.body)
    if isinstance(node, ast.Try):
        return _block_ends(node.finalbody) or (
            _block_ends(node.orelse or node.body) and all(_block_ends(one.body) for one in node.handlers)
        )
    return False


def _block_ends(body: Sequence[ast.stmt]) -> bool:
    return any(_always_ends(one) for one in body)


def _emptied(change: Change) -> Iterator[str]:
    for old, new in zip(change.old, change.new, strict=False):
        if (
            isinstance(old, Function)
            and isinstance(new, Function)
            and _is_empty(new.body)
            and not _is_empty(old.body)
        ):
            yield f"It empties {old.name}."
    if change.old and not change.new:
        yield "It deletes the statement that the finding is in."
    passes = sum(isinstance(one, ast.Pass) for one in change.added)
    if passes and not any(isinstance(one, ast.Pass) for one in change.removed):
        yield "It puts pass in the place of code."


def _is_empty(body: Sequence[ast.stmt]) -> bool:
    return _is_idle(body) or all(
        isinstance(one, ast.Raise) or (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))
        for one in body
    )


def _constants_for_results(change: Change, may_fix_text: bool) -> Iterator[str]:
    """`return {}` or `data = None` where something was computed. A statement's text may become fixed."""
    removed = change.removed
    old_returns = [one for one in removed if isinstance(one, ast.Return) and not _is_blank(one.value)]
    for node in change.added:
        if (
            isinstance(node, ast.Return)
            and _is_blank(node.value)
            and old_returns
            and not _is_guarded(change, node)
        ):
            yield "It returns a constant in the place of a result."
            return
    if _results(change.old) and not _results(change.new):
        yield "It no longer returns a result."
    computed = {
        target.id
        for one in removed
        if isinstance(one, ast.Assign) and not _is_blank(one.value)
        for target in one.targets
        if isinstance(target, ast.Name)
    }
    for node in change.added:
        if isinstance(node, ast.Assign) and _is_blank(node.value):
            if may_fix_text and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
                continue
            names = {target.id for target in node.targets if isinstance(target, ast.Name)} & computed
            if names and _count_stores(change, min(names)) < 2:
                yield f"It assigns a constant to {min(names)} in the place of a result."
                return


def _results(roots: Sequence[ast.stmt]) -> int:
    return sum(
        isinstance(node, ast.Return) and not _is_blank(node.value)
        for root in roots
        for node in ast.walk(root)
    )


def _is_guarded(change: Change, node: ast.AST) -> bool:
    """Below an added condition, as a check that turns a bad input down."""
    return any(isinstance(one, ast.If) and one in change.added_set for one in change.after.ancestors(node))


def _count_stores(change: Change, name: str) -> int:
    return sum(
        isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store)
        for root in change.new
        for node in ast.walk(root)
    )


def _validation(change: Change, may_drop_assert: bool) -> Iterator[str]:
    """Conditions, raises and asserts that stood there are still there; the one that holds the finding itself
    may be written differently, as long as there is one."""
    old, new = _checks(change.old), _checks(change.new)
    kinds = Counter(key.partition(" ")[0] for key in old.elements())
    new_kinds = Counter(key.partition(" ")[0] for key in new.elements())
    touched = set(_checks(change.old, change.span)) if change.span else set()
    returned = _returned(change)
    for key in old - new:
        kind = key.partition(" ")[0]
        if key in touched and key in returned and _results(change.new) > _results(change.old):
            continue
        if (kind == "assert" and may_drop_assert) or (key in touched and new_kinds[kind] >= kinds[kind]):
            continue
        yield f"It removes or changes a check: {key[:120]}."
        return


def _returned(change: Change) -> frozenset[str]:
    """Conditions that do nothing but say True or False: `if a == b: return True`, `return False` after it."""
    found = set()
    for root in change.old:
        for node in ast.walk(root):
            if isinstance(node, ast.If) and all(map(_says_bool, (*node.body, *node.orelse))):
                found.add(f"if {_unparse(node.test)}")
    return frozenset(found)


def _says_bool(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Return)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, bool)
    )


def _checks(roots: Sequence[ast.stmt], span: Span | None = None) -> Counter[str]:
    """What is checked, as it is written; with a span, only where that lies in the condition."""
    found: Counter[str] = Counter()
    for root in roots:
        for node in ast.walk(root):
            if isinstance(node, ast.Raise):
                kind, what = "raise", node.exc
            elif isinstance(node, ast.If | ast.Assert):
                kind, what = type(node).__name__.lower(), node.test
            else:
                continue
            if span is None or (what is not None and _touches(what, span)):
                found[f"{kind} {_unparse(what)}"] += 1
    return found


def _touches(node: ast.expr, span: Span) -> bool:
    return node.lineno - 1 <= span.end_line and span.start_line <= (node.end_lineno or node.lineno) - 1


def _unparse(node: ast.expr | None) -> str:
    return "" if node is None else ast.unparse(node)
