"""What is taken into the base, in which form: decided from token counts, candidate by candidate.

Invariant: what is taken never exceeds the room, and every candidate offered is in exactly one form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .evidence import Form
from .reasons import WorkspaceFile

SMALLEST = 16
"""Tokens that are not worth filling."""
_MISSES = 32
_WINDOW = 32
_MOST_BYTES_PER_TOKEN = 32
_CAREFUL_BYTES_PER_TOKEN = 2


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file whose text was read once and is held no more. Tokens include the header; 0: not counted, or for
    an outline, that there is none. `outline` is held, as no disk has it."""

    file: WorkspaceFile
    digest: str
    tokens: int
    outline: str = ""
    outline_digest: str = ""
    outline_tokens: int = 0

    def without_outline(self) -> Candidate:
        """For one that is only counted on in full."""
        return Candidate(self.file, self.digest, self.tokens)

    def cost(self, form: Form) -> int:
        """Tokens in this form, or 0 where it has none."""
        return {"full": self.tokens, "outline": self.outline_tokens, "names": 0}[form]


@dataclass
class Packing:
    """Room of `left` tokens, and what has been taken out of it. `misses`: offers in a row that didn't fit."""

    left: int
    taken: dict[str, tuple[Candidate, Form]] = field(default_factory=dict)
    waiting: dict[str, Candidate] = field(default_factory=dict)
    misses: int = 0

    @property
    def done(self) -> bool:
        """Is it pointless to offer more: no room worth filling, or the last 32 all too large?"""
        return self.left < SMALLEST or self.misses >= _MISSES

    def surely_over(self, file: WorkspaceFile) -> bool:
        """Can the text be passed by without counting its tokens (none is 32 bytes long on average)?"""
        return file.size > _MOST_BYTES_PER_TOKEN * max(self.left, 0)

    def offer(self, candidate: Candidate, form: Form, keep_free: int = 0) -> bool:
        """Take a candidate in this form if `keep_free` tokens stay free then; otherwise let it wait."""
        path = candidate.file.path
        held = self.taken.get(path)
        cost = candidate.cost(form)
        if not cost or cost - (held[0].cost(held[1]) if held else 0) > self.left - keep_free:
            if held is None:
                self.waiting[path] = candidate
            self.misses += bool(cost)
            return False
        self.left -= cost - (held[0].cost(held[1]) if held else 0)
        self.taken[path] = candidate, form
        self.waiting.pop(path, None)
        self.misses = 0
        return True

    def take_all(self, candidates: Sequence[Candidate], room: int) -> bool:
        """Take all of these in full if they fit into `left` and `room` beside it."""
        cost = sum(candidate.tokens - self._held(candidate) for candidate in candidates)
        if any(not candidate.tokens for candidate in candidates) or cost > self.left + room:
            return False
        self.left += room
        for candidate in candidates:
            self.offer(candidate, "full")
        return True

    def _held(self, candidate: Candidate) -> int:
        held = self.taken.get(candidate.file.path)
        return held[0].cost(held[1]) if held else 0

    def fill_up(self, ordered: Sequence[Candidate], keep_free: int = 0) -> None:
        """Full texts in place of outlines and of nothing, in value order; once one doesn't fit, of the next
        32 always the one that leaves the least room."""
        rest = [candidate for candidate in ordered if candidate.tokens]
        while rest and self.offer(rest[0], "full", keep_free):
            rest.pop(0)
        while rest and self.left - keep_free >= SMALLEST:
            room = self.left - keep_free
            window = rest[:_WINDOW]
            gains = [candidate.tokens - self._held(candidate) for candidate in window]
            fitting = [index for index, gain in enumerate(gains) if gain <= room]
            if not fitting:
                del rest[: len(window)]
                continue
            best = max(fitting, key=lambda index: (gains[index], -index))
            self.offer(rest.pop(best), "full", keep_free)


def probably_fit(files: Sequence[WorkspaceFile], room: int) -> bool:
    """Would all of these fit in full, carefully guessed from their sizes?"""
    return sum(file.size // _CAREFUL_BYTES_PER_TOKEN + SMALLEST for file in files) <= room
