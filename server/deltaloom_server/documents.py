"""The editor's texts: buffers that follow every change, and the frozen snapshots that everything else reads.

Invariant: after each `TextDocument.apply` the buffer is what the editor holds (LSP 3.17, `didChange`), or, if
the notification can't be one, what it was before it. Lines obey `positions`; no two neighbouring code points
are the halves of one character.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from lsprotocol.types import (
    Position,
    TextDocumentContentChangePartial,
    TextDocumentContentChangeWholeDocument,
)

from .errors import DeltaloomError, InvalidPosition
from .positions import (
    PositionEncoding,
    checked_position,
    column_of_units,
    content_length,
    join_surrogates,
    line_starts,
    split_lines,
    units_of_column,
)

Change = TextDocumentContentChangePartial | TextDocumentContentChangeWholeDocument

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CursorText:
    """A text at a cursor: `prefix` up to the start of the cursor's line, `typed` that line up to the cursor,
    `suffix` everything from the cursor on. `prefix + typed + suffix` is the text."""

    prefix: str
    typed: str
    suffix: str


@dataclass(frozen=True)
class DocumentSnapshot:
    """One version of a document. `lines` keep their ends; the last has none.

    Positions are the editor's, in units of `encoding`; offsets are in code points of `text`.
    """

    uri: str
    version: int
    language_id: str
    encoding: PositionEncoding
    lines: tuple[str, ...]

    @cached_property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.lines)

    @property
    def line_count(self) -> int:
        """Line ends plus one."""
        return len(self.lines)

    @property
    def line_end(self) -> str:
        """How this document ends its lines: as its first line does; a newline if there is only one line."""
        first = self.lines[0]
        return first[content_length(first) :] or "\n"

    def line_text(self, line: int) -> str:
        """The line without its end; empty past the last line."""
        if not 0 <= line < len(self.lines):
            return ""
        text = self.lines[line]
        return text[: content_length(text)]

    def offset_at(self, line: int, character: int) -> int:
        """Code points before a position. Raises `InvalidPosition` (negative, or not an integer).

        A column past a line's end is that end, a line past the last is the text's end, and a column inside a
        character is that character's start.
        """
        row, column = self._resolve(line, character)
        return self._starts[row] + column

    def position_at(self, offset: int) -> Position:
        """The position before which `offset` code points stand: past the text its end, inside a `\\r\\n`
        before it. Raises `InvalidPosition` if negative."""
        if offset < 0:
            raise InvalidPosition(f"No position has {offset} characters before it.")
        row = bisect_right(self._starts, offset) - 1
        line = self.lines[row]
        column = min(offset - self._starts[row], content_length(line))
        return Position(row, units_of_column(line, column, self.encoding))

    def at_cursor(self, line: int, character: int) -> CursorText:
        """The text around a position, which is clamped as in `offset_at`."""
        row, column = self._resolve(line, character)
        current = self.lines[row]
        suffix = current[column:] + "".join(self.lines[row + 1 :])
        return CursorText("".join(self.lines[:row]), current[:column], suffix)

    @cached_property
    def _starts(self) -> list[int]:
        return line_starts(self.lines[:-1])

    def _resolve(self, line: int, character: int) -> tuple[int, int]:
        return _resolve(self.lines, *checked_position(line, character), self.encoding)


class TextDocument:
    """The buffer of one open document. Only `apply` changes it; reading goes through its snapshot."""

    def __init__(
        self,
        uri: str,
        text: str,
        *,
        language_id: str = "",
        version: int = 0,
        encoding: PositionEncoding = PositionEncoding.UTF16,
    ) -> None:
        self.uri = uri
        self.language_id = language_id
        self.version = version
        self.encoding = encoding
        self._lines = split_lines(join_surrogates(text))
        self._snapshot: DocumentSnapshot | None = None

    def apply(self, changes: Iterable[Change], version: int) -> None:
        """Apply the changes of one `didChange` in order; each sees the text that the one before it left.

        Columns and lines past an end are clamped as in `DocumentSnapshot.offset_at`; a range whose start lies
        after its end is taken the other way round, as vscode-languageserver-textdocument does. A version that
        doesn't rise is logged, and the changes applied all the same: the order of arrival is the order.

        Raises `InvalidPosition` for a position that can't be one, and `DeltaloomError` for a change without
        text; the buffer and its version are then as before the whole notification.
        """
        # Whatever can fail fails here, before the first change: all else is clamped.
        checked = [self._checked(change) for change in changes]
        if version <= self.version:
            _log.warning("%s: version %s came after %s", self.uri, version, self.version)
        self._snapshot = None
        self.version = version
        for text, range_ in checked:
            if range_ is None:
                self._lines = split_lines(text)
            else:
                start, end = (_resolve(self._lines, *place, self.encoding) for place in range_)
                _splice(self._lines, min(start, end), max(start, end), text)

    def snapshot(self) -> DocumentSnapshot:
        """The document as it is now; the same object until the next change."""
        if self._snapshot is None:
            self._snapshot = DocumentSnapshot(
                self.uri, self.version, self.language_id, self.encoding, tuple(self._lines)
            )
        return self._snapshot

    @property
    def text(self) -> str:
        """The whole text, joined once until the next change."""
        return self.snapshot().text

    @property
    def line_count(self) -> int:
        """Line ends plus one."""
        return len(self._lines)

    def line_text(self, line: int) -> str:
        """The line without its end; empty past the last line."""
        return self.snapshot().line_text(line)

    def offset_at(self, line: int, character: int) -> int:
        """See `DocumentSnapshot.offset_at`."""
        return self.snapshot().offset_at(line, character)

    def position_at(self, offset: int) -> Position:
        """See `DocumentSnapshot.position_at`."""
        return self.snapshot().position_at(offset)

    def _checked(self, change: Change) -> tuple[str, tuple[tuple[int, int], tuple[int, int]] | None]:
        if not isinstance(change.text, str):
            raise DeltaloomError(f"The editor sent a change of {self.uri} without text; reopen the file.")
        text = join_surrogates(change.text)
        range_ = getattr(change, "range", None)
        if range_ is None:
            return text, None
        start, end = range_.start, range_.end
        return text, (
            checked_position(start.line, start.character),
            checked_position(end.line, end.character),
        )


def _resolve(
    lines: list[str] | tuple[str, ...], line: int, character: int, encoding: PositionEncoding
) -> tuple[int, int]:
    """(line, column in code points), clamped into the text."""
    if line >= len(lines):
        return len(lines) - 1, len(lines[-1])
    return line, column_of_units(lines[line], character, encoding)


def _splice(lines: list[str], start: tuple[int, int], end: tuple[int, int], text: str) -> None:
    """Replace [start, end) by `text`, in place, looking only at the lines touched.

    What stays of the first and the last line holds no line end but the last one's own, so only `text` is
    searched for line ends, however long the lines are; two seams may join a `\\r\\n` or a character.
    """
    (first, start_column), (last, end_column) = start, end
    head, tail = lines[first][:start_column], lines[last][end_column:]
    if not head and first and (text or tail).startswith("\n") and lines[first - 1].endswith("\r"):
        first -= 1
        head, text = lines[first][:-1], "\r" + text
    head, text, tail = _joined_at_seams(head, text, tail)
    if tail == "\n" and text.endswith("\r"):
        # The line's own end completes a `\r\n`: nothing is left of this line after it.
        pieces = split_lines(text + tail)
        pieces.pop()
    else:
        pieces = split_lines(text)
        pieces[-1] += tail
    pieces[0] = head + pieces[0]
    lines[first : last + 1] = pieces


def _joined_at_seams(head: str, text: str, tail: str) -> tuple[str, str, str]:
    """The same text, cut so that no seam runs between the halves of one character."""
    if not text:
        if head and tail and _halves(head[-1], tail[0]):
            return head[:-1], join_surrogates(head[-1] + tail[0]), tail[1:]
        return head, text, tail
    if head and _halves(head[-1], text[0]):
        head, text = head[:-1], join_surrogates(head[-1] + text[0]) + text[1:]
    if tail and _halves(text[-1], tail[0]):
        text, tail = text[:-1] + join_surrogates(text[-1] + tail[0]), tail[1:]
    return head, text, tail


def _halves(left: str, right: str) -> bool:
    return "\ud800" <= left <= "\udbff" and "\udc00" <= right <= "\udfff"
