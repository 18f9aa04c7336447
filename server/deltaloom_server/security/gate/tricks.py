"""A weakness that is only hidden isn't removed: no aliases, no reflection, no flags that can't be read.

Invariant: every check is about nodes that the change adds; what stood there before is nobody's trick.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from deltaloom_server.security.codemods.source import Function

from .algorithms import are_chosen_by_the_program
from .change import Change
from .constants import folded, is_composed_string
from .refusals import is_refusal, refuses_classes
from .sinks import DANGERS, DYNAMIC, FLAGS, HIDDEN_NAMES, ONLY_WITH_A_SINK, PROTECTIONS, SINKS

_PLAIN_CALLS = frozenset({"len", "str", "int", "float", "abs"})
_PLAIN_METHODS = frozenset({"index", "get", "lower", "casefold", "upper", "strip"})
_PLAIN_FLAGS = frozenset({"timeout"})


def tricks(change: Change) -> Iterator[str]:
    """Objections to what hides a call, a flag or a string from who reads the code."""
    yield from _dynamic(change)
    yield from _aliases(change)
    yield from _wrappers(change)
    yield from _flags(change)
    yield from _weakened(change)
    yield from _strings(change)


def hiding(change: Change) -> Iterator[str]:
    """Those of them that new code of any purpose has no use for."""
    yield from _dynamic(change)
    yield from _flags(change)
    yield from _weakened(change)
    yield from _strings(change)


def _dynamic(change: Change) -> Iterator[str]:
    for node in change.added:
        if isinstance(node, ast.Call):
            name = change.after.qualified(node.func).removeprefix("builtins.")
            if name in DYNAMIC and (name not in ONLY_WITH_A_SINK or _mentions_sink(change, node)):
                yield f"It calls {name}, which hides what is called."
                return
            if isinstance(node.func, ast.Subscript | ast.IfExp | ast.Lambda | ast.NamedExpr | ast.BoolOp):
                yield "It calls something that isn't named where it is called."
                return
        elif isinstance(node, ast.Attribute) and node.attr in HIDDEN_NAMES:
            if node.attr != "modules" or change.after.qualified(node) == "sys.modules":
                yield f"It reaches behind the language's back with {node.attr}."
                return
        elif isinstance(node, ast.Name) and (node.id in HIDDEN_NAMES - {"modules"} or node.id == "builtins"):
            yield f"It reaches behind the language's back with {node.id}."
            return


def _mentions_sink(change: Change, call: ast.Call) -> bool:
    arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
    return any(
        change.after.qualified(node) in SINKS
        for argument in arguments
        for node in ast.walk(argument)
        if isinstance(node, ast.Name | ast.Attribute)
    )


def _aliases(change: Change) -> Iterator[str]:
    """A sink that is named without being called there; a callable kept in a variable to call it by that."""
    after = change.after
    for node in change.added:
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
            parent = after.parents.get(node)
            called = isinstance(parent, ast.Call) and parent.func is node
            annotation = isinstance(parent, ast.arg | ast.AnnAssign) and parent.annotation is node
            called = called or (parent is not None and refuses_classes(after, parent))
            if (
                after.qualified(node) in SINKS
                and not called
                and not annotation
                and not _was_referred(change, node)
            ):
                yield f"It hides {after.qualified(node)} behind another name."
                return
    called_names = {
        node.func.id
        for root in change.new
        for node in ast.walk(root)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    for name, value in _assignments(change):
        if name in called_names and isinstance(value, ast.Name | ast.Attribute | ast.Subscript | ast.IfExp):
            yield f"It calls something by a new name, {name}."
            return
        if after.qualified(value) in _modules(change):
            yield f"It gives the module {after.qualified(value)} another name, {name}."
            return


def _was_referred(change: Change, node: ast.Name | ast.Attribute) -> bool:
    """`run=subprocess.run` in the code before: the unit was written so."""
    before = change.before
    for root in change.old:
        for one in ast.walk(root):
            if isinstance(one, ast.Name | ast.Attribute) and ast.unparse(one) == ast.unparse(node):
                parent = before.parents.get(one)
                if not (isinstance(parent, ast.Call) and parent.func is one):
                    return True
    return False


def _modules(change: Change) -> frozenset[str]:
    return frozenset(name for name in change.after.imports.values() if "." not in name)


def _assignments(change: Change) -> Iterator[tuple[str, ast.expr]]:
    for node in change.added:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    yield target.id, node.value
                elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    for one, value in zip(target.elts, node.value.elts, strict=False):
                        if isinstance(one, ast.Name):
                            yield one.id, value
        elif (
            isinstance(node, ast.AnnAssign | ast.NamedExpr)
            and isinstance(node.target, ast.Name)
            and node.value
        ):
            yield node.target.id, node.value
        elif isinstance(node, ast.For) and isinstance(node.target, ast.Name):
            if isinstance(node.iter, ast.Tuple | ast.List):
                yield from ((node.target.id, one) for one in node.iter.elts)
        elif isinstance(node, ast.withitem) and isinstance(node.optional_vars, ast.Name):
            yield node.optional_vars.id, node.context_expr


def _wrappers(change: Change) -> Iterator[str]:
    for node in change.added:
        if isinstance(node, Function | ast.ClassDef) and not (len(change.old) == 1 and node in change.new):
            if not is_refusal(change.after, node) and not any(
                isinstance(one, type(node)) and one.name == node.name for one in _definitions(change)
            ):
                yield f"It moves code into a new definition, {node.name}."
                return
        elif (
            isinstance(node, ast.Lambda)
            and not any(isinstance(one, ast.Lambda) for one in change.removed)
            and not _is_sort_key(change, node)
        ):
            yield "It wraps code in a lambda."
            return


def _is_sort_key(change: Change, node: ast.Lambda) -> bool:
    """`sorted(rows, key=lambda row: row[1])`, which only looks at its value."""
    parent = change.after.parents.get(node)
    call = (
        change.after.parents.get(parent) if isinstance(parent, ast.keyword) and parent.arg == "key" else None
    )
    if not isinstance(call, ast.Call):
        return False
    sorts = change.after.qualified(call.func) in ("sorted", "min", "max") or (
        isinstance(call.func, ast.Attribute) and call.func.attr == "sort"
    )
    calls = [one for one in ast.walk(node.body) if isinstance(one, ast.Call)]
    return sorts and not node.args.defaults and all(_is_plain(one) for one in calls)


def _is_plain(call: ast.Call) -> bool:
    """A look at a value that changes nothing."""
    if isinstance(call.func, ast.Attribute):
        return call.func.attr in _PLAIN_METHODS
    return isinstance(call.func, ast.Name) and call.func.id in _PLAIN_CALLS


def _definitions(change: Change) -> Iterator[Function | ast.ClassDef]:
    for root in change.old:
        yield from (one for one in ast.walk(root) if isinstance(one, Function | ast.ClassDef))


def _flags(change: Change) -> Iterator[str]:
    """A flag is written where it counts: a literal, or a name of an imported module (`yaml.SafeLoader`)."""
    old_values = {
        (keyword.arg, ast.unparse(keyword.value))
        for root in change.old
        for keyword in ast.walk(root)
        if isinstance(keyword, ast.keyword)
    }
    for node in change.added:
        if not isinstance(node, ast.keyword):
            continue
        if node.arg is None:
            if (None, ast.unparse(node.value)) not in old_values:
                yield "It passes arguments by ** so that they can't be read there."
                return
        elif node.arg in FLAGS and (node.arg, ast.unparse(node.value)) not in old_values:
            chosen = node.arg == "algorithms" and are_chosen_by_the_program(change.after, node.value)
            if not chosen and not _is_readable(change, node.value):
                yield f"It doesn't write the value of {node.arg} where it is passed."
                return
        elif node.arg in _PLAIN_FLAGS and isinstance(node.value, ast.Constant) and node.value.value is None:
            yield f"It passes None as {node.arg}, which is the same as not passing it."
            return


def _weakened(change: Change) -> Iterator[str]:
    """A protection that was on is off now, by keyword or by attribute."""
    for node in change.added:
        if isinstance(node, ast.keyword) and node.arg is not None:
            name, value = node.arg, node.value
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
            name, value = node.targets[0].attr, node.value
            if name in FLAGS and not _is_readable(change, value):
                yield f"It doesn't write the value of {name} where it is set."
                return
        else:
            continue
        if name in PROTECTIONS and _is_off(change, value) and not _was_off(change, name):
            yield f"It turns {name} off."
            return
        if name in DANGERS and (known := folded(value)) is not None and known.value:
            yield f"It turns {name} on."
            return


def _is_off(change: Change, value: ast.expr) -> bool:
    known = folded(value)
    return (known is not None and not known.value) or change.after.qualified(value).endswith("CERT_NONE")


def _was_off(change: Change, name: str) -> bool:
    """What was off already, and stays, is another finding's matter."""
    return any(
        isinstance(node, ast.keyword) and node.arg == name and _is_off(change, node.value)
        for root in change.old
        for node in ast.walk(root)
        if not _is_gone(change, node)
    )


