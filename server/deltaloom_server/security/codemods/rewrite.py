"""Edits of a `Source`, collected: arguments set and removed, expressions replaced, imports added.

Invariant: what isn't named by a call of these methods stays as it is written, comments and layout included.
"""

from __future__ import annotations

import ast
import sys

from deltaloom_server.security.codemods.source import Located, Source
from deltaloom_server.security.proposal import Edit, Proposal


class Rewrite:
    """The edits of one proposal."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._edits: list[Edit] = []
        self._imported: dict[str, str] = {}

    def replace(self, node: Located, text: str) -> None:
        """Put `text` in a node's place."""
        self.replace_range(self.source.start(node), self.source.end(node), text)

    def replace_range(self, start: int, end: int, text: str) -> None:
        """Put `text` in place of the code points [start, end)."""
        self._edits.append(Edit(start, end, text))

    def insert(self, offset: int, text: str) -> None:
        """Put `text` before the code point `offset`."""
        self._edits.append(Edit(offset, offset, text))

    def set_keyword(self, call: ast.Call, name: str, value: str) -> None:
        """`name=value` in a call, whether or not it has the argument already."""
        for keyword in call.keywords:
            if keyword.arg == name:
                self.replace(keyword.value, value)
                return
        self.add_argument(call, f"{name}={value}")

    def add_argument(self, call: ast.Call, text: str) -> None:
        """One more argument at a call's end, in the layout that the call has."""
        source = self.source
        arguments: list[Located] = [*call.args, *call.keywords]
        close = source.end(call) - 1
        if not arguments:
            self.insert(close, text)
            return
        last = max(arguments, key=source.end)
        end = source.end(last)
        if source.text[source.end(call.func) : source.start(arguments[0])].rstrip(" \t").endswith("("):
            end = self._past_parentheses(end, close)
        gap = source.text[end:close]
        trailing = "," in _without_comments(gap)
        if "\n" in gap or "\r" in gap:
            line = source.lines[source.line_of(source.start(last))]
            indent = line[: len(line) - len(line.lstrip(" \t"))]
            if trailing:
                comma = end + _without_comments(gap).index(",") + 1
                at = _line_finish(source.text, comma)
                self.insert(at, f"{source.line_end}{indent}{text},")
            else:
                self.insert(end, f",{source.line_end}{indent}{text}")
        elif trailing:
            self.insert(end + gap.index(",") + 1, f" {text}")
        else:
            self.insert(end, f", {text}")

    def remove_argument(self, call: ast.Call, argument: ast.expr | ast.keyword) -> None:
        """Take an argument out of a call, with the comma that goes with it."""
        source = self.source
        arguments: list[ast.expr | ast.keyword] = sorted([*call.args, *call.keywords], key=source.start)
        at = arguments.index(argument)
        start, end = source.start(argument), source.end(argument)
        if at + 1 < len(arguments):
            end = source.start(arguments[at + 1])
        elif at > 0:
            start = source.end(arguments[at - 1])
        self.replace_range(start, end, "")

    def use(self, module: str, name: str = "") -> str:
        """How to write `module` (or `module.name`) here; imports the module where nothing does yet.

        An import that stands at the top level is used; else `import module` is added after the last one.
        """
        source = self.source
        wanted = f"{module}.{name}" if name else module
        usable = self._top_level_names()
        for bound, full in source.imports.items():
            if bound in usable and full == wanted:
                return bound
        for bound, full in source.imports.items():
            if bound in usable and name and full == module:
                return f"{bound}.{name}"
        root = module.partition(".")[0]
        if source.imports.get(root) == root and root in usable and self._imports_submodule(module):
            return wanted
        alias = self._free_alias(module)
        self._imported[module] = alias
        return f"{alias or module}.{name}" if name else (alias or module)

    def proposal(self, title: str, *, unsafe: bool = False, note: str = "") -> Proposal:
        """All edits so far, imports among them, as one proposal."""
        edits = list(self._edits)
        if self._imported:
            edits.append(self._import_edit())
        return Proposal(title, tuple(sorted(edits)), "codemod", unsafe, note)

    def _past_parentheses(self, end: int, close: int) -> int:
        """A last argument may stand in parentheses of its own, which its node doesn't count."""
        text = self.source.text
        at = end
        while at < close and text[at] in " \t\r\n)":
            if text[at] == ")":
                end = at + 1
            at += 1
        return end

    def _top_level_names(self) -> frozenset[str]:
        names: set[str] = set()
        for node in self.source.tree.body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                names.update(alias.asname or alias.name.partition(".")[0] for alias in node.names)
        return frozenset(names)

    def _imports_submodule(self, module: str) -> bool:
        return any(
            isinstance(node, ast.Import) and any(a.name == module and not a.asname for a in node.names)
            for node in self.source.tree.body
        )

    def _free_alias(self, module: str) -> str:
        """ "" where `import module` binds a name that the file doesn't use for something else."""
        root = module.partition(".")[0]
        taken = root in self.source.bound_names and self.source.imports.get(root) != root
        return f"_{module.replace('.', '_')}" if taken else ""

    def _import_edit(self) -> Edit:
        """The new imports, after the last import that stands at the top before other code."""
        source = self.source
        new = [
            f"import {m} as {alias}" if alias else f"import {m}"
            for m, alias in sorted(self._imported.items())
        ]
        anchor: ast.stmt | None = None
        plain: ast.stmt | None = None
        for number, node in enumerate(source.tree.body):
            is_docstring = (
                number == 0 and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
                and isinstance(node.value.value, str)
            )  # fmt: skip
            is_import = isinstance(node, ast.Import | ast.ImportFrom)
            if not is_docstring and not is_import:
                break
            anchor = node
            if isinstance(node, ast.Import) and _is_standard(node.names[0].name):
                plain = node
        text = source.line_end.join(new) + source.line_end
        if plain is not None:
            anchor = plain
        if anchor is None:
            top = self._after_leading_comments()
            return Edit(top, top, text)
        at = source.line_start(anchor.end_lineno or anchor.lineno)
        if not isinstance(anchor, ast.Import | ast.ImportFrom):
            text = source.line_end + text
        if not source.text[:at].endswith(("\n", "\r")):
            text = source.line_end + text
        return Edit(at, at, text)

    def _after_leading_comments(self) -> int:
        """Past a shebang, an encoding line and the comments at the very top."""
        line = 0
        while line < len(self.source.lines) and self.source.lines[line].lstrip().startswith("#"):
            line += 1
        return self.source.line_start(line)


def _is_standard(module: str) -> bool:
    return module.partition(".")[0] in sys.stdlib_module_names


def _without_comments(text: str) -> str:
    """The same length, with comments blanked out; for the gap between tokens only, where no string stands."""
    result, comment = [], False
    for letter in text:
        comment = (comment or letter == "#") and letter not in "\r\n"
        result.append(" " if comment else letter)
    return "".join(result)


def _line_finish(text: str, at: int) -> int:
    while at < len(text) and text[at] not in "\r\n":
        at += 1
    return at
