"""Workspace roots, their unique names, and the paths that a prompt shows.

Invariant: `shown_path` and `absolute_path` are inverses for every file below a root, and with one root a
shown path has no prefix.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Root:
    """One workspace folder: `folder` as the editor names it, `real` with symlinks resolved."""

    folder: str
    real: str
    name: str


def name_roots(folders: Iterable[str]) -> tuple[Root, ...]:
    """Roots in the order given, each real folder once. Equal base names get `-2`, `-3`, … in that order."""
    roots: list[Root] = []
    taken: set[str] = set()
    for folder in folders:
        absolute = os.path.abspath(folder)
        real = os.path.realpath(absolute)
        if any(real == root.real for root in roots):
            continue
        stem = os.path.basename(absolute) or "root"
        name, number = stem, 1
        while name in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name)
        roots.append(Root(absolute, real, name))
    return tuple(roots)


def gone_sentence(root_folder: str) -> str:
    """What the user is told of a root that isn't there; the same whoever notices, so that it is told once."""
    return f"The workspace folder {root_folder} was deleted or can't be read; open another or restore it."


def prefix_of(root: Root, roots: Sequence[Root]) -> str:
    """What stands before a relative path of `root`: nothing for a single root, else its name and a slash."""
    return f"{root.name}/" if len(roots) > 1 else ""


def relative_below(path: str, folder: str) -> str | None:
    """`path` relative to `folder`, with forward slashes; None where it isn't below it."""
    stem = folder.rstrip(os.sep) + os.sep
    if not path.startswith(stem):
        return None
    return path[len(stem) :].replace(os.sep, "/")


def shown_path(absolute: str, roots: Sequence[Root]) -> str | None:
    """The path shown for `absolute`, from the deepest root that holds it; None outside all roots."""
    path = os.path.normpath(absolute)
    best: tuple[int, str] | None = None
    for root in roots:
        for folder in (root.folder, root.real):
            relative = relative_below(path, folder)
            if relative is not None and (best is None or len(folder) > best[0]):
                best = (len(folder), prefix_of(root, roots) + relative)
    return best[1] if best else None


def split_shown(path: str, roots: Sequence[Root]) -> tuple[Root, str] | None:
    """The root and the relative path behind a shown path; None for a name that belongs to no root."""
    if len(roots) == 1:
        return roots[0], path
    for root in roots:
        if path.startswith(root.name + "/"):
            return root, path[len(root.name) + 1 :]
    return None


def absolute_path(path: str, roots: Sequence[Root]) -> str | None:
    """Where a shown path lies, below the root's real folder."""
    found = split_shown(path, roots)
    return os.path.join(found[0].real, *found[1].split("/")) if found else None
