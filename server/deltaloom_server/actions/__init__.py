"""Code actions: what is offered at a place at once, and the work done when one is chosen.

Each module of this package that has `KIND` is one action, or a few of a kind:

    DO: str                                        its name in an action's data
    KIND: str                                      the LSP kind, by which clients filter
    def offer(place: Place) -> Iterator[Offer]     at once; no scanning, no model
    async def carry_out(server, chosen: Chosen, tell) -> Outcome    raises DeltaloomError with a sentence
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from lsprotocol import types

from ..errors import DeltaloomError

if TYPE_CHECKING:
    from ..documents import DocumentSnapshot
    from ..language_server import DeltaloomServer
    from ..security.finding import Finding
    from ..security.fixing import Source
    from ..security.proposal import Edit

Tell = Callable[[str], None]
"""Called with what is being done, as a person reads it."""

_MODULES = (
    "fix_finding",
    "fix_all",
    "suppress",
    "fix_diagnostic",
    "fill_function",
    "write_docstring",
    "write_test",
    "explain",
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where actions are asked for. `first_line` and `last_line` from 0; `cursor` is the range's start.

    `findings` are the shown ones that share a line with the range, `foreign` other servers' diagnostics.
    `all_findings` are those of the whole document. `abilities` are the model's, as far as they are known.
    """

    document: DocumentSnapshot
    path: str
    first_line: int
    last_line: int
    cursor: types.Position
    findings: tuple[Finding, ...] = ()
    all_findings: tuple[Finding, ...] = ()
    diagnostics: Mapping[str, types.Diagnostic] = field(default_factory=dict)
    """The client's own objects for our findings, by identity."""
    foreign: tuple[types.Diagnostic, ...] = ()
    abilities: frozenset[str] | None = None
    model_fixes: bool = True


@dataclass(frozen=True, slots=True)
class Offer:
    """One entry of the menu. `about` tells `carry_out` what it was; JSON only."""

    title: str
    about: dict[str, Any] = field(default_factory=dict)
    diagnostics: tuple[types.Diagnostic, ...] = ()
    preferred: bool = False
    edits: tuple[Edit, ...] = ()
    """Where the work is nothing, it is done at once."""
    disabled: str = ""
    """Why it can't be chosen now, in one sentence; shown by clients that can show that."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """An entry that was chosen, on the very text that it was offered for."""

    document: DocumentSnapshot
    path: str
    about: dict[str, Any]
    sources: tuple[Source, ...] = ()
    """Where a fix may come from; empty: as the settings say."""

    def line(self, name: str = "line", default: int = 0) -> int:
        """A line that the action is about, from 0; clients send it back, and may send anything. Raises
        DeltaloomError."""
        return whole_number(self.about.get(name, default))


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file to create in the workspace."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is to be done. `edits` are of the chosen document; `label` says what verified them.

    `unsafe`: a person should look first. `show` is Markdown to be shown as a document of its own.
    """

    title: str
    edits: tuple[Edit, ...] = ()
    label: str = ""
    note: str = ""
    unsafe: bool = False
    origin: str = ""
    new_file: NewFile | None = None
    show: str = ""


class Action(Protocol):
    """What a module of this package offers."""

    DO: str
    KIND: str

    def offer(self, place: Place) -> Iterator[Offer]: ...

    def carry_out(self, server: DeltaloomServer, chosen: Chosen, tell: Tell) -> Awaitable[Outcome]: ...


@cache
def actions() -> Mapping[str, Action]:
    """All of them, in the order of the menu, by name."""
    modules = [import_module(f"{__name__}.{name}") for name in _MODULES]
    return MappingProxyType({module.DO: module for module in modules})


def whole_number(told: object) -> int:
    """A number of a line or a column, as a client has sent it. Raises DeltaloomError for anything else."""
    if isinstance(told, bool) or not isinstance(told, int) or not 0 <= told < 1 << 31:
        raise DeltaloomError("The action doesn't say which lines it is about; ask for the menu again.")
    return told
