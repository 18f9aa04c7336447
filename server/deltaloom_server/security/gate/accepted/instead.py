"""Programs that the standard library does without: no process, the same effect.

Invariant: only commands of one program, with options that change nothing of the result, are in the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ..words import words
from .site import Site

_INSTEAD: Mapping[str, tuple[frozenset[str], frozenset[str]]] = MappingProxyType(
    {
        "ls": (words("-1 -a -A --"), words("os.listdir os.scandir .iterdir")),
        "cat": (words("--"), words("open .open .read_text .read_bytes")),
        "mkdir": (words("-p --"), words("os.mkdir os.makedirs .mkdir")),
        "cp": (words("-f -p --"), words("shutil.copy shutil.copy2 shutil.copyfile")),
    }
)
"""By program: the options that may be there, and the calls that do it."""

READS_LINES = words(".rstrip .splitlines .split .strip .decode .read .close")
"""What is done to a program's output, and has no use for a result that isn't text."""

_DO = frozenset({"mkdir", "cp"})


def is_done_without(site: Site, command: str) -> bool:
    """Does the change do what a command did, by the library? `command`: its text, NULs for values."""
    program, *rest = command.replace('"', " ").replace("'", " ").split() or [""]
    options, calls = _INSTEAD.get(program, (frozenset(), frozenset()))
    if not all(one in options or "\0" in one for one in rest):
        return False
    done = site.replacements(calls) if calls else ()
    return any(program in _DO or not site.is_discarded(call, site.after) for call in done)
