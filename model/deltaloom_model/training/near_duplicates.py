"""Finds copies and near copies of files by their token 5-grams.

Invariant: the result depends only on the texts and their order; of two near copies the first one stays.

A text's *shingles* are the hashes of its distinct token 5-grams (uint64, sorted). MinHash (Broder 1997)
with 64 permutations estimates their Jaccard similarity; 16 bands of 4 rows propose the pairs.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

Shingles = npt.NDArray[np.uint64]

_TOKEN = re.compile(r"\w+|[^\w\s]")
_GRAM = 5
_PERMUTATIONS = 64
_ROWS = 4
_ODD = np.uint64(0x9E3779B97F4A7C15)


class TokenHashes(dict[str, int]):
    """CRC-32 of each token met, so that a token is hashed once (str hashes change from run to run)."""

    def __missing__(self, token: str) -> int:
        value = self[token] = zlib.crc32(token.encode("utf-8", "surrogatepass"))
        return value


def shingles(text: str, hashes: TokenHashes) -> Shingles:
    """Hashes of the distinct token 5-grams, uint64 [n], sorted; a shorter text is one gram of its tokens."""
    tokens = _TOKEN.findall(text)
    values = np.fromiter(map(hashes.__getitem__, tokens), np.uint64, len(tokens))
    count = max(1, len(values) - _GRAM + 1)
    grams = np.zeros(count, np.uint64)
    for shift in range(min(_GRAM, len(values))):
        grams = _mix(grams ^ values[shift : shift + count])
    return np.unique(grams)


def contained_share(part: Shingles, whole: Shingles) -> float:
    """Which share of `part` also stands in `whole` (both sorted)."""
    if not len(part) or not len(whole):
        return 0.0
    at = np.minimum(np.searchsorted(whole, part), len(whole) - 1)
    return float(np.mean(whole[at] == part))


def union(many: Iterable[Shingles]) -> Shingles:
    """All shingles of several texts, sorted."""
    parts = list(many)
    return np.unique(np.concatenate(parts)) if parts else np.zeros(0, np.uint64)


class NearDuplicateIndex:
    """Texts seen so far; `add` says whether a text is a near copy of one of them."""

    def __init__(self, threshold: float = 0.7) -> None:
        self._threshold = threshold
        random = np.random.default_rng(0)
        self._factors = random.integers(1, 2**63, _PERMUTATIONS, dtype=np.uint64) * np.uint64(2) + np.uint64(
            1
        )
        self._signatures: list[npt.NDArray[np.uint64]] = []
        self._buckets: dict[tuple[int, bytes], list[int]] = {}

    def add(self, grams: Shingles) -> bool:
        """True, and the text is not kept, when a kept one is at least `threshold` similar."""
        signature = self._signature(grams)
        keys = [(band, signature[band : band + _ROWS].tobytes()) for band in range(0, _PERMUTATIONS, _ROWS)]
        near = {index for key in keys for index in self._buckets.get(key, ())}
        if any(np.mean(self._signatures[i] == signature) >= self._threshold for i in near):
            return True
        for key in keys:
            self._buckets.setdefault(key, []).append(len(self._signatures))
        self._signatures.append(signature)
        return False

    def _signature(self, grams: Shingles) -> npt.NDArray[np.uint64]:
        signature = np.empty(_PERMUTATIONS, np.uint64)
        mixed = _mix(grams)
        for index, factor in enumerate(self._factors):
            signature[index] = (mixed * factor).min()
        return signature


def _mix(values: Shingles) -> Shingles:
    """Spread every bit of each value over the whole word (a step of SplitMix64)."""
    values = (values ^ (values >> np.uint64(31))) * _ODD
    return values ^ (values >> np.uint64(29))
