"""Sets of words, written as text, so that tables of names stay readable. Invariant: words hold no blanks."""

from __future__ import annotations


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())
