"""An edit script, described without any server: what is done, where is asked, and what all texts are then.

Invariant: a step says everything that a driver needs. `texts` are the live texts after its actions, `layout`
is how they stand in a log-structured context (base, then log), and neither was read from what is measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Rule = Literal["keystroke", "new line", "move", "file", "look-up", "restart", "free"]
"""Which bound holds for a step; `bounds.py` says what each means."""

Layout = tuple[tuple[str, str], ...]
"""(path, text) of each copy, in the order in which they stand."""


@dataclass(frozen=True, slots=True)
class Edit:
    """The editor's text of `path` becomes `text`; the file is opened first where it isn't."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Save:
    """The editor writes its text of `path` to disk."""

    path: str


@dataclass(frozen=True, slots=True)
class Checkout:
    """Git switches to a branch: `changed` files get another text on disk at once."""

    branch: str
    changed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Compact:
    """The context is laid out anew, as in idle time."""


@dataclass(frozen=True, slots=True)
class RestartWorker:
    """The model's process dies."""


@dataclass(frozen=True, slots=True)
class RestartEditor:
    """Editor, server and model's process end, and another editor opens the same folder, with nothing open."""


Action = Edit | Save | Checkout | Compact | RestartWorker | RestartEditor


@dataclass(frozen=True, slots=True)
class Ask:
    """A request for a suggestion: at `offset` (in characters) of a file with this text."""

    path: str
    text: str
    offset: int

    @property
    def prefix(self) -> str:
        """The text up to the start of the cursor's line."""
        return self.text[: self.text.rfind("\n", 0, self.offset) + 1]

    @property
    def typed(self) -> str:
        """The cursor's line up to the cursor."""
        return self.text[len(self.prefix) : self.offset]

    @property
    def suffix(self) -> str:
        """The text from the cursor on."""
        return self.text[self.offset :]

    @property
    def position(self) -> tuple[int, int]:
        """Line and column, from 0, the column in characters."""
        return self.prefix.count("\n"), len(self.typed)


@dataclass(frozen=True, slots=True)
class Step:
    """One scenario. `appended` are the copies of `layout` that the step before hadn't in that place;
    `before` is where was asked last, anywhere. `same_everywhere`: the very same edit at every size.
    `after_compaction`: means nothing where the layout wasn't made anew."""

    name: str
    group: str
    rule: Rule
    actions: tuple[Action, ...]
    ask: Ask
    texts: Mapping[str, str]
    layout: Layout
    appended: Layout
    before: Ask | None
    measured: bool = True
    same_everywhere: bool = False
    after_compaction: bool = False


class Desk:
    """Writes a script: changes texts as a person would, and keeps the log-structured layout beside them."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self.texts = dict(files)
        self.steps: list[Step] = []
        self._disk = dict(files)
        self._base: Layout = tuple(files.items())
        self._log: list[tuple[str, str]] = []
        self._known: dict[tuple[str | None, Layout], list[tuple[str, str]]] = {}
        self._active: str | None = None
        self._actions: list[Action] = []
        self._compacted = False

    def edit(self, path: str, text: str) -> None:
        """Change a file in the editor; it becomes the active one."""
        self._activate(path)
        self.texts[path] = text
        self._actions.append(Edit(path, text))

    def insert(self, path: str, offset: int, text: str) -> None:
        """Insert into a file in the editor."""
        whole = self.texts[path]
        self.edit(path, whole[:offset] + text + whole[offset:])

    def save(self, path: str) -> None:
        """Write an open file to disk."""
        self._disk[path] = self.texts[path]
        self._actions.append(Save(path))

    def is_unsaved(self, path: str) -> bool:
        """Does the editor have another text of this file than the disk?"""
        return self.texts[path] != self._disk[path]

    def checkout(self, branch: str, changes: Mapping[str, str]) -> None:
        """Give closed files another text on disk, all at once."""
        for path, text in changes.items():
            self.texts[path] = self._disk[path] = text
        state = self._state()
        self._log = list(self._known[state]) if state in self._known else [*self._log, *changes.items()]
        self._actions.append(Checkout(branch, tuple(changes)))

    def compact(self) -> None:
        """Lay out anew: what changed stands last, and only once."""
        self._lay_out()
        self._compacted = True
        self._actions.append(Compact())

    def restart_worker(self) -> None:
        """The model's process dies."""
        self._actions.append(RestartWorker())

    def restart_editor(self) -> None:
        """Everything ends and begins again; what wasn't saved is lost."""
        self.texts = dict(self._disk)
        self._active = None
        self._lay_out()
        self._actions.append(RestartEditor())

    def ask(self, name: str, group: str, rule: Rule, path: str, offset: int, **flags: bool) -> None:
        """Ask there: all that was done since the last time, and this, is the next step."""
        self._activate(path)
        self._known[self._state()] = list(self._log)
        layout = (*self._base, *self._log)
        before = self.steps[-1] if self.steps else None
        appended = layout[_shared(layout, before.layout) :] if before is not None else layout
        self.steps.append(
            Step(
                name,
                group,
                rule,
                tuple(self._actions),
                Ask(path, self.texts[path], offset),
                dict(self.texts),
                layout,
                appended,
                before.ask if before is not None else None,
                after_compaction=self._compacted and rule not in ("free", "restart"),
                **flags,
            )
        )
        self._actions.clear()

    def _activate(self, path: str) -> None:
        leaving = self._active
        if path == leaving:
            return
        self._active = path
        if self._log and self._log[-1][0] == path:
            self._log.pop()
        if leaving is not None and self._shown(leaving) != self.texts[leaving]:
            self._log.append((leaving, self.texts[leaving]))

    def _shown(self, path: str) -> str | None:
        copies = dict((*self._base, *self._log))
        return copies.get(path)

    def _state(self) -> tuple[str | None, Layout]:
        return self._active, tuple(sorted(self.texts.items()))

    def _lay_out(self) -> None:
        changed = dict(self._log)
        cold = [path for path, _ in self._base if path not in changed]
        self._base = tuple((path, self.texts[path]) for path in (*cold, *changed))
        self._log = []
        self._known.clear()


def _shared(one: Layout, other: Layout) -> int:
    """How many copies two layouts have in common at their beginning."""
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count
