"""Where the command line's FILE:LINE:COL points.

Invariant: lines and columns count from 1, columns in characters, and what lies outside the file is refused
with the range that would have been right.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deltaloom_server.errors import DeltaloomError


@dataclass(frozen=True, slots=True)
class Target:
    """A cursor: `line` and `column` count from 0 here, `column` in characters. `text` is the whole file."""

    path: Path
    workspace: Path
    text: str
    line: int
    column: int

    def character(self, encoding: str) -> int:
        """The column in an LSP position encoding's units ("utf-8", "utf-16" or "utf-32")."""
        before = split_lines(self.text)[self.line][: self.column]
        return encoded_length(before, encoding)


def parse_target(argument: str, workspace: Path | None) -> Target:
    """Read FILE:LINE:COL. The workspace is the one given, else the repository around the file, or its folder.

    Raises DeltaloomError with one sentence for whatever is wrong.
    """
    name, line, column = _split(argument)
    path = Path(name).expanduser()
    try:
        path = path.resolve(strict=True)
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        raise DeltaloomError(f"{name} isn't UTF-8 text; nothing can be completed in it.") from None
    except OSError as error:
        raise DeltaloomError(f"{name} can't be read ({error.strerror}).") from None
    root = _workspace(path, workspace)
    lines = split_lines(text)
    if not 1 <= line <= len(lines):
        raise DeltaloomError(f"{name} has no line {line}: its lines go from 1 to {len(lines)}.")
    last = len(lines[line - 1]) + 1
    if not 1 <= column <= last:
        where = f"Line {line} of {name}"
        raise DeltaloomError(f"{where} has no column {column}: its columns go from 1 to {last}.")
    return Target(path, root, text, line - 1, column - 1)


def split_lines(text: str) -> list[str]:
    """The lines of a text as LSP counts them: CR, LF and CRLF end a line, nothing else does."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def encoded_length(text: str, encoding: str) -> int:
    """The length of a text in the units of a position encoding."""
    if encoding == "utf-32":
        return len(text)
    if encoding == "utf-8":
        return len(text.encode("utf-8"))
    return len(text.encode("utf-16-le")) // 2


def _split(argument: str) -> tuple[str, int, int]:
    parts = argument.rsplit(":", 2)
    if len(parts) != 3 or not parts[0] or not (parts[1].isdecimal() and parts[2].isdecimal()):
        raise DeltaloomError(f"Say where as FILE:LINE:COL, for example app.py:12:5, not {argument!r}.")
    return parts[0], int(parts[1]), int(parts[2])


def _workspace(path: Path, given: Path | None) -> Path:
    if given is None:
        for folder in path.parents:
            if (folder / ".git").exists():
                return folder
        return path.parent
    try:
        root = given.expanduser().resolve(strict=True)
    except OSError as error:
        raise DeltaloomError(f"The workspace {given} can't be read ({error.strerror}).") from None
    if not root.is_dir():
        raise DeltaloomError(f"The workspace {given} isn't a folder.")
    if not path.is_relative_to(root):
        raise DeltaloomError(f"{path} isn't inside the workspace {root}.")
    return root
