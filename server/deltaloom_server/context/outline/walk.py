"""From a syntax tree to an outline: declarations as they are written, bodies left out.

Invariant: only declarations and what may hold declarations are ever visited, with a stack of our own, never
the inside of an expression; so neither depth nor length of a text can exceed the limits below.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .docs import block_comment, docstring, line_comments
from .languages import Language
from .values import FUNCTION_VALUES, initializer, is_constant

if TYPE_CHECKING:
    from tree_sitter import Node

_MOST_NODES = 20_000
_MOST_CHARS = 24_000
_MOST_DEPTH = 24
_MOST_SIGNATURE = 1000
_MOST_WHOLE = 1200
_MOST_VALUE = 100
_RUBY_CALLS = frozenset(
    """include extend prepend attr attr_reader attr_writer attr_accessor has_many has_one belongs_to validates
    scope delegate private_constant alias_method enum""".split()  # noqa: SIM905 - one name a string reads worse
)
_RUBY_MARKS = frozenset({"private", "protected", "public", "module_function"})


@dataclass(frozen=True, slots=True)
class _Visit:
    node: Node
    indent: str
    depth: int
    docs: tuple[Node, ...]
    moved: bool = False  # out of an `if` or `try` that isn't shown, so that its indentation is gone as well


@dataclass(frozen=True, slots=True)
class _Close:
    opened: int
    line: str
    indent: str


class Outliner:
    """Walks one tree. `source` is the UTF-8 text that the tree's byte offsets count in."""

    def __init__(self, language: Language, source: bytes) -> None:
        self._language = language
        self._source = source
        self._lines: list[str] = []
        self._size = 0
        self._shown = 0
        self._stack: list[_Visit | _Close] = []

    def outline(self, root: Node) -> str | None:
        """The outline of a whole file; None when it declares nothing, or too much to look at."""
        if self._language.style == "indent":
            self._docstring(root, "")
        self._inner_docs(root)
        self._push_children(root, _Visit(root, "", 0, ()))
        visited = 0
        while self._stack:
            step = self._stack.pop()
            visited += 1
            if isinstance(step, _Close):
                self._close(step)
            elif visited > _MOST_NODES:
                return None
            elif self._size < _MOST_CHARS:
                self._visit(step)
        return "\n".join(self._lines).strip("\n") + "\n" if self._shown else None

    # -- text --------------------------------------------------------------------------------------------

    def _slice(self, start: int, end: int) -> str:
        return self._source[start:end].decode("utf-8", "replace")

    def _indent(self, start: int, otherwise: str) -> str:
        """The white space before `start`, where nothing else stands before it in its line."""
        begin = self._source.rfind(b"\n", 0, start) + 1
        before = self._source[begin:start]
        return before.decode().lstrip("\f") if not before.strip() else otherwise

    def _emit(self, text: str) -> None:
        self._lines.append(text)
        self._size += len(text) + 1

    def _continue(self, text: str) -> None:
        self._lines[-1] += text
        self._size += len(text)

    # -- the walk ----------------------------------------------------------------------------------------

    def _push_children(self, node: Node, like: _Visit) -> None:
        """Visit the children in order as `like` says, each with the comments that stand directly above it."""
        language = self._language
        visits: list[_Visit] = []
        above: list[Node] = []
        last_row = -1
        for child in node.children:
            row = child.start_point.row
            if above and row > last_row + 1:
                above.clear()
            if child.type in language.comments or child.type in language.attributes:
                if row > last_row or above:  # else it is about what stands before it in its line
                    above.append(child)
            elif child.is_named:
                visits.append(_Visit(child, like.indent, like.depth, tuple(above), like.moved))
                above.clear()
            end = child.end_point
            last_row = end.row - (1 if end.column == 0 and end.row > row else 0)
        self._stack += reversed(visits)

    def _inner_docs(self, root: Node) -> None:
        """`//!` at the head of a Rust file."""
        lines: list[str] = []
        for child in root.children:
            text = self._slice(child.start_byte, child.end_byte).strip()
            if child.type not in self._language.comments or not text.startswith("//!"):
                break
            lines.append(text)
        for line in line_comments(lines):
            self._emit(line)

    def _visit(self, step: _Visit) -> None:
        node, language = step.node, self._language
        if node.type in language.transparent or node.type == "ERROR":
            self._push_children(node, replace(step, moved=self._language.style == "indent"))
            return
        inner: Node | None = node
        while inner is not None and inner.type in language.wrappers:
            inner = self._declaration_in(inner)
        if inner is None or self._is_test_code(step):
            return
        if inner.type in language.containers:
            self._container(step, inner)
        elif inner.type in language.callables:
            self._callable(step, inner)
        elif inner.type in language.values:
            self._value(step, inner)
        elif inner.type in language.wholes:
            self._whole(step, inner)
        elif inner.type in language.marks:
            self._mark(step, inner)

    def _declaration_in(self, wrapper: Node) -> Node | None:
        language = self._language
        known = (
            language.callables | language.containers | language.values | language.wholes | language.wrappers
        )
        return next((child for child in wrapper.children if child.is_named and child.type in known), None)

    def _is_test_code(self, step: _Visit) -> bool:
        return any(b"cfg(test)" in self._source[doc.start_byte : doc.end_byte] for doc in step.docs)

    def _begin(self, step: _Visit, *, spaced: bool) -> str:
        """Docs and attributes above a declaration; returns its indentation."""
        indent = step.indent if step.moved else self._indent(step.node.start_byte, step.indent)
        if spaced and step.depth == 0 and self._lines:
            self._emit("")
        pending: list[str] = []
        for doc in (*step.docs, None):
            text = None if doc is None else self._slice(doc.start_byte, doc.end_byte).rstrip()
            is_line = doc is not None and text is not None and doc.type in self._language.comments
            is_line = is_line and not (text or "").startswith("/*")
            if is_line and text is not None:
                pending.append(text)
                continue
            for line in line_comments(pending):
                self._emit(indent + line)
            pending.clear()
            if doc is not None and text is not None:
                shown = text[:_MOST_VALUE] if doc.type in self._language.attributes else block_comment(text)
                if shown:
                    self._emit(indent + shown)
        self._shown += 1
        return indent

    def _body(self, node: Node) -> Node | None:
        """Where the signature ends: the first child that is a body, or begins one."""
        field = node.child_by_field_name("body")
        for child in node.children:
            if child == field or child.type in self._language.cuts:
                return child
        return field

    def _head_end(self, node: Node, body: Node) -> int:
        """Where the signature ends: before the body, and in Python before comments on top of it."""
        if self._language.style == "indent":
            return max(
                (child.end_byte for child in node.children if child.type == ":"), default=body.start_byte
            )
        return body.start_byte

    def _signature(self, step: _Visit, end: int) -> str:
        start = step.node.start_byte
        text = self._slice(start, min(end, start + 4 * _MOST_SIGNATURE)).rstrip()
        if step.moved:
            text = text.replace("\n" + self._indent(start, ""), "\n" + step.indent)
        return text if len(text) <= _MOST_SIGNATURE else text[:_MOST_SIGNATURE].rstrip() + " …"

    # -- declarations ------------------------------------------------------------------------------------

    def _callable(self, step: _Visit, node: Node) -> None:
        indent = self._begin(step, spaced=self._language.style == "indent")
        body = self._body(node)
        if body is None:
            self._emit(indent + self._signature(step, step.node.end_byte))
            return
        head = self._signature(step, self._head_end(node, body))
        if self._language.style == "indent":
            self._emit(indent + head)
            if not self._docstring(body, indent + "    ", moved=step.moved):
                self._continue(" ...")
        else:
            self._emit(indent + (self._accessors(node, body) or head + self._left_out(head, body)))

    def _left_out(self, head: str, body: Node) -> str:
        """What stands for a body: as the language begins it."""
        if self._language.style == "end":
            return " …" if head.endswith("=") else " … end"
        begins = self._source[body.start_byte : body.start_byte + 2]
        if begins == b"=>":
            return " => …;"
        if body.type == "macro_rule":
            return " … }"
        return " …" if body.type == "preproc_arg" else " { … }"

    def _accessors(self, node: Node, body: Node) -> str:
        """A C# property that only says `{ get; set; }`, as it is."""
        text = self._slice(node.start_byte, min(node.end_byte, node.start_byte + 4 * _MOST_VALUE))
        plain = body.type == "accessor_list" and text.count("{") == 1 and "=>" not in text
        return text if plain and len(text) <= _MOST_VALUE and "\n" not in text else ""

    def _docstring(self, body: Node, indent: str, *, moved: bool = False) -> bool:
        first = next((child for child in body.children if child.is_named and child.type != "comment"), None)
        if first is None or first.type != "expression_statement" or not first.children:
            return False
        string = first.children[0]
        shown = docstring(self._slice(string.start_byte, string.end_byte)) if string.type == "string" else ""
        if shown:
            self._emit((indent if moved else self._indent(string.start_byte, indent)) + shown)
        return bool(shown)

    def _container(self, step: _Visit, node: Node) -> None:
        style = self._language.style
        indent = self._begin(step, spaced=True)
        body = self._body(node)
        if body is None or body.type == "declaration":
            head = self._signature(step, step.node.end_byte)
            self._emit(indent + head + ("" if head.endswith(";") else self._language.terminator))
            return
        head = self._signature(step, self._head_end(node, body))
        opening, closing = {"brace": (" {", "}"), "indent": ("", ""), "end": ("", "end")}[style]
        self._emit(indent + head + opening)
        if node.type not in ("namespace_definition", "linkage_specification"):
            closing += self._language.terminator
        self._stack.append(_Close(len(self._lines), closing, indent))
        inner = indent + ("  " if style == "end" else "    ")
        if style == "indent":
            self._docstring(body, inner, moved=step.moved)
        if step.depth < _MOST_DEPTH:
            self._push_children(body, replace(step, indent=inner, depth=step.depth + 1))

    def _close(self, step: _Close) -> None:
        empty = len(self._lines) == step.opened
        if self._language.style == "indent":
            if empty:
                self._continue(" ...")
        elif empty:
            self._continue((" … " if self._language.style == "brace" else "; ") + step.line)
        else:
            self._emit(step.indent + step.line)

    def _value(self, step: _Visit, node: Node) -> None:
        if not is_constant(self._language, self._source, node, is_member=step.depth > 0):
            return
        value = initializer(node)
        body = None
        if value is not None and value.type in FUNCTION_VALUES:
            body = value.child_by_field_name("body")
        elif node.type == "assignment_expression":
            return
        indent = self._begin(step, spaced=False)
        if body is not None:
            head = self._signature(step, body.start_byte)
            self._emit(indent + head + (" …" if head.endswith("=>") and not self._braced(body) else " { … }"))
            return
        text = self._slice(step.node.start_byte, min(step.node.end_byte, step.node.start_byte + 4096)).strip()
        if value is not None and ("\n" in text or len(text) > _MOST_VALUE):
            elided = "..." if self._language.style == "indent" else "…"
            self._emit(f"{indent}{self._signature(step, value.start_byte)} {elided}")
        else:
            self._emit(indent + self._capped(text))

    def _braced(self, body: Node) -> bool:
        return self._source[body.start_byte : body.start_byte + 1] == b"{"

    def _whole(self, step: _Visit, node: Node) -> None:
        text = self._slice(step.node.start_byte, min(step.node.end_byte, step.node.start_byte + 8192))
        if node.type == "call":
            method = node.child_by_field_name("method")
            name = self._slice(method.start_byte, method.end_byte) if method is not None else ""
            if step.depth == 0 or name not in _RUBY_CALLS:
                return
        indent = self._begin(step, spaced=False)
        tail = self._language.terminator if node.type == "enum_specifier" else ""
        self._emit(indent + self._capped(text.strip()) + tail)

    def _capped(self, text: str) -> str:
        if len(text) <= _MOST_WHOLE:
            return text
        cut = text[:_MOST_WHOLE]
        return (cut[: cut.rfind("\n")] if "\n" in cut else cut).rstrip() + " …"

    def _mark(self, step: _Visit, node: Node) -> None:
        """`public:` in C++, `private` in Ruby, a constant of a Java enum."""
        body = self._body(node)
        text = self._signature(step, body.start_byte if body is not None else node.end_byte)
        if self._language.style == "end":
            if text in _RUBY_MARKS and step.depth > 0:
                self._emit(step.indent + text)
            return
        indent = self._begin(step, spaced=False)
        self._emit(indent + text + (":" if node.type == "access_specifier" else ","))
