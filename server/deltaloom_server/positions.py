"""Lines, columns and code units: how an editor's positions map to a text's code points.

Invariant: a text is the concatenation of its lines; lines end with `\\n`, `\\r\\n` or `\\r` and with nothing
else (LSP 3.17, "Text Documents"), every line but the last has an end, and the last has none. No position lies
inside a line end, and none inside a character.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from io import StringIO
from itertools import accumulate

from .errors import InvalidPosition

_SURROGATE_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")


class PositionEncoding(StrEnum):
    """The code unit that an editor counts columns in. The values are LSP's own names."""

    UTF8 = "utf-8"
    UTF16 = "utf-16"
    UTF32 = "utf-32"


def negotiate(client_encodings: Sequence[str] | None) -> PositionEncoding:
    """The encoding to use with a client that offers these (`general.positionEncodings`).

    utf-8 where it is offered, else utf-16, else utf-32. utf-16 also where nothing known is offered: every
    client must understand it.
    """
    offered = set(client_encodings or ())
    for encoding in (PositionEncoding.UTF8, PositionEncoding.UTF16, PositionEncoding.UTF32):
        if encoding.value in offered:
            return encoding
    return PositionEncoding.UTF16


def split_lines(text: str) -> list[str]:
    """The lines of a text with their ends; never empty, and the last line has no end."""
    # Universal newlines, untranslated: exactly LSP's line ends, split in C. `str.splitlines` knows too many.
    lines = list(StringIO(text, newline=""))
    if not lines or lines[-1].endswith(("\n", "\r")):
        lines.append("")
    return lines


def line_starts(lines: Iterable[str]) -> list[int]:
    """Code points before each line, and before the text's end: one entry more than there are lines."""
    return [0, *accumulate(map(len, lines))]


def content_length(line: str) -> int:
    """Code points of a line before its end."""
    if line.endswith("\n"):
        return len(line) - (2 if line.endswith("\r\n") else 1)
    return len(line) - (1 if line.endswith("\r") else 0)


def join_surrogates(text: str) -> str:
    """Two code points that are the halves of one character become that character.

    JSON may carry half a pair; the editor's own (utf-16) text can't tell two halves from the whole.
    """
    if text.isascii() or _SURROGATE_PAIR.search(text) is None:
        return text
    return _SURROGATE_PAIR.sub(_joined, text)


def _joined(match: re.Match[str]) -> str:
    return match[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le")


def checked_position(line: object, character: object) -> tuple[int, int]:
    """The same numbers if they can be a position. Raises `InvalidPosition` if negative or not integers."""
    for number in (line, character):
        if not isinstance(number, int) or isinstance(number, bool) or number < 0:
            raise InvalidPosition(
                f"The editor sent line {line!r}, character {character!r}, which is no position; "
                "reopen the file, and report this to the editor's plugin if it comes back."
            )
    assert isinstance(line, int)
    assert isinstance(character, int)
    return line, character


def column_of_units(line: str, units: int, encoding: PositionEncoding) -> int:
    """Code points of `line` before its code unit `units`.

    Past the end it is the line's end, before its line end; inside a character it is that character's start.
    """
    limit = content_length(line)
    head = line[: min(units, limit)]  # a code point has at least one unit: what is asked for lies in here
    if encoding is PositionEncoding.UTF32 or head.isascii():
        return len(head)
    if encoding is PositionEncoding.UTF8:
        encoded = head.encode("utf-8", "surrogatepass")
        if units >= len(encoded):
            return len(head)
        while encoded[units] & 0xC0 == 0x80:
            units -= 1
        return len(encoded[:units].decode("utf-8", "surrogatepass"))
    encoded = head.encode("utf-16-le", "surrogatepass")
    if 2 * units >= len(encoded):
        return len(head)
    if units and _is_high(encoded, units - 1) and _is_low(encoded, units):
        units -= 1
    return len(encoded[: 2 * units].decode("utf-16-le", "surrogatepass"))


def units_of_column(line: str, column: int, encoding: PositionEncoding) -> int:
    """Code units of the first `column` code points of `line`."""
    head = line[:column]
    if encoding is PositionEncoding.UTF32 or head.isascii():
        return len(head)
    if encoding is PositionEncoding.UTF8:
        return len(head.encode("utf-8", "surrogatepass"))
    return len(head.encode("utf-16-le", "surrogatepass")) // 2


def _is_high(encoded: bytes, unit: int) -> bool:
    return encoded[2 * unit + 1] & 0xFC == 0xD8


def _is_low(encoded: bytes, unit: int) -> bool:
    return encoded[2 * unit + 1] & 0xFC == 0xDC
