"""Cursors worth asking at, found in a workspace's own code.

Invariant: the choice depends on the files' names and texts alone, so that two runs ask the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_STATEMENT = re.compile(r"^(?P<typed>[ ]+(?:return |if |for |self\.\w+ = |\w+ = ))(?P<rest>\S.{5,60})$")
_SKIPPED_FOLDERS = frozenset({".git", "node_modules", "__pycache__", ".venv", "build", "dist"})
_FEWEST_LINES = 12


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a file where a statement was begun: `typed` stands before the cursor, `rest` was removed.

    `line` counts from 0; the column is `len(typed)`, in characters.
    """

    path: Path
    line: int
    typed: str
    rest: str

    @property
    def column(self) -> int:
        return len(self.typed)

    def text_without_rest(self, text: str) -> str:
        """The file's text with the end of the cursor's line taken out."""
        lines = text.splitlines(keepends=True)
        ending = lines[self.line][len(self.typed) + len(self.rest) :]
        lines[self.line] = self.typed + ending
        return "".join(lines)


def find_cursors(workspace: Path, count: int) -> list[Cursor]:
    """Up to `count` cursors, one a file: the last simple statement of each, of the longest Python files."""
    found = []
    for path in _python_files(workspace):
        text = path.read_text(encoding="utf-8", errors="strict")
        # Only plain line ends, so that line numbers here are the ones of LSP.
        if re.search(r"[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]", text) or text.count("\n") < _FEWEST_LINES:
            continue
        cursor = _last_statement(path, text)
        if cursor is not None:
            found.append((len(text), cursor))
    found.sort(key=lambda pair: (-pair[0], str(pair[1].path)))
    return [cursor for _, cursor in found[:count]]


def _python_files(workspace: Path) -> list[Path]:
    return sorted(
        path
        for path in workspace.rglob("*.py")
        if path.is_file() and not _SKIPPED_FOLDERS & set(path.relative_to(workspace).parts)
    )


def _last_statement(path: Path, text: str) -> Cursor | None:
    lines = text.split("\n")
    for number in range(len(lines) - 1, len(lines) // 3, -1):
        if match := _STATEMENT.match(lines[number]):
            return Cursor(path, number, match["typed"], match["rest"])
    return None
