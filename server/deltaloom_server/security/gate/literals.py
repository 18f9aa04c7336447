"""Where a finding about a name's use is put right: at the one literal that the module gives to the name.

Invariant: the place follows from the text before and the finding alone, and there is one or none.
"""

from __future__ import annotations

import ast

from deltaloom_server.security.codemods.source import Function, Source
from deltaloom_server.security.finding import Finding, Span

from .reaching import values_at

_RULES = frozenset({"DL117"})


def literal_elsewhere(source: Source, finding: Finding) -> Span | None:
    """The literal's place, of a rule that reports where a key is used; None where there isn't just one."""
    if finding.rule not in _RULES:
        return None
    for node in source.nodes_at(finding.span):
        name = _without_encode(node)
        if not isinstance(name, ast.Name) or source.span(node) != finding.span:
            continue
        values = values_at(source, name)
        literal = _without_encode(values[0]) if len(values) == 1 else None
        if isinstance(literal, ast.Constant) and _is_of_module(source, literal):
            return source.span(literal)
    return None


def _without_encode(node: ast.AST) -> ast.AST:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "encode":
        return node.func.value
    return node


def _is_of_module(source: Source, node: ast.Constant) -> bool:
    statement = source.statement(node)
    around = source.parents.get(statement)
    return isinstance(statement, ast.Assign | ast.AnnAssign) and not isinstance(around, Function)
