"""What is measured: one working day's edits, in their order.

Invariant: the script depends on the files' texts and on tokens per character alone, so two systems that are
driven over it do the same; edits that only probe a place are taken back before the next one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .script import Desk, Step

FIRST_READING = "first reading"
OTHER_BRANCH = "other"
MAIN_BRANCH = "main"

_TWENTY_TOKENS = "\n\ndef is_wide(width: int) -> bool:\n    return width > 80\n"
_LINE = "value = "
_KEYSTROKES = "len"
_CALL_END = "(text)\n"
_TAKEN_BACK = "undo, branch switched back"
_SAME_GROUP = "in a file that is the same"
_DELETED_TOKENS = 200
_BACK_TOKENS = 500
_BRANCH_FILES = 4
"""So many differ on the other branch: the smallest of those that nothing else touches, for the log has room
for an eighth of the context, and they shall find room there at every size."""

_NEVER_CHANGED = 22
SAME_FILE = 26
"""The file that has the same text at every size."""


@dataclass(frozen=True)
class Day:
    """A script with the files it begins with, and those that git's other branch has instead."""

    files: Mapping[str, str]
    branch: Mapping[str, str]
    steps: Sequence[Step]


def write_day(files: Mapping[str, str], tokens: Mapping[str, int]) -> Day:
    """The script over forty files (path to text, in the repository's order) of so many tokens each."""
    writer = _Writer(files, tokens)
    writer.probes()
    writer.file_12()
    writer.back_and_forth()
    writer.undo_and_delete()
    writer.branches()
    writer.same_file()
    writer.compaction()
    writer.restarts()
    return Day(files, writer.branch, writer.desk.steps)


