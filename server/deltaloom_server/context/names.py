"""The list of files that stand in the base by name only.

Invariant: which names are listed depends on the names alone, so that opening a file changes no list.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from .kinds import kind_of

_NAME = "FILES"


def list_path(taken: Collection[str]) -> str:
    """What a prompt shows for the list: no file's path."""
    name = _NAME
    while name in taken:
        name += "+"
    return name


def listing_order(paths: Iterable[str]) -> list[str]:
    """Which names are worth listing first: source before documents before data, near the root before deep."""
    return sorted(paths, key=lambda path: (kind_of(path), path.count("/"), path))


def names_text(listed: Collection[str], others: int) -> str:
    """One line a folder, `folder/: name name`, folders and names sorted; then how many `others` there are."""
    folders: dict[str, list[str]] = {}
    for path in sorted(listed):
        folder, _, name = path.rpartition("/")
        folders.setdefault(folder, []).append(name)
    lines = [f"{folder or '.'}/: {' '.join(names)}" for folder, names in sorted(folders.items())]
    if others:
        lines.append(f"and {others} more")
    return "\n".join(lines) + "\n"
