"""Edits of a `Source`, collected: arguments set and removed, expressions replaced, imports added.

Invariant: what isn't named by a call of these methods stays as it is written, comments and layout included.
"""

from __future__ import annotations

import ast
import sys

from deltaloom_server.security.codemods.source import Function, Located, Source
from deltaloom_server.security.proposal import Edit, Proposal


class Rewrite:
    """The edits of one proposal."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._edits: list[Edit] = []
        self._imported: dict[str, str] = {}
        self._from_imported: dict[str, set[str]] = {}
        self._extended: dict[ast.ImportFrom, set[str]] = {}

    def replace(self, node: Located, text: str) -> None:
        """Put `text` in a node's place."""
        self.replace_range(self.source.start(node), self.source.end(node), text)

    def replace_range(self, start: int, end: int, text: str) -> None:
        """Put `text` in place of the code points [start, end)."""
        self._edits.append(Edit(start, end, text))

    def insert(self, offset: int, text: str) -> None:
        """Put `text` before the code point `offset`."""
        self._edits.append(Edit(offset, offset, text))

    def insert_before(self, node: ast.AST, *lines: str) -> bool:
        """Statements before the one that a node stands in, with its indentation; False, and nothing is done,
        where they would not run once before it, or where it shares its line with other code."""
        source = self.source
        statement = source.statement(node)
        start = source.start(statement)
        first = source.line_start(source.line_of(start))
        if isinstance(statement, ast.While | Function | ast.ClassDef) or source.text[first:start].strip():
            return False
        if source.text.startswith("elif", start):
            return False
        indent = source.text[first:start]
        self.insert(first, "".join(f"{indent}{line}{source.line_end}" for line in lines))
        return True

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
        close = source.end(call) - 1
        extents = self._extents(call)
        if not extents:
            self.insert(close, text)
            return
        start, end = extents[-1]
        if end > close:  # A lone generator shares the call's parentheses.
            self.insert(start, "(")
            self.insert(end, f", {text})")
            return
        gap = _without_comments(source.text[end:close])
        comma = end + gap.index(",") + 1 if "," in gap else None
        if "\n" not in gap and "\r" not in gap:
            self.insert(comma or end, f" {text}" if comma else f", {text}")
            return
        line = source.lines[source.line_of(start)]
        indent = line[: len(line) - len(line.lstrip(" \t"))]
        at = _line_finish(source.text, comma or end)
        if comma:
            self.insert(at, f"{source.line_end}{indent}{text},")
        elif at == end:
            self.insert(at, f",{source.line_end}{indent}{text}")
        else:
            self.insert(end, ",")
            self.insert(at, f"{source.line_end}{indent}{text}")

    def remove_argument(self, call: ast.Call, argument: ast.expr | ast.keyword) -> None:
        """Take an argument out of a call, with the comma that goes with it, and with its lines and their
        comments where it has lines of its own."""
        source = self.source
        arguments = _in_order(source, call)
        extents = self._extents(call)
        at = arguments.index(argument)
        start, end = extents[at]
        close = source.end(call) - 1
        gap = _without_comments(source.text[end:close])
        comma = end + gap.index(",") + 1 if "," in gap else None
        first = source.line_start(source.line_of(start))
        finish = _line_finish(source.text, comma or end)
        alone = not source.text[first:start].strip() and not _without_comments(
            source.text[comma or end : finish]
        ).strip(" \t\f")
        if alone:
            self.replace_range(first, source.line_start(source.line_of(finish) + 1), "")
        elif at + 1 < len(arguments):
            self.replace_range(start, extents[at + 1][0], "")
        elif at > 0:
            self.replace_range(extents[at - 1][1], end, "")
        else:
            self.replace_range(start, comma or end, "")

    def use(self, module: str, name: str = "") -> str:
        """How to write `module` (or `module.name`) here; imports the module where nothing does yet.

        An import that stands at the top level is used, a `from module import …` gets the name as well; else
        `import module` is added after the last one.
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
        extensible = self._from_import(module) if name and name not in source.bound_names else None
        if extensible is not None:
            self._extended.setdefault(extensible, set()).add(name)
            return name
        alias = self._free_alias(module)
        self._imported[module] = alias
        return f"{alias or module}.{name}" if name else (alias or module)

    def use_name(self, module: str, name: str) -> str:
        """Like `use`, but where nothing of the module is imported yet, `from module import name` is added."""
        source = self.source
        known = {full for bound, full in source.imports.items() if bound in self._top_level_names()}
        taken = name in source.bound_names
        if taken or known & {module, f"{module}.{name}"} or self._from_import(module) is not None:
            return self.use(module, name)
        self._from_imported.setdefault(module, set()).add(name)
        return name

    def proposal(self, title: str, *, unsafe: bool = False, note: str = "") -> Proposal:
        """All edits so far, imports among them, as one proposal."""
        edits = list(self._edits)
        if self._imported:
            plain = [
                f"import {m} as {alias}" if alias else f"import {m}"
                for m, alias in sorted(self._imported.items())
            ]
            edits.append(self._import_edit(plain, beside_standard=True))
        if self._from_imported:
            named = [
                f"from {m} import {', '.join(sorted(n))}" for m, n in sorted(self._from_imported.items())
            ]
            edits.append(self._import_edit(named, beside_standard=False))
        for node, names in self._extended.items():
            at = self.source.end(node.names[-1])
            edits.append(Edit(at, at, "".join(f", {name}" for name in sorted(names))))
        return Proposal(title, tuple(sorted(edits)), "codemod", unsafe, note)

    def _extents(self, call: ast.Call) -> list[tuple[int, int]]:
        """Where each argument begins and ends, parentheses of its own included, which nodes don't count."""
        source = self.source
        close = source.end(call) - 1
        arguments = _in_order(source, call)
        at = source.end(call.func)
        gap = _without_comments(source.text[at : source.start(arguments[0])] if arguments else "")
        # `(f)(x)`: the function's own parentheses close before the call's opens.
        at += max(gap.rfind(")"), -1) + 1
        at += gap[max(gap.rfind(")"), -1) + 1 :].find("(") + 1
        found = []
        for argument in arguments:
            start, end = source.start(argument), source.end(argument)
            if end > close:
                return [(start, end)]
            before = _without_comments(source.text[at:start])
            start = at + len(before) - len(before.lstrip(" \t\r\n\f\\"))
            behind = _without_comments(source.text[end:close]).partition(",")[0]
            at = end + len(behind) + 1
            found.append((start, end + len(behind.rstrip(" \t\r\n\f\\"))))
        return found

    def _top_level_names(self) -> frozenset[str]:
        names: set[str] = set()
        for node in self.source.tree.body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                names.update(alias.asname or alias.name.partition(".")[0] for alias in node.names)
        return frozenset(names)

    def _from_import(self, module: str) -> ast.ImportFrom | None:
        """A `from module import …` at the top level."""
        for node in self.source.tree.body:
            if isinstance(node, ast.ImportFrom) and node.module == module and not node.level:
                return None if node.names[0].name == "*" else node
        return None

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

    def _import_edit(self, new: list[str], *, beside_standard: bool) -> Edit:
        """New imports, after the last import that stands at the top before other code; `beside_standard`:
        after the last `import` of a standard module, where there is one."""
        source = self.source
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
        if plain is not None and beside_standard:
            anchor = plain
        if anchor is None:
            top = self._after_leading_comments()
            behind = source.lines[source.line_of(top)]
            return Edit(top, top, text + source.line_end if behind.strip() else text)
        at = source.line_start(anchor.end_lineno or anchor.lineno)
        if isinstance(anchor, ast.Expr) or (
            isinstance(anchor, ast.ImportFrom) and anchor.module == "__future__"
        ):
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


def _in_order(source: Source, call: ast.Call) -> list[ast.expr | ast.keyword]:
    return sorted([*call.args, *call.keywords], key=source.start)


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
