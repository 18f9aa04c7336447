"""Where an answer ends, as text.

Invariant: what `StopChecker` keeps is a prefix of what was produced, and a rule that fires keeps firing.
"""

from __future__ import annotations

from deltaloom_model.api import StopRules


class StopChecker:
    """Collects the produced text and says when a rule has ended it.

    Tabs count to the next multiple of `tab` columns, as editors and Python's tokenizer do at 8; here 4, the
    width most code is shown with, since only whether a line is *less* indented matters.
    """

    def __init__(self, rules: StopRules, tab: int = 4) -> None:
        self._rules, self._tab = rules, tab
        self.text = ""
        self.stopped = False

    def push(self, piece: str) -> bool:
        """Add produced text; True once a rule has ended the answer (`text` is then cut)."""
        if self.stopped:
            return True
        self.text += piece
        cut = self._cut()
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
        """Where the first rule that holds ends the text. Lines after the first are checked once visible."""
        start, lines = 0, 0
        while True:
            newline = self.text.find("\n", start)
            end = len(self.text) if newline < 0 else newline
            line = self.text[start:end]
            whole = newline >= 0 or at_end
            if lines > 0 and self._ends_before(line, whole):
                return start - 1
            if newline < 0:
                return None
            lines += 1
            if lines >= self._rules.max_lines:
                return newline
            start = newline + 1

    def _ends_before(self, line: str, whole: bool) -> bool:
        content = line.strip()
        if not content:
            return False
        indent = self._rules.block_indent
        if indent is not None and self._columns(line) < indent:
            return True
        following = self._rules.next_line.strip()
        return bool(following) and whole and content == following

    def _columns(self, line: str) -> int:
        columns = 0
        for character in line:
            if character == " ":
                columns += 1
            elif character == "\t":
                columns += self._tab - columns % self._tab
            else:
                break
        return columns
