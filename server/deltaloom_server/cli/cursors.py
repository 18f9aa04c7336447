"""Cursors worth asking at, found in a workspace's own code.

Invariant: the choice depends on the files' names and texts alone, so that two runs ask the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_STATEMENT = re.compile(r"^(?P<typed>[ ]+(?:return |if |for |self\.\w+ = |\w+ = ))(?P<rest>\S.{5,60})$")
# What stands under a key, what is gone through, a signature, a statement's start.
_KINDS = (
    re.compile(r"^(?P<typed>[ ]+self\.\w+\[)(?P<rest>\S.{5,60})$"),
    re.compile(r"^(?P<typed>[ ]+(?:return |for ).* in self)(?P<rest>\..{3,60})$"),
    re.compile(r"^(?P<typed>[ ]+def \w+\()(?P<rest>self.{5,60})$"),
    _STATEMENT,
)
_OTHER_LINE_ENDS = re.compile(r"[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
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
    cursors = (_last_line_of(_STATEMENT, path, text) for path, text in _longest_first(workspace))
    return [cursor for cursor in cursors if cursor is not None][:count]


def find_cursors_of_kinds(workspace: Path) -> list[Cursor]:
    """One cursor of each kind, each in another file: the last such line of the longest file that has one."""
    found: list[Cursor] = []
    for kind in _KINDS:
        taken = {cursor.path for cursor in found}
        for path, text in _longest_first(workspace):
            if path not in taken and (cursor := _last_line_of(kind, path, text)) is not None:
                found.append(cursor)
                break
    return found


def _longest_first(workspace: Path) -> list[tuple[Path, str]]:
    """Files and their texts, with plain line ends only, so that line numbers here are the ones of LSP."""
    texts = []
    for path in _python_files(workspace):
        text = path.read_text(encoding="utf-8", errors="strict")
        if not _OTHER_LINE_ENDS.search(text) and text.count("\n") >= _FEWEST_LINES:
            texts.append((path, text))
    return sorted(texts, key=lambda pair: (-len(pair[1]), str(pair[0])))


def _python_files(workspace: Path) -> list[Path]:
    return sorted(
        path
        for path in workspace.rglob("*.py")
        if path.is_file() and not _SKIPPED_FOLDERS & set(path.relative_to(workspace).parts)
    )


def _last_line_of(kind: re.Pattern[str], path: Path, text: str) -> Cursor | None:
    lines = text.split("\n")
    for number in range(len(lines) - 1, len(lines) // 3, -1):
        if match := kind.match(lines[number]):
            return Cursor(path, number, match["typed"], match["rest"])
    return None
