"""Where checkpoints are kept: the places that minimize what is expected to be read again.

Invariant: for the weights given, no other choice of as many places has a lower expected cost. A context that
diverges at position x is read again from the last checkpoint at or before x, so the cost of a choice is

    sum over candidates x of  weight(x) * (x - last chosen place at or before x)

and the best choice follows from an exact dynamic program over the candidates (Sparse Prefix Caching, arXiv
2605.05219). Its inner minimum is one over lines, so that M places out of n candidates take O(M n).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from deltaloom_model.kernels.gated_delta_rule import CHUNK
from deltaloom_model.token_sequence import TokenSequence

_Line = tuple[float, float, int]
"""Slope, intercept, and the place that it stands for."""

_MOST_CANDIDATES = 1024
_STALE_SEGMENTS = 4.0
"""How many of the base's segments are expected to be stale when it is laid out anew."""


def place(candidates: Sequence[int], weights: Sequence[float], most: int, start: int = 0) -> list[int]:
    """The best at most `most` of these ascending positions, all > `start`, where state is held anyway."""
    count = len(candidates)
    assert count == len(weights), "each candidate has a weight"
    if most >= count:
        return list(candidates)
    if most <= 0:
        return []
    mass = [0.0, *accumulate(weights)]
    moment = [0.0, *accumulate(w * x for w, x in zip(weights, candidates, strict=True))]
    # best[j]: the cost of all candidates before j when candidate j is chosen (j = count: the end of all).
    best = [moment[j] - start * mass[j] for j in range(count + 1)]
    chosen_before: list[list[int]] = []
    for _ in range(most):
        best, previous = _one_more(candidates, mass, moment, best)
        chosen_before.append(previous)
    places: list[int] = []
    at = count
    for previous in reversed(chosen_before):
        if previous[at] >= 0:  # else one place more was no gain here
            at = previous[at]
            places.append(candidates[at])
    return places[::-1]


def _one_more(
    candidates: Sequence[int], mass: list[float], moment: list[float], best: list[float]
) -> tuple[list[float], list[int]]:
    """From the costs with m places to those with at most m + 1, and which place comes last before each j.

    cost(j) = moment[j] + min over k < j of (best[k] - moment[k] + x_k mass[k]) - x_k mass[j]: lines in
    mass[j] with falling slopes -x_k, asked at rising places, so a queue of them suffices.
    """
    lines: list[_Line] = []
    first = 0
    found, previous = best[:], [-1] * len(best)
    for j in range(1, len(best)):
        k = j - 1
        line = (-float(candidates[k]), best[k] - moment[k] + candidates[k] * mass[k], k)
        while len(lines) - first >= 2 and _is_useless(lines[-2], lines[-1], line):
            lines.pop()
        lines.append(line)
        at = mass[j]
        while len(lines) - first >= 2 and _value(lines[first + 1], at) <= _value(lines[first], at):
            first += 1
        cost = moment[j] + _value(lines[first], at)
        if cost < found[j]:
            found[j], previous[j] = cost, lines[first][2]
    return found, previous


def _value(line: _Line, at: float) -> float:
    return line[0] * at + line[1]


def _is_useless(
    a: tuple[float, float, int], b: tuple[float, float, int], c: tuple[float, float, int]
) -> bool:
    """Is `b` nowhere the lowest of three lines with falling slopes?"""
    return (c[1] - a[1]) * (a[0] - b[0]) <= (b[1] - a[1]) * (a[0] - c[0])


def expected_cost(
    candidates: Sequence[int], weights: Sequence[float], places: Sequence[int], start: int = 0
) -> float:
    """What `place` minimizes, for any choice of places."""
    cost, last, rest = 0.0, start, sorted(places)
    for candidate, weight in zip(candidates, weights, strict=True):
        while rest and rest[0] <= candidate:
            last = rest.pop(0)
        cost += weight * (candidate - last)
    return cost


def context_places(sequence: TokenSequence, most: int, fixed: set[int]) -> set[int]:
    """Places inside base and log, at most `most`: where a later context is likely to go another way.

    A base is left at its first stale segment (when it is laid out anew), which is segment i with the
    probability that i is stale and none before it is; a log at any entry's end. Base candidates are
    multiples of 64, which cost a copy within a pass; `fixed` places are kept anyway.
    """
    weights: dict[int, float] = {}
    scale = _STALE_SEGMENTS / max(sum(s.weight for s in sequence.spans if s.kind == "base"), _STALE_SEGMENTS)
    fresh = 1.0
    for span in sequence.spans:
        if span.kind == "base":
            chance = min(span.weight * scale, 1.0)
            at = span.start - span.start % CHUNK
            weights[at] = weights.get(at, 0.0) + fresh * chance
            fresh *= 1.0 - chance
        elif span.kind == "log":
            weights[span.start] = weights.get(span.start, 0.0) + 1.0
    candidates = sorted(at for at in weights if at > 0 and at not in fixed)
    return set(place(*_thinned(candidates, weights), most))


def anchor_places(start: int, end: int, cursor: int, most: int) -> set[int]:
    """Places inside the open file's part, every 64 tokens from `start`, at most `most` of them.

    The next request is likelier to stand near the cursor's line (at position `cursor`) than far from it.
    """
    candidates = list(range(start + CHUNK, end, CHUNK))
    return set(place(candidates, [1.0 / (abs(cursor - at) + CHUNK) for at in candidates], most))


def _thinned(candidates: list[int], weights: dict[int, float]) -> tuple[list[int], list[float]]:
    """At most 1024 candidates: neighbours become one, at the first one's place, where both are served."""
    step = -(-len(candidates) // _MOST_CANDIDATES)
    groups = [candidates[at : at + step] for at in range(0, len(candidates), step or 1)]
    return [group[0] for group in groups], [sum(weights[at] for at in group) for group in groups]
