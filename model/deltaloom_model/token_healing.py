"""Token healing: a word broken off at the cursor is produced again whole, not fed in pieces.

A word's first letters, tokenized alone, are tokens that hardly ever stand before the rest of that word in
what a model was trained on. So they are not fed: what stands before the word is, and what is produced must
begin with the letters that stand there already.

Invariant: the bytes produced begin with the held bytes; without held bytes nothing is constrained.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right

import torch
from torch import Tensor

from deltaloom_model.tokenizer import SegmentTokenizer

_BROKEN_WORD = re.compile(r"(?: |(?<!\w))\w{1,64}\Z")


def split_typed(typed: str) -> tuple[str, str]:
    """(what to feed, what to hold back): the word that `typed` ends with, and the space before it."""
    found = _BROKEN_WORD.search(typed)
    return (typed, "") if found is None else (typed[: found.start()], found[0])


class TokenIndex:
    """A vocabulary's tokens in the order of their bytes. Special tokens have none and don't stand in it."""

    def __init__(self, tokenizer: SegmentTokenizer) -> None:
        pairs = ((tokenizer.bytes_of(token), token) for token in range(tokenizer.size))
        ordered = sorted(pair for pair in pairs if pair[0])
        self._bytes = [data for data, _ in ordered]
        self._tokens = [token for _, token in ordered]

    def agreeing(self, held: bytes) -> Tensor:
        """Ids, int64 ascending, of the tokens that begin with `held` or that `held` begins with.

        Never empty: a byte-level vocabulary has every single byte.
        """
        first = bisect_left(self._bytes, held)
        last = bisect_right(self._bytes, held, lo=first, key=lambda data: data[: len(held)])
        found = self._tokens[first:last]
        for size in range(1, len(held)):
            at = bisect_left(self._bytes, held[:size])
            while at < len(self._bytes) and self._bytes[at] == held[:size]:
                found.append(self._tokens[at])
                at += 1
        return torch.tensor(sorted(found), dtype=torch.int64)
