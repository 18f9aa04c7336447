"""Values of what is called a password, a key or a secret, in settings and in other languages than Python.

Invariant: Python is left to ruff and bandit (S105 to S107), which know what is assigned to what; prose is
left alone.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Final

from detect_secrets.filters import heuristic
from detect_secrets.plugins.keyword import REGEX_BY_FILETYPE
from detect_secrets.util.filetype import FileType, determine_file_type

from deltaloom_server.security.scanners.secret_filters import is_password

KIND: Final = "Secret Keyword"

Patterns = tuple[tuple[re.Pattern[str], int], ...]

_WORD = re.compile(r"key|pass|pwd|secret|contrase", re.IGNORECASE)
_LONGEST_LINE = 2000
_QUOTED = frozenset(
    {
        ".bash", ".cc", ".cjs", ".h", ".hpp", ".json", ".jsonc", ".jsx", ".kt", ".mjs", ".php", ".rb", ".rs",
        ".scala", ".sh", ".ts", ".tsx", ".vue", ".zsh",
    }
)  # fmt: skip
"""Endings that detect-secrets doesn't know, of languages in which a value stands in quotes."""


def patterns(path: str) -> Patterns:
    """What to look for in a file of this name, each with the group that is the value."""
    kind = _file_type(path)
    return tuple(REGEX_BY_FILETYPE[kind].items()) if kind is not None else ()


def find(wanted: Patterns, line: str) -> tuple[int, int] | None:
    """Where such a value stands in a line, as code points [start, end)."""
    if not wanted or len(line) > _LONGEST_LINE or not _WORD.search(line):
        return None
    if heuristic.is_indirect_reference(line):
        return None
    for pattern, group in wanted:
        match = pattern.search(line)
        if match is None:
            continue
        start, end = match.span(group)
        end -= len(match[group]) - len(match[group].rstrip())
        if is_password(line[start:end]):
            return start, end
    return None


def _file_type(path: str) -> FileType | None:
    """How detect-secrets reads such a file; None where values aren't looked for."""
    name = PurePosixPath(path).name
    if name.endswith(".env") or name.startswith(".env"):
        return FileType.CONFIG
    if heuristic.is_lock_file(path):
        return None
    suffix = PurePosixPath(path).suffix.lower()
    if suffix in _QUOTED:
        return FileType.JAVASCRIPT
    kind = determine_file_type(path)
    return kind if kind in REGEX_BY_FILETYPE and kind is not FileType.PYTHON else None
