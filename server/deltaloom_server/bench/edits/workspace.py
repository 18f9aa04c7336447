"""Forty files of a real package, cut so that together they fill the base of a context.

Invariant: the sources are those of the installed `rich`, each cut after a whole statement at its top level or
in a class's body; the same room and counts give the same files, and their tokens never exceed the room.
"""

from __future__ import annotations

import ast
import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from deltaloom_server.context.layout import Budget
from deltaloom_server.errors import DeltaloomError

FILES = 40
PACKAGE = "rich"
_LARGEST_BYTES = 100_000
_SPARE_TOKENS = 32
"""Room for the repository's own header."""
_EVENNESS = (1.25, 2.0, 4.0, 1e9)
"""How far above its share a file may go, in rounds: the last ones fill what whole statements left over."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file of the package: its shown path, and its text in pieces after each of which it may be cut."""

    path: str
    pieces: tuple[str, ...]


def package_sources(count: int = FILES) -> list[Source]:
    """The `count` longest modules of the package, in the order of their names."""
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise DeltaloomError(
            f"The package {PACKAGE} isn't installed; install Deltaloom with its dependencies."
        )
    folder = Path(spec.submodule_search_locations[0])
    modules = [path for path in folder.glob("*.py") if path.stat().st_size <= _LARGEST_BYTES]
    modules.sort(key=lambda path: (-path.stat().st_size, path.name))
    if len(modules) < count:
        raise DeltaloomError(f"The package {PACKAGE} has fewer than {count} modules here; install it anew.")
    chosen = sorted(modules[:count])
    return [
        Source(f"{PACKAGE}/{path.name}", split_statements(path.read_text(encoding="utf-8")))
        for path in chosen
    ]


def split_statements(text: str) -> tuple[str, ...]:
    """A module's text in pieces, each ending with a statement of its top level or of a class's body."""
    ends: list[int] = []
    for statement in ast.parse(text).body:
        inner = statement.body if isinstance(statement, ast.ClassDef) else [statement]
        ends += [node.end_lineno or 0 for node in inner]
    lines = text.splitlines(keepends=True)
    pieces, start = [], 0
    for end in ends:
        if end > start:
            pieces.append("".join(lines[start:end]))
            start = end
    return tuple(pieces)


def base_room(total: int) -> int:
    """Tokens that files may take in the base of a context of `total`."""
    return Budget(total).base() - _SPARE_TOKENS


def fit(
    sources: Sequence[Source],
    pieces: Mapping[str, int],
    headers: Mapping[str, int],
    room: int,
    fixed: Mapping[str, str],
) -> dict[str, str]:
    """Cut each source so that together they come near `room` tokens, evenly; texts by path.

    `pieces` and `headers` give the tokens of each piece and of each path's header; what is `fixed` (texts by
    path, with their tokens in `pieces`) is left as it is. Raises DeltaloomError where not even the first
    statement of each finds room.
    """
    order = [source.path for source in sources]
    sources = [source for source in sources if source.path not in fixed]
    room -= sum(headers[path] + pieces[text] for path, text in fixed.items())
    taken = {source.path: 1 for source in sources}
    sizes = {source.path: headers[source.path] + pieces[source.pieces[0]] for source in sources}
    left = room - sum(sizes.values())
    if left < 0:
        raise DeltaloomError("A context that small has no room for forty files; choose 4096 tokens or more.")
    share = room / len(sources)
    for evenness in _EVENNESS:
        smallest = [(sizes[source.path], index) for index, source in enumerate(sources)]
        heapq.heapify(smallest)
        while smallest:
            size, index = heapq.heappop(smallest)
            source = sources[index]
            count = taken[source.path]
            more = pieces[source.pieces[count]] if count < len(source.pieces) else left + 1
            if more > left or size + more > share * evenness:
                continue
            taken[source.path], sizes[source.path] = count + 1, size + more
            left -= more
            heapq.heappush(smallest, (size + more, index))
    cut = {source.path: "".join(source.pieces[: taken[source.path]]) for source in sources}
    return {path: fixed.get(path) or cut[path] for path in order}
