"""Where an answer ends, as text.

Invariant: what `StopChecker` keeps is a prefix of what was produced, and a rule that fires keeps firing.
"""

from __future__ import annotations

from deltaloom_model.api import StopRules

NO_RULES = StopRules(max_lines=0)
"""The model ends where it likes; only `loop_start` cuts."""

_TAB = 4
_LONGEST_LOOP = 32
_LOOPED_TIMES = 4
_SHORTEST_LOOPED = 16


def loop_start(text: str) -> int | None:
    """Where `text` begins to go round in a circle, if its end does: no person means that.

    A circle is a unit of at most 32 characters, letters or digits among them, four times in a row and 16
    characters long at least; a ruler of dashes is none.
    """
    for size in range(2, _LONGEST_LOOP + 1):
        unit = text[-size:]
        times = max(_LOOPED_TIMES, -(-_SHORTEST_LOOPED // size))
        if text.endswith(unit * times) and any(map(str.isalnum, unit)) and len(set(unit)) > 1:
            start = len(text) - size * times
            while start >= size and text[start - size : start] == unit:
                start -= size
            return start
    return None


def indentation(line: str) -> int:
    """Columns before a line's first character that is neither space nor tab; `block_indent` counts in them.

    Tabs count to the next multiple of 4 columns, the width most code is shown with (editors and Python's
    tokenizer use 8), since only whether a line is *less* indented matters.
    """
    columns = 0
    for character in line:
        if character == " ":
            columns += 1
        elif character == "\t":
            columns += _TAB - columns % _TAB
        else:
            break
    return columns


class StopChecker:
    """Collects the produced text and says when a rule, or `loop_start`, has ended it."""

    def __init__(self, rules: StopRules) -> None:
        self._rules = rules
        self.text = ""
        self.stopped = False

    def push(self, piece: str) -> bool:
        """Add produced text; True once a rule has ended the answer (`text` is then cut)."""
        if self.stopped:
            return True
        self.text += piece
        cut = self._cut()
        if cut is None:
            cut = loop_start(self.text)
        if cut is not None:
            self.text, self.stopped = self.text[:cut], True
        return self.stopped

    def finish(self) -> str:
        """The answer when the model itself ended: a last line without newline is checked too."""
        if not self.stopped:
            cut = self._cut(at_end=True)
            if cut is not None:
                self.text, self.stopped = self.text[:cut], True
        return self.text

    def _cut(self, at_end: bool = False) -> int | None:
        """Where the first rule that holds ends the text. The first line is never cut off: it began before."""
        if self._rules == NO_RULES:
            return None
        *whole, last = self.text.split("\n")
        if at_end:
            whole.append(last)
        end = 0  # of the last line that is kept, without its newline
        blank = 0
        kept: list[str] = []
        for number, line in enumerate(whole):
            if line.strip():
                if number and (self._is_outside(line) or self._is_repeated(line, kept)):
                    return end
                blank = 0
                kept.append(line.strip())
            elif kept:
                blank += 1
                if number and blank == self._rules.blank_lines:
                    return end - self._blank_before(whole, number)
            end += len(line) + (number > 0)
            if number + 1 == self._rules.max_lines and (not at_end or number + 1 < len(whole)):
                return end
        # A line that is still being produced can only be known by its indentation.
        if not at_end and whole and last.strip() and self._is_indented_less(last):
            return end
        return None

    def _blank_before(self, lines: list[str], number: int) -> int:
        """Characters of the blank lines of this run that stand before line `number`, newlines included."""
        run = self._rules.blank_lines - 1
        return sum(len(line) + 1 for line in lines[number - run : number])

    def _is_outside(self, line: str) -> bool:
        following = self._rules.next_line.strip()
        return self._is_indented_less(line) or (bool(following) and line.strip() == following)

    def _is_indented_less(self, line: str) -> bool:
        indent = self._rules.block_indent
        return indent is not None and indentation(line) < indent

    def _is_repeated(self, line: str, kept: list[str]) -> bool:
        count = self._rules.repeats
        return count > 0 and len(kept) >= count and all(text == line.strip() for text in kept[-count:])