def _is_gone(change: Change, node: ast.AST) -> bool:
    return node in change.removed


def _is_readable(change: Change, value: ast.expr) -> bool:
    if isinstance(value, ast.Constant):
        return True
    if isinstance(value, ast.List | ast.Tuple | ast.Set):
        return all(_is_readable(change, one) for one in value.elts)
    if isinstance(value, ast.Attribute):
        return bool(change.after.qualified(value)) or _is_setting(value)
    if isinstance(value, ast.Name):
        return bool(change.after.imports.get(value.id))
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.BitOr):
        return _is_readable(change, value.left) and _is_readable(change, value.right)
    if isinstance(value, ast.Compare):  # os.environ.get("DEBUG") == "1": chosen outside of the program
        return _reads_environment(change, value) and folded(value) is None
    if isinstance(value, ast.Call):
        name = change.after.qualified(value.func)
        return name in ("certifi.where", "jinja2.select_autoescape", "ssl.create_default_context") or (
            _reads_environment(change, value) and name in ("bool", "os.getenv", "os.environ.get")
        )
    return False


def _is_setting(value: ast.Attribute) -> bool:
    """`settings.VERIFY`, `self.config.verify`: a value that is set elsewhere, not in this function."""
    return isinstance(value.value, ast.Attribute) or value.attr.isupper()


def _reads_environment(change: Change, value: ast.expr) -> bool:
    names = {
        change.after.qualified(node) for node in ast.walk(value) if isinstance(node, ast.Attribute | ast.Name)
    }
    return bool(names & {"os.environ", "os.environ.get", "os.getenv"})


def _strings(change: Change) -> Iterator[str]:
    """Strings put together from constants say the same as one that is written out, but not to a scanner."""
    for node in change.added:
        if isinstance(node, ast.expr) and is_composed_string(node):
            yield "It puts a constant string together from parts."
            return
        if isinstance(node, ast.Call):
            name = change.after.qualified(node.func)
            if (
                name in ("chr", "bytes.fromhex", "codecs.decode", "base64.b64decode", "base64.decodebytes")
                and all(isinstance(one, ast.Constant) for one in node.args)
                and node.args
            ):
                yield "It spells a constant string in code."
                return
