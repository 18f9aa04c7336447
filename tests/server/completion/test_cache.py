"""Suggestions that typing runs into are answered without the model, and only those."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltaloom_server.completion.cache import Suggestion, SuggestionCache

_URI = "file:///a.py"
_KNOWN = Suggestion(_URI, "x = ", ")\n", "value(1)", replaces=1, context=7)


def _cache(*suggestions: Suggestion) -> SuggestionCache:
    cache = SuggestionCache()
    for suggestion in suggestions:
        cache.keep(suggestion)
    return cache


def _numbered(number: int) -> Suggestion:
    return Suggestion(_URI, f"line {number}\n", "", "text")


def test_an_empty_cache_finds_nothing() -> None:
    assert SuggestionCache().find(_URI, "", "") is None


def test_the_same_cursor_finds_the_whole_suggestion() -> None:
    assert _cache(_KNOWN).find(_URI, "x = ", ")\n", 7) == _KNOWN


def test_typing_along_finds_what_is_left_and_keeps_what_it_replaces() -> None:
    found = _cache(_KNOWN).find(_URI, "x = val", ")\n", 7)
    assert found == Suggestion(_URI, "x = val", ")\n", "ue(1)", replaces=1, context=7)


@pytest.mark.parametrize(
    ("uri", "head", "suffix", "context"),
    [
        ("file:///b.py", "x = ", ")\n", 7),
        (_URI, "y = ", ")\n", 7),
        (_URI, "y = val", ")\n", 7),
        (_URI, "x = w", ")\n", 7),
        (_URI, "x =", ")\n", 7),
        (_URI, "x = ", "]\n", 7),
        (_URI, "x = ", ")", 7),
        (_URI, "x = ", ")\n", 8),
        (_URI, "x = value(1)", ")\n", 7),
        (_URI, "x = value(1) ", ")\n", 7),
    ],
)
def test_whatever_differs_finds_nothing(uri: str, head: str, suffix: str, context: int) -> None:
    assert _cache(_KNOWN).find(uri, head, suffix, context) is None


def test_a_suggestion_without_text_is_not_kept() -> None:
    assert _cache(Suggestion(_URI, "x", "", "")).find(_URI, "x", "") is None


def test_the_newest_that_agrees_is_found() -> None:
    older, newer = Suggestion(_URI, "a", "", "bcd"), Suggestion(_URI, "ab", "", "xyz")
    cache = _cache(older, newer)
    assert cache.find(_URI, "ab", "") == newer
    assert cache.find(_URI, "abc", "") == Suggestion(_URI, "abc", "", "d")


def test_keeping_one_again_makes_it_the_newest() -> None:
    first, second = Suggestion(_URI, "a", "", "bcd"), Suggestion(_URI, "a", "", "xyz")
    assert _cache(first, second, first).find(_URI, "a", "") == first


def test_going_back_finds_an_older_one_again() -> None:
    cache = _cache(Suggestion(_URI, "a", "", "bcd"), Suggestion(_URI, "ax", "", "yz"))
    assert cache.find(_URI, "a", "") == Suggestion(_URI, "a", "", "bcd")


def test_the_oldest_makes_room() -> None:
    cache = _cache(*map(_numbered, range(100)))
    assert cache.find(_URI, "line 0\n", "") is None
    assert cache.find(_URI, "line 99\n", "") == _numbered(99)


def test_forgetting_leaves_nothing() -> None:
    cache = _cache(_KNOWN)
    cache.forget()
    assert cache.find(_URI, "x = ", ")\n", 7) is None


_SHORT = st.text(alphabet="ab\n", max_size=4)
_SUGGESTIONS = st.lists(st.builds(Suggestion, st.just(_URI), _SHORT, _SHORT, _SHORT), max_size=8)


@given(kept=_SUGGESTIONS, head=_SHORT, suffix=_SHORT)
def test_an_answer_completes_to_what_a_kept_suggestion_would_and_none_is_missed(
    kept: list[Suggestion], head: str, suffix: str
) -> None:
    completed = [
        known.head + known.text
        for known in kept
        if known.suffix == suffix
        and head.startswith(known.head)
        and (known.head + known.text).startswith(head)
        and known.head + known.text != head
    ]
    found = _cache(*kept).find(_URI, head, suffix)
    if found is None:
        assert not completed
    else:
        assert found.text
        assert (found.head, found.suffix) == (head, suffix)
        assert head + found.text == completed[-1]
