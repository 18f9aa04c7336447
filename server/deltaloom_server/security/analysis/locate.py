"""Where in a text a finding stands: its statement and its function. Runs in the analysis process only."""

from __future__ import annotations

import ast

from deltaloom_server.positions import split_lines
from deltaloom_server.security.analysis.messages import Locate, Located
from deltaloom_server.security.codemods.source import Function, Source


def locate(request: Locate) -> Located:
    """Statement and function around a span; where the text doesn't parse, the span's lines."""
    source = Source.parse(request.text) if request.path.endswith((".py", ".pyi")) else None
    if source is None:
        return _lines(request)
    node = next(source.nodes_at(request.span), None)
    if node is None:
        return _lines(request)
    statement = _simple(source, node)
    function = statement if isinstance(statement, Function) else source.enclosing_function(statement)
    around = (-1, -1)
    name = ""
    if function is not None:
        around = _whole_lines(source, function)
        name = function.name
    return Located(*_whole_lines(source, statement), *around, name)


def _simple(source: Source, node: ast.AST) -> ast.stmt:
    """The innermost statement; of a compound one only what the finding is in can be rewritten at once."""
    return source.statement(node)


def _whole_lines(source: Source, node: ast.stmt) -> tuple[int, int]:
    first = node.lineno - 1
    for decorator in getattr(node, "decorator_list", ()):
        first = min(first, decorator.lineno - 1)
    return source.line_start(first), source.line_start(node.end_lineno or node.lineno)


def _lines(request: Locate) -> Located:
    lines = split_lines(request.text)
    start = sum(map(len, lines[: request.span.start_line]))
    end = sum(map(len, lines[: request.span.end_line + 1]))
    return Located(start, end)
