"""Values in a string that is put together are given to a function each.

Invariant: the literal parts, and how the string is written, stay as they are.
"""

from __future__ import annotations

import ast
from collections.abc import Callable

from deltaloom_server.security.codemods.rewrite import Rewrite
from deltaloom_server.security.codemods.template import Hole, holes_in, parts_of


def wrap_values(rewrite: Rewrite, node: ast.expr, wrap: Callable[[str], str]) -> bool:
    """Every value of a string expression; False, with edits half done, where one can't be found.

    A node that is no string put together is taken for the one value.
    """
    source = rewrite.source
    parts = parts_of(source, node)
    if parts is None:
        if _is_escaped(node):
            return False
        rewrite.replace(node, wrap(source.segment(node)))
        return True
    return all(_wrap(rewrite, node, hole, wrap) for hole in holes_in(parts))


def _wrap(rewrite: Rewrite, node: ast.expr, hole: Hole, wrap: Callable[[str], str]) -> bool:
    source = rewrite.source
    if hole.shaped or _is_escaped(hole.node):
        return False
    joined = next((one for one in source.ancestors(hole.node) if isinstance(one, ast.JoinedStr)), None)
    if joined is None:
        rewrite.replace(hole.node, wrap(source.segment(hole.node)))
        return True
    segment, written = source.segment(joined), "{" + ast.unparse(hole.node) + "}"
    if segment.count(written) != 1:
        return False
    start = source.start(joined) + segment.index(written)
    rewrite.replace_range(start, start + len(written), "{" + wrap(written[1:-1]) + "}")
    return True


def _is_escaped(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and "escape" in ast.unparse(node.func)
