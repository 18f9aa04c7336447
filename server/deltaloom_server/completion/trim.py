"""What of the model's text is shown, and what of the line after the cursor it replaces.

Invariant: putting the suggestion in place never writes a second time what stands after the cursor already,
and takes away nothing there but closing characters that the suggestion brings itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .trigger import CLOSERS, CursorLine

_CLOSING = {"(": ")", "[": "]", "{": "}"}
_OPENING = {closing: opening for opening, closing in _CLOSING.items()}
_QUOTES = "\"'`"


@dataclass(frozen=True, slots=True)
class Trimmed:
    """Text to put at the cursor (lines end with `\\n`), in place of `replaces` code points after it."""

    text: str
    replaces: int = 0


def trim(text: str, line: CursorLine, below: Sequence[str]) -> Trimmed:
    """Cut off what isn't wanted: white space at the end, what stands after the cursor, repeated lines.

    `below` are the document's lines after the cursor's, without their ends. An empty text says that nothing
    is left to suggest.
    """
    text = _without_repeated_lines(text.rstrip(), line, below)
    text = _within_block(text, line)
    if not text.strip():
        return Trimmed("")
    rest = line.rest.rstrip()
    if not rest:
        return Trimmed(text)
    for overlap in _overlaps(text, rest):
        kept = text[: len(text) - overlap]
        # Brackets that the suggestion opened itself have to be closed by it.
        if _unclosed(line.typed + kept) <= _unclosed(line.typed):
            return Trimmed(kept) if kept.strip() else Trimmed("")
    if "\n" not in text and CLOSERS.issuperset(rest.replace(" ", "")) and _brings(text, line.typed, rest):
        return Trimmed(text, len(rest))
    return Trimmed(text)


def _within_block(text: str, line: CursorLine) -> str:
    """After a line that opens a brace, end with the line that closes it."""
    if not line.typed.rstrip().endswith("{") or "\n" not in text:
        return text
    depth = 1
    lines = text.split("\n")
    for number, part in enumerate(lines):
        depth += part.count("{") - part.count("}")
        if depth <= 0:
            return "\n".join(lines[: number + 1])
    return text


def _without_repeated_lines(text: str, line: CursorLine, below: Sequence[str]) -> str:
    """Without the lines at the end that the document goes on with anyway."""
    lines = text.split("\n")
    # What continues the cursor's line is no line of its own.
    whole = lines[1:] if line.typed.strip() else lines
    following = [part.strip() for part in below[: 2 * len(lines)] if part.strip()]
    for size in range(min(len(following), len(lines) - 1), 0, -1):
        tail = [part.strip() for part in whole if part.strip()][-size:]
        if tail == following[:size] and any(any(map(str.isalnum, part)) for part in tail):
            return _drop_lines(lines, size)
    return text


def _drop_lines(lines: list[str], size: int) -> str:
    kept = list(lines)
    while size:
        size -= bool(kept.pop().strip())
    return "\n".join(kept).rstrip()


def _overlaps(text: str, rest: str) -> Iterator[int]:
    """How many characters at the text's end are those after the cursor, the most first.

    A part of them counts only if it is closing characters: a word's first letters may be chance.
    """
    stripped = rest.lstrip()
    for candidate in (rest, stripped):
        if text.endswith(candidate):
            yield len(candidate)
    for size in range(min(len(stripped), len(text)), 0, -1):
        if text.endswith(stripped[:size]) and CLOSERS.issuperset(stripped[:size]):
            yield size


def _unclosed(code: str) -> int:
    """Brackets opened and not closed, strings and comments not told apart (they balance as a rule)."""
    stack: list[str] = []
    for letter in code:
        if letter in _CLOSING:
            stack.append(letter)
        elif letter in _OPENING and stack and stack[-1] == _OPENING[letter]:
            stack.pop()
    return len(stack)


def _brings(text: str, typed: str, rest: str) -> bool:
    """Does the text close, beside its own brackets and strings, all that `rest` closes?"""
    code = typed + text
    if _unclosed(code) > _unclosed(code + rest):
        return False
    if any(code.count(quote) % 2 for quote in _QUOTES if quote in rest):
        return False
    return _is_subsequence(rest, _outside_own_brackets(text))


def _outside_own_brackets(text: str) -> str:
    """Without each pair of brackets that the text both opens and closes, and what is within."""
    kept: list[str] = []
    opened: list[int] = []
    for letter in text:
        if letter in _OPENING and opened and kept[opened[-1]] == _OPENING[letter]:
            del kept[opened.pop() :]
            continue
        if letter in _CLOSING:
            opened.append(len(kept))
        kept.append(letter)
    return "".join(kept)


def _is_subsequence(part: str, whole: str) -> bool:
    letters = iter(whole)
    return all(letter in letters for letter in part if not letter.isspace())
