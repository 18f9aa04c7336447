"""From context sizes to days: files that fill each context, the script over them, and every step's bound.

Invariant: all is decided before anything is measured, with a worker that only counts tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .bounds import bound_parts, bound_texts
from .counting import TokenCounter
from .scenarios import SAME_FILE, Day, write_day
from .workspace import base_room, fit, package_sources


@dataclass(frozen=True)
class Prepared:
    """One size's day. `tokens` by path, headers included; `bounds` by the index of the step."""

    context: int
    day: Day
    tokens: Mapping[str, int]
    bounds: Mapping[int, dict[str, int]]


async def prepare(contexts: Iterable[int], counter: TokenCounter, fim_order: str) -> list[Prepared]:
    """A day for each size, smallest first. Raises DeltaloomError for a size too small for forty files."""
    sources = package_sources()
    paths = [source.path for source in sources]
    counts = await counter.count((piece for source in sources for piece in source.pieces), paths)
    pieces, fixed = dict(counts.texts), dict[str, str]()
    prepared = []
    for context in sorted(set(contexts)):
        files = fit(sources, pieces, counts.headers, base_room(context), fixed)
        if not fixed:
            fixed = {paths[SAME_FILE - 1]: files[paths[SAME_FILE - 1]]}
            pieces |= (await counter.count(fixed.values())).texts
        prepared.append(await _prepare(context, files, paths, counter, fim_order))
    return prepared


async def _prepare(
    context: int, files: Mapping[str, str], paths: Sequence[str], counter: TokenCounter, fim_order: str
) -> Prepared:
    whole = await counter.count(files.values(), paths)
    tokens = {path: whole.segment(path, text) for path, text in files.items()}
    day = write_day(files, tokens)
    counts = await counter.count(bound_texts(day.steps, fim_order), paths)
    bounds = {}
    for index, step in enumerate(day.steps):
        if (parts := bound_parts(step, counts, fim_order, context)) is not None:
            bounds[index] = parts
    return Prepared(context, day, tokens, bounds)
