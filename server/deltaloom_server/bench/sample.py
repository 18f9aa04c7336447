"""A workspace of real code, of about the size wanted.

Invariant: the files come from Python's own standard library in a fixed order, so that everyone who has the
same Python measures on the same text.
"""

from __future__ import annotations

import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_BYTES_PER_TOKEN = 5
"""More than code has, so that the context is full."""
_LARGEST_FILE = 16_000
_PACKAGES = ("json", "email", "http", "asyncio", "unittest", "importlib", "concurrent", "logging", "xml", ".")


@contextmanager
def sample_workspace(tokens: int) -> Iterator[Path]:
    """A temporary folder with enough files to fill a context of `tokens` tokens."""
    with tempfile.TemporaryDirectory(prefix="deltaloom-bench-") as folder:
        root = Path(folder).resolve() / "sample"
        copied = 0
        for source, relative in _library_files():
            if copied >= tokens * _BYTES_PER_TOKEN:
                break
            target = root / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            data = source.read_bytes()
            target.write_bytes(data)
            copied += len(data)
        yield root


def _library_files() -> Iterator[tuple[Path, Path]]:
    library = Path(sysconfig.get_path("stdlib"))
    for package in _PACKAGES:
        folder = library / package
        # The library's own top comes last, and without its folders: site-packages may stand in it.
        for path in sorted(folder.glob("*.py" if package == "." else "**/*.py")):
            if path.is_file() and 200 < path.stat().st_size < _LARGEST_FILE:
                yield path, path.relative_to(library)
