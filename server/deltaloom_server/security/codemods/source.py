"""A Python text and its syntax tree, with positions in code points, as codemods and the gate work on it.

Invariant: offsets are code points of `text`; a name is resolved through the file's own imports only, and one
that is bound in any other way resolves to nothing.
"""

from __future__ import annotations

import ast
from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property

from deltaloom_server.positions import line_starts, split_lines
from deltaloom_server.security.finding import Span

Function = ast.FunctionDef | ast.AsyncFunctionDef
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
Scope = ast.Module | Function | ast.Lambda | ast.ClassDef | Comprehension
Located = ast.expr | ast.stmt | ast.keyword | ast.arg | ast.alias | ast.excepthandler


class Source:
    """One text that parses. Make it with `parse`."""

    def __init__(self, text: str, tree: ast.Module) -> None:
        self.text = text
        self.tree = tree
        self.lines = split_lines(text)
        self._starts = line_starts(self.lines[:-1])

    @classmethod
    def parse(cls, text: str) -> Source | None:
        """None where Python's parser refuses the text, or runs out of stack or memory over it."""
        try:
            return cls(text, ast.parse(text))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None

    # -- positions ---------------------------------------------------------------------------------------

    def start(self, node: Located) -> int:
        """Code points before a node."""
        return self._offset(node.lineno, node.col_offset)

    def end(self, node: Located) -> int:
        """Code points before a node's end."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._offset(node.end_lineno, node.end_col_offset)

    def segment(self, node: Located) -> str:
        """The text of a node, as it is written."""
        return self.text[self.start(node) : self.end(node)]

    def line_start(self, line: int) -> int:
        """Code points before a line (from 0); the text's length past the last."""
        return self._starts[line] if line < len(self._starts) else len(self.text)

    def line_of(self, offset: int) -> int:
        """The line (from 0) in which the code point `offset` stands."""
        return bisect_right(self._starts, offset) - 1

    def span(self, node: Located) -> Span:
        """A node's place, as findings give it."""
        start, end = self.start(node), self.end(node)
        first, last = self.line_of(start), self.line_of(end)
        return Span(first, start - self._starts[first], last, end - self._starts[last])

    def offset_of(self, line: int, column: int) -> int:
        """Code points before a finding's position; clamped into the text."""
        if line >= len(self._starts):
            return len(self.text)
        return min(self._starts[line] + column, self.line_start(line + 1))

    def indent_of(self, node: ast.stmt) -> str:
        """The white space before a statement's line."""
        line = self.lines[node.lineno - 1]
        return line[: len(line) - len(line.lstrip(" \t\f"))]

    @property
    def line_end(self) -> str:
        """How this text ends its lines."""
        first = self.lines[0]
        return "\r\n" if first.endswith("\r\n") else "\r" if first.endswith("\r") else "\n"

    # -- the tree ----------------------------------------------------------------------------------------

    @cached_property
    def parents(self) -> dict[ast.AST, ast.AST]:
        """Each node's parent."""
        found: dict[ast.AST, ast.AST] = {}
        nodes: list[ast.AST] = [self.tree]
        for node in nodes:
            children = list(ast.iter_child_nodes(node))
            nodes += children
            found.update(dict.fromkeys(children, node))
        return found

    def ancestors(self, node: ast.AST) -> Iterator[ast.AST]:
        """From the parent to the module."""
        while (parent := self.parents.get(node)) is not None:
            yield parent
            node = parent

    def enclosing_function(self, node: ast.AST) -> Function | None:
        """The innermost function around a node (not the node itself)."""
        return next((one for one in self.ancestors(node) if isinstance(one, Function)), None)

    def statement(self, node: ast.AST) -> ast.stmt:
        """The innermost statement that holds a node, or is it."""
        while not isinstance(node, ast.stmt):
            node = self.parents[node]
        return node

    def nodes_at(self, span: Span) -> Iterator[ast.expr | ast.stmt]:
        """Expressions and statements that begin on the span's first line and are no longer than needed: those
        that begin nearest to the span come first, longer before shorter ones."""
        at = self.offset_of(span.start_line, span.start_column)
        found = [
            node
            for node in ast.walk(self.tree)
            if isinstance(node, ast.expr | ast.stmt)
            and node not in self._misplaced
            and node.lineno - 1 <= span.end_line
            and (node.end_lineno or 0) - 1 >= span.start_line
        ]
        found.sort(key=lambda node: (abs(self.start(node) - at), -self.end(node)))
        yield from found

    @cached_property
    def _misplaced(self) -> frozenset[ast.AST]:
        """Nodes inside f-strings for which Python's parser (before 3.12) gives a wrong place."""
        wrong: set[ast.AST] = set()
        for string in ast.walk(self.tree):
            if isinstance(string, ast.JoinedStr):
                wrong.update(
                    node
                    for node in ast.walk(string)
                    if isinstance(node, ast.expr) and node is not string and not self._is_placed(node)
                )
        return frozenset(wrong)

    def _is_placed(self, node: ast.expr) -> bool:
        """Does the text at a node's place read as that node?"""
        if isinstance(node, ast.JoinedStr | ast.FormattedValue) or not hasattr(node, "lineno"):
            return False
        try:
            read = ast.parse(f"({self.segment(node)})", mode="eval").body
        except (SyntaxError, ValueError, IndexError):
            return False
        return ast.unparse(read) == ast.unparse(node)

    def calls_at(self, span: Span) -> Iterator[ast.Call]:
        """The calls among `nodes_at`, and then those around them."""
        yield from (node for node in self.nodes_at(span) if isinstance(node, ast.Call))

    # -- names -------------------------------------------------------------------------------------------

    @cached_property
    def imports(self) -> dict[str, str]:
        """What each name that an import binds stands for: {"sp": "subprocess", "loads": "pickle.loads"}.

        `import a.b` binds "a" to "a". Relative imports keep their dots (".util.load"). A name that is bound
        twice to different things is left out.
        """
        bound: dict[str, set[str]] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                for name, full in _imported(node):
                    bound.setdefault(name, set()).add(full)
        return {name: one for name, (one, *more) in ((k, sorted(v)) for k, v in bound.items()) if not more}

    def qualified(self, node: ast.expr) -> str:
        """The imported thing that an expression names ("subprocess.run"), a builtin's bare name, or "".

        A name means what the nearest scope around it says: "" where that scope binds it by anything but an
        import, or imports different things under it.
        """
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return ""
        targets = self.targets(node)
        if len(targets) == 1:
            return ".".join((*targets, *reversed(parts)))
        return node.id if not parts and node.id not in self.bound_names else ""

    def targets(self, name: ast.Name) -> frozenset[str]:
        """All that a name may stand for through imports (`try: import ujson as json`, `except: import json`);
        empty where it is bound in any other way, too."""
        scope: ast.AST = name
        inner = True
        for scope in self.ancestors(name):
            if isinstance(scope, ast.ClassDef) and not inner:
                continue  # Methods don't see the names of the class body.
            if isinstance(scope, Scope):
                imported, other = self._bindings.get(scope, ({}, set()))
                if name.id in other:
                    return frozenset()
                if name.id in imported:
                    return frozenset(imported[name.id])
                inner = inner and not isinstance(scope, Function | ast.Lambda)
        return frozenset()

    @cached_property
    def _bindings(self) -> dict[ast.AST, tuple[dict[str, set[str]], set[str]]]:
        """For each scope, what its imports bind, and the names that it binds otherwise."""
        found: dict[ast.AST, tuple[dict[str, set[str]], set[str]]] = {}
        as_global = {
            (self._scope(node), name)
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Global)
            for name in node.names
        }
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                imported, _ = found.setdefault(self._scope(node), ({}, set()))
                for name, full in _imported(node):
                    imported.setdefault(name, set()).add(full)
                continue
            for name in _bound(node):
                scope = self._scope(node)
                if (scope, name) in as_global:
                    scope = self.tree
                if not self._is_fallback(node):
                    found.setdefault(scope, ({}, set()))[1].add(name)
        return found

    def _scope(self, node: ast.AST) -> ast.AST:
        """The scope in which a node binds its name. A walrus in a comprehension binds in the scope around."""
        skip = (Comprehension,) if isinstance(self.parents.get(node), ast.NamedExpr) else ()
        for one in self.ancestors(node):
            if isinstance(one, Scope) and not isinstance(one, skip):
                return one
        return self.tree

    def _is_fallback(self, node: ast.AST) -> bool:
        """`yaml = None` in an except clause: where the import worked, the name is the import's."""
        assign = self.parents.get(node)
        return (
            isinstance(assign, ast.Assign) and isinstance(assign.value, ast.Constant)
            and assign.value.value in (None, False)
            and isinstance(self.parents.get(assign), ast.ExceptHandler)
        )  # fmt: skip

    @cached_property
    def bound_names(self) -> frozenset[str]:
        """Every name that the file binds anywhere: assigned, defined, imported, a parameter."""
        names: set[str] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names.update(name for name, _ in _imported(node))
            names.update(_bound(node))
        return frozenset(names)

    def _offset(self, line: int, column_bytes: int) -> int:
        """ast counts lines from 1 and columns in UTF-8 bytes."""
        text = self.lines[line - 1]
        if text.isascii():
            return self._starts[line - 1] + column_bytes
        head = text.encode("utf-8", "surrogatepass")[:column_bytes]
        return self._starts[line - 1] + len(head.decode("utf-8", "surrogatepass"))


def _imported(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str]]:
    """The names that an import binds, each with what it stands for."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            name = alias.asname or alias.name.partition(".")[0]
            yield name, alias.name if alias.asname else name
        return
    module = "." * node.level + (node.module or "")
    for alias in node.names:
        yield (
            alias.asname or alias.name,
            module + alias.name if module.endswith(".") else f"{module}.{alias.name}",
        )


def _bound(node: ast.AST) -> Iterator[str]:
    """The names that a node itself binds, other than by an import."""
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    elif isinstance(node, Function | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
        yield node.name
    elif isinstance(node, ast.MatchMapping) and node.rest:
        yield node.rest