class _Writer:
    """The day's parts; each leaves the files as the next expects them."""

    def __init__(self, files: Mapping[str, str], tokens: Mapping[str, int]) -> None:
        self.desk = Desk(files)
        self._paths = list(files)
        self._tokens = tokens
        self._per_character = sum(tokens.values()) / sum(map(len, files.values()))
        self._at_12 = 0
        self._at_30 = 0
        self.branch = {path: f"# On the other branch.\n{files[path]}" for path in self._untouched()}

    def _untouched(self) -> list[str]:
        """The smallest files that are never open in the editor, in the repository's order."""
        opened = {self._file(n) for n in (12, _NEVER_CHANGED, SAME_FILE, 30, len(self._paths))}
        opened |= {self._from_end(tokens)[0] for tokens in (_BACK_TOKENS, self._middle)}
        closed = [path for path in self._paths if path not in opened]
        return sorted(sorted(closed, key=lambda path: self._tokens[path])[:_BRANCH_FILES])

    @property
    def _middle(self) -> int:
        return sum(self._tokens.values()) // 2

    def _file(self, number: int) -> str:
        return self._paths[number - 1]

    def probes(self) -> None:
        """At the end of the file asked in, 500 tokens before the context's end, in its middle."""
        desk, asked = self.desk, self._file(len(self._paths))
        whole = desk.texts[asked]
        desk.ask(FIRST_READING, "first reading", "free", asked, len(whole.rstrip("\n")))
        desk.edit(asked, whole.rstrip("\n") + _TWENTY_TOKENS)
        end = len(desk.texts[asked].rstrip("\n"))
        desk.ask("append 20 tokens", "an edit near the end", "move", asked, end)
        desk.edit(asked, whole)
        self._probe("edit 500 tokens before the end", "an edit near the end", self._from_end(_BACK_TOKENS))
        self._probe("edit in the middle", "first edit in a file", self._from_end(self._middle))

    def _probe(self, name: str, group: str, place: tuple[str, int]) -> None:
        """Insert the beginning of a line, ask behind it, and take it back."""
        desk, (path, at) = self.desk, place
        whole = desk.texts[path]
        at = statement_start(whole, at)
        desk.insert(path, at, f"{_LINE}\n")
        desk.ask(name, group, "file", path, at + len(_LINE))
        desk.edit(path, whole)

    def _from_end(self, tokens: int) -> tuple[str, int]:
        """The file, and the offset in it, so many tokens before the end of all files."""
        left = tokens
        for path in reversed(self._paths):
            if left < self._tokens[path]:
                text = self.desk.texts[path]
                return path, max(0, len(text) - round(left / self._per_character))
            left -= self._tokens[path]
        return self._paths[0], 0

    def file_12(self) -> None:
        """A line begun in file 12, typed on, ended, and two other places of the file."""
        desk, path = self.desk, self._file(12)
        self._at_12 = self._type("file 12", path, "file 12 of 40")
        text = desk.texts[path]
        down = line_end(text, (self._at_12 + len(text)) // 2)
        desk.ask("further down in file 12", "moving in a file", "move", path, down)
        up = line_end(text, self._at_12 // 3)
        desk.ask("further up in file 12", "moving in a file", "move", path, up)

    def _type(self, name: str, path: str, first: str, *, same: bool = False) -> int:
        """Begin a line in the file's middle, three keystrokes, the line's end; the cursor's offset then."""
        desk = self.desk
        at = statement_start(desk.texts[path], len(desk.texts[path]) // 2)
        desk.insert(path, at, f"{_LINE}\n")
        at += len(_LINE)
        group = _SAME_GROUP if same else "first edit in a file"
        desk.ask(f"first edit in {first}", group, "file", path, at, same_everywhere=same)
        for number, letter in enumerate(_KEYSTROKES, 1):
            at = self._keystroke(f"keystroke {number} in {name}", path, at, letter, same=same)
        return self._new_line(f"a new line in {name}", path, at, same=same)

    def _keystroke(self, name: str, path: str, at: int, letter: str, *, same: bool = False) -> int:
        self.desk.insert(path, at, letter)
        at += len(letter)
        group = _SAME_GROUP if same else "a keystroke"
        self.desk.ask(name, group, "keystroke", path, at, same_everywhere=same)
        return at

    def _new_line(self, name: str, path: str, at: int, *, same: bool = False) -> int:
        self.desk.insert(path, at, _CALL_END)
        at += len(_CALL_END)
        group = _SAME_GROUP if same else "a new line"
        self.desk.ask(name, group, "new line", path, at, same_everywhere=same)
        return at

    def back_and_forth(self) -> None:
        """Between files 12 and 30, with and without edits."""
        desk, twelve, thirty = self.desk, self._file(12), self._file(30)
        desk.ask("back where the line was begun", "moving in a file", "move", twelve, self._at_12)
        self._begin_line("then file 30, with an edit")
        self._back("back to file 12, 30 was edited", "file")
        desk.ask("to file 30, nothing edited", "back, nothing edited", "look-up", thirty, self._at_30)
        self._back("back to file 12, nothing edited", "look-up")
        desk.insert(thirty, self._at_30, "1 + ")
        self._at_30 += 4
        desk.ask("to file 30, with another edit", "to a file and back, edited", "file", thirty, self._at_30)
        self._back("back to file 12 after that", "file")

    def _begin_line(self, name: str) -> None:
        desk, path = self.desk, self._file(30)
        at = statement_start(desk.texts[path], len(desk.texts[path]) // 2)
        desk.insert(path, at, f"{_LINE}\n")
        self._at_30 = at + len(_LINE)
        desk.ask(name, "to a file and back, edited", "file", path, self._at_30)

    def _back(self, name: str, rule: str) -> None:
        group = "back, nothing edited" if rule == "look-up" else "to a file and back, edited"
        self.desk.ask(name, group, "look-up" if rule == "look-up" else "file", self._file(12), self._at_12)

    def undo_and_delete(self) -> None:
        """In file 12: a paste, exactly undone; a deletion; a formatter's work, saved, and undone."""
        desk, path = self.desk, self._file(12)
        before = desk.texts[path]
        desk.insert(path, self._at_12, f"width = 80\n{_LINE}")
        pasted = self._at_12 + len(f"width = 80\n{_LINE}")
        desk.ask("a paste in file 12", "an edit in the open file", "move", path, pasted)
        desk.edit(path, before)
        desk.ask("exact undo", _TAKEN_BACK, "look-up", path, self._at_12)
        shorter, at = self._without_lines(before)
        desk.edit(path, shorter)
        desk.ask("delete 200 tokens in file 12", "an edit in the open file", "move", path, at)
        desk.edit(path, before)
        desk.ask("that undone", _TAKEN_BACK, "look-up", path, self._at_12)
        formatted = reformat(before)
        desk.edit(path, formatted)
        desk.save(path)
        at = line_end(formatted, min(self._at_12, len(formatted)))
        desk.ask("save with a formatter", "an edit in the open file", "move", path, at)
        desk.edit(path, before)
        desk.save(path)
        desk.ask("the formatter undone, saved", _TAKEN_BACK, "look-up", path, self._at_12)

    def _without_lines(self, text: str) -> tuple[str, int]:
        """The text without 200 tokens of whole lines (a third of it, where it is small), and the place."""
        most = min(round(_DELETED_TOKENS / self._per_character), len(text) // 3)
        start = text.rfind("\n", 0, len(text) // 2) + 1
        end = text.rfind("\n", 0, start + most) + 1
        if end <= start:
            end = text.find("\n", start) + 1 or len(text)
        return text[:start] + text[end:], line_end(text[:start] + text[end:], max(0, start - 1))

    def branches(self) -> None:
        """Four files change on disk at once, and change back."""
        desk, path = self.desk, self._file(12)
        originals = {name: desk.texts[name] for name in self.branch}
        desk.checkout(OTHER_BRANCH, self.branch)
        desk.ask("branch switch, four files", "branch switch", "file", path, self._at_12)
        desk.checkout(MAIN_BRANCH, originals)
        desk.ask("branch switch back", _TAKEN_BACK, "look-up", path, self._at_12)

    def same_file(self) -> None:
        """The edits of which growth is told: in one file that is the same at every size."""
        path = self._file(SAME_FILE)
        desk, away = self.desk, self._file(_NEVER_CHANGED)
        place = line_end(desk.texts[away], 0)
        desk.ask("away from file 12", "", "free", away, place, measured=False)
        at = self._type("the same file", path, "a file that is the same at every size", same=True)
        desk.ask("away from the same file", "", "free", away, place, measured=False)
        desk.ask("back to the same file", _SAME_GROUP, "file", path, at, same_everywhere=True)
        desk.ask("away from the same file", "", "free", away, place, measured=False)
        name = "back to the same file once more"
        desk.ask(name, _SAME_GROUP, "look-up", path, at, same_everywhere=True)

    def compaction(self) -> None:
        """All is saved and laid out anew; then the same edits as before."""
        desk, twelve, thirty = self.desk, self._file(12), self._file(30)
        desk.ask("back to file 12", "", "free", twelve, self._at_12, measured=False)
        for path in list(dict.fromkeys(name for name, _ in desk.steps[-1].layout)):
            if path not in self.branch and desk.is_unsaved(path):
                desk.save(path)
        desk.compact()
        desk.ask("compaction", "compaction", "free", twelve, self._at_12)
        at = self._keystroke("keystroke after compaction", twelve, self._at_12, "x")
        self._at_12 = self._new_line("a new line after compaction", twelve, at)
        desk.insert(thirty, self._at_30, "2 + ")
        self._at_30 += 4
        desk.ask("then file 30, after compaction", "to a file and back, edited", "file", thirty, self._at_30)
        self._back("back to file 12, after compaction", "file")
        desk.ask("to file 30, nothing edited since", "back, nothing edited", "look-up", thirty, self._at_30)
        self._back("back to file 12, nothing edited since", "look-up")

    def restarts(self) -> None:
        """The worker dies; the editor ends and begins again, after edits and after none."""
        desk, twelve = self.desk, self._file(12)
        for path in (twelve, self._file(30)):
            desk.save(path)
        desk.ask("saved", "", "free", twelve, self._at_12, measured=False)
        desk.restart_worker()
        desk.ask("restart of the worker", "restart", "restart", twelve, self._at_12)
        desk.restart_editor()
        desk.ask("restart of the editor, with saved edits", "restart", "restart", twelve, self._at_12)
        desk.restart_editor()
        desk.ask("restart of the editor once more", "restart", "restart", twelve, self._at_12)


def line_end(text: str, near: int) -> int:
    """The end of the line that stands at `near`, or of the next one that isn't blank (else of the last)."""
    at = near
    while True:
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        start = text.rfind("\n", 0, end) + 1
        if text[start:end].strip() or end == len(text):
            return end
        at = end + 1


def statement_start(text: str, near: int) -> int:
    """The start of a line at the top level, the nearest to `near`, before which a line may be inserted."""
    starts = [0, len(text)]
    depth_zero = [index + 1 for index, letter in enumerate(text) if letter == "\n"]
    starts += [at for at in depth_zero if at < len(text) and (text[at].isalpha() or text[at] == "@")]
    return min(starts, key=lambda at: (abs(at - near), at))


def reformat(text: str) -> str:
    """What a formatter might do: other quotes, one blank line where there are two; and a line of its own."""
    changed = text.replace("\n\n\n", "\n\n").replace('"', "'")
    return changed if changed != text else f"{text}\n# formatted\n"
