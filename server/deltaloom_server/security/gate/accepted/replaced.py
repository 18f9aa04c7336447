"""Calls that may go because something else of the change does the same.

Invariant: what a call did is found again in the new code, on the same data; a name alone excuses nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence

from ..reaching import values_at
from .instead import READS_LINES
from .processes import is_library_instead
from .site import Site, matches

_HASHES = frozenset({"hashlib.*", "hmac.new", "hmac.digest"})


def is_replaced(site: Site, name: str) -> bool:
    """Is what calls of this name did done by what the change adds?"""
    if name == ".close":
        return _closed_by_with(site)
    if name == ".update":
        return _hashed_at_once(site)
    return name in READS_LINES and is_library_instead(site)


def _closed_by_with(site: Site) -> bool:
    """`t = open(p); …; t.close()` becomes `with open(p) as t`, as often."""
    gone = _closes(site.change.old) - _closes(site.change.new)
    opened = _opened(site.change.new) - _opened(site.change.old)
    return 0 < gone <= opened


def _closes(roots: Sequence[ast.stmt]) -> int:
    return sum(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "close"
        for root in roots
        for node in ast.walk(root)
    )


def _opened(roots: Sequence[ast.stmt]) -> int:
    """`with` over a call: a lock or a name that was open already closes nothing more."""
    return sum(
        isinstance(node, ast.withitem) and isinstance(node.context_expr, ast.Call)
        for root in roots
        for node in ast.walk(root)
    )


def _hashed_at_once(site: Site) -> bool:
    """`h = md5(); h.update(data)` becomes `sha256(data)`."""
    given = {
        ast.dump(value)
        for call in site.added_calls
        if matches(site.name(call), _HASHES)
        for argument in call.args
        for value in (argument, *values_at(site.after, argument))
    }
    updates = [call for call in site.removed_calls if site.old_name(call) == ".update"]
    kept = [call for call in site.added_calls if site.name(call) == ".update"]
    return bool(updates) and not kept and len(updates) == 1 and ast.dump(updates[0].args[0]) in given
