"""What the user is told outside an answer.

Invariant: the same sentence is shown once, not once per keystroke, until it is forgotten because the trouble
has passed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from .logs import get_logger

Weight = Literal["error", "warning", "info"]

_LOG = get_logger("notices")
_REMEMBERED = 200


class Notices:
    """Sentences for `window/showMessage`, each also in the log."""

    def __init__(self, show: Callable[[Weight, str], None]) -> None:
        self._show = show
        self._shown: dict[str, None] = {}

    def tell(self, sentence: str, weight: Weight = "warning") -> None:
        """Show the sentence unless it has been shown already."""
        if sentence in self._shown:
            return
        if len(self._shown) >= _REMEMBERED:
            self._shown.pop(next(iter(self._shown)))
        self._shown[sentence] = None
        _LOG.log({"error": 40, "warning": 30, "info": 20}[weight], "%s", sentence)
        self._show(weight, sentence)

    def say(self, text: str) -> None:
        """Show what the person has asked for, as often as they ask; it isn't kept."""
        self._show("info", text)

    def forget(self, sentence: str) -> None:
        """The trouble has passed: should it come again, it is told again."""
        self._shown.pop(sentence, None)

    @property
    def told(self) -> tuple[str, ...]:
        """The sentences that still hold, oldest first."""
        return tuple(self._shown)
