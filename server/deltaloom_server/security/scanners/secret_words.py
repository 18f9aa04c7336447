"""Values of what is called a password, a key or a secret, in settings and in other languages than Python.

Invariant: Python is left to ruff and bandit (S105 to S107), which know what is assigned to what; prose is
left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

from detect_secrets.filters import heuristic
from detect_secrets.plugins.keyword import REGEX_BY_FILETYPE
from detect_secrets.util.filetype import FileType, determine_file_type

from deltaloom_server.security.scanners.secret_filters import is_password

KIND: Final = "Secret Keyword"

_WORD = re.compile(r"key|pass|pwd|secret|contrase", re.IGNORECASE)
_LONGEST_LINE = 2000
_QUOTED = frozenset(
    {
        ".bash", ".cc", ".cjs", ".h", ".hpp", ".json", ".jsonc", ".jsx", ".kt", ".mjs", ".php", ".rb", ".rs",
        ".scala", ".sh", ".ts", ".tsx", ".vue", ".zsh",
    }
)  # fmt: skip
"""Endings that detect-secrets doesn't know, of languages in which a value stands in quotes."""


def find(path: str, line: str) -> Iterator[tuple[int, int]]:
    """Where such values stand in one line of a file, as code points [start, end)."""
    kind = _file_type(path)
    if kind is None or len(line) > _LONGEST_LINE or not _WORD.search(line):
        return
    if heuristic.is_indirect_reference(line):
        return
    for pattern, group in REGEX_BY_FILETYPE[kind].items():
        match = pattern.search(line)
        if match is None:
            continue
        start, end = match.span(group)
        value = match[group]
        end -= len(value) - len(value.rstrip())
        if is_password(line[start:end]):
            yield start, end
            return


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
