"""Suggestions that typing may run into: what agrees with one is answered from it, without the model.

Invariant: an answer from here is what is left of a suggestion after exactly what was typed since, before
exactly the same text after the cursor, on exactly the same context.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

_KEPT = 16


@dataclass(frozen=True, slots=True)
class Suggestion:
    """One answer of the model at one cursor. `head` is the document up to there, `suffix` what follows.

    Text is in the document's own line ends; `replaces` counts code points of the suffix. `context` tells the
    contexts apart that it may have been asked on.
    """

    uri: str
    head: str
    suffix: str
    text: str
    replaces: int = 0
    context: int = 0


class SuggestionCache:
    """The last suggestions, newest first; backspacing finds an older one again."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Suggestion, None] = OrderedDict()

    def keep(self, suggestion: Suggestion) -> None:
        """Remember a suggestion that has text."""
        if not suggestion.text:
            return
        self._kept[suggestion] = None
        self._kept.move_to_end(suggestion)
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)

    def find(self, uri: str, head: str, suffix: str, context: int = 0) -> Suggestion | None:
        """What is left of a suggestion at this cursor; never an empty text."""
        for known in reversed(self._kept):
            typed = len(head) - len(known.head)
            if (
                known.uri == uri
                and known.context == context
                and 0 <= typed < len(known.text)
                and len(known.suffix) == len(suffix)
                and known.text.startswith(head[len(known.head) :])
                and head.startswith(known.head)
                and known.suffix == suffix
            ):
                return Suggestion(uri, head, suffix, known.text[typed:], known.replaces, context)
        return None

    def forget(self) -> None:
        """Everything: the settings it was asked with no longer hold."""
        self._kept.clear()
