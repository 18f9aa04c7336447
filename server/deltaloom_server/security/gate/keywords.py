"""How a program is started stays as it was: a fix adds no keyword that makes another program of it.

Invariant: a keyword that the old start didn't have is accepted by name; what isn't listed is refused.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from deltaloom_server.security.rules import canonical

from .accepted import Site
from .accepted.processes import SINKS, STARTS
from .accepted.site import constant, keyword
from .reaching import values_at
from .words import words

_RULES = words("S602 S603 S604 S605 S606 S607 S609")
_HARMLESS = words(
    "args check text encoding errors universal_newlines capture_output timeout start_new_session"
)
_STREAMS = words("stdin stdout stderr")
_CHANNELS = frozenset(
    f"{module}.{name}"
    for module in ("subprocess", "asyncio.subprocess")
    for name in ("PIPE", "DEVNULL", "STDOUT")
)
_CHANGES_FOLDER = re.compile(r"(?:^|[;&|(\n])\s*(?:cd|pushd)\s")
_ENVIRONMENT = frozenset({"os.environ", "os.environ.copy"})


def keywords(site: Site) -> Iterator[str]:
    """Objections to what is passed to a new start beside its words."""
    if canonical(site.finding.rule) not in _RULES:
        return
    old = site.sinks(SINKS)
    known = {(one.arg, ast.dump(one.value)) for call in old for one in call.keywords}
    positional = max((len(call.args) for call in old), default=1)
    told = _told(site)
    for call in site.replacements(STARTS):
        name = site.name(call)
        if name.startswith("subprocess.") and len(call.args) > max(1, positional):
            yield "It passes the program's settings by their places, where they can't be read."
        for one in call.keywords:
            if (one.arg, ast.dump(one.value)) not in known and not _may_be_added(site, call, one, told):
                yield f"It starts the program with {one.arg or '**'}, which the code before did not."
    yield from _later_settings(site, told)


def _told(site: Site) -> tuple[str, ...]:
    """All texts of the old unit, where a command line may be."""
    return tuple(
        node.value
        for root in site.change.old
        for node in ast.walk(root)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def _may_be_added(site: Site, call: ast.Call, one: ast.keyword, told: tuple[str, ...]) -> bool:
    name, value = one.arg, one.value
    if name in _HARMLESS:
        return True
    if name == "shell":
        return constant(value) is False
    if name in _STREAMS:
        return _is_stream(site, value, told)
    if name == "cwd":
        return any(_CHANGES_FOLDER.search(text) for text in told)
    if name == "env":
        return all(
            _is_told_environment(site, given, told) or _is_less(site, given)
            for given in values_at(site.after, value)
        )
    return name == "input" and any("|" in text or "<" in text for text in told)


def _is_less(site: Site, value: ast.expr) -> bool:
    """Variables that the old start set as well, to the same; the others were for the shell."""
    old = [env for call in site.sinks(SINKS) if isinstance(env := keyword(call, "env"), ast.Dict)]
    return isinstance(value, ast.Dict) and any(_pairs(value) <= _pairs(env) for env in old)


def _pairs(node: ast.Dict) -> frozenset[tuple[str, str]]:
    pairs = zip(node.keys, node.values, strict=True)
    return frozenset(("" if key is None else ast.dump(key), ast.dump(value)) for key, value in pairs)


def _is_stream(site: Site, value: ast.expr, told: tuple[str, ...]) -> bool:
    """A channel; the end of another program in a pipe; a file that the old command line named."""
    if site.after.qualified(value) in _CHANNELS:
        return True
    if isinstance(value, ast.Attribute) and value.attr in _STREAMS:
        return any("|" in text for text in told)
    if not isinstance(value, ast.Name):
        return False
    redirected = any("<" in text or ">" in text for text in told)
    opened = any(
        isinstance(node, ast.withitem)
        and isinstance(node.optional_vars, ast.Name)
        and node.optional_vars.id == value.id
        and isinstance(node.context_expr, ast.Call)
        and (site.name(node.context_expr) in ("open", ".open"))
        for root in site.change.new
        for node in ast.walk(root)
    )
    return redirected and opened


def _is_told_environment(site: Site, value: ast.expr, told: tuple[str, ...]) -> bool:
    """`{**os.environ, "LC_ALL": "C"}`, where the old command line began with LC_ALL=."""
    if site.after.qualified(value) in _ENVIRONMENT:
        return True
    if isinstance(value, ast.Dict):
        pairs = list(zip(value.keys, value.values, strict=True))
        return any(key is None for key, _ in pairs) and all(
            site.after.qualified(one) in _ENVIRONMENT if key is None else _is_told(constant(key), told)
            for key, one in pairs
        )
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.BitOr):
        parts = value.left, value.right
        return site.after.qualified(value.left) in _ENVIRONMENT and all(
            _is_told_environment(site, one, told) or _are_told(one, told) for one in parts
        )
    if not isinstance(value, ast.Call):
        return False
    if site.name(value) == "dict":
        return (
            len(value.args) == 1
            and site.after.qualified(value.args[0]) in _ENVIRONMENT
            and all(_is_told(one.arg, told) for one in value.keywords)
        )
    return site.name(value) == "os.environ.copy" and not value.args and not value.keywords


def _are_told(value: ast.expr, told: tuple[str, ...]) -> bool:
    return isinstance(value, ast.Dict) and all(
        key is not None and _is_told(constant(key), told) for key in value.keys
    )


def _is_told(name: object, told: tuple[str, ...]) -> bool:
    if not isinstance(name, str):
        return False
    wanted = re.compile(rf"(?:^|[\s;&|(]){re.escape(name)}=")
    return any(wanted.search(text) for text in told)


def _later_settings(site: Site, told: tuple[str, ...]) -> Iterator[str]:
    """`env["LD_PRELOAD"] = x`, `env.update(…)`, where env is what a start is given."""
    names = {env.id for call in site.new_calls(STARTS) if isinstance(env := keyword(call, "env"), ast.Name)}
    for node in site.change.added:
        if isinstance(node, ast.AugAssign):
            if ast.unparse(node.target) in names and not _are_told(node.value, told):
                yield "It sets variables for the program, which the command did not."
        elif (
            isinstance(node, ast.Subscript)
            and not isinstance(node.ctx, ast.Load)
            and isinstance(node.value, ast.Name)
            and node.value.id in names
            and not _is_told(constant(node.slice), told)
        ):
            yield f"It sets {ast.unparse(node.slice)[:40]} for the program, which the command did not."
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id in names
        ):
            if node.func.attr != "setdefault" or not node.args or not _is_told(constant(node.args[0]), told):
                yield "It sets variables for the program, which the command did not."
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            given = any(isinstance(one, ast.Name) and one.id in names for one in targets)
            if given and not _is_told_environment(site, node.value, told):
                yield "It gives the program other variables than the command did."
