"""Where offers come from, as the evaluator sees it.

Invariant: an offer is what an editor's user would get: what the gate refused is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, Protocol

import msgspec

from deltaloom_server.evaluate.case import Case

Column = Literal["codemods", "model", "both"]
COLUMNS: Final[tuple[Column, ...]] = ("codemods", "model", "both")


class Offer(msgspec.Struct, frozen=True):
    """A fix that was offered. `files`: the new text of each file it changes, by its path in the workspace.
    `label` says what verified it."""

    title: str
    files: Mapping[str, str]
    label: str = ""


class Answer(msgspec.Struct, frozen=True):
    """What came back for one case: the first offer (None: none was made, `note` says why).

    `found`: was the case's finding reported at all?
    """

    found: bool
    offer: Offer | None = None
    note: str = ""


class FixSource(Protocol):
    """Gives offers. Several cases may be asked for at the same time."""

    async def ask(self, workspace: Path, case: Case, column: Column) -> Answer:
        """The offer for the finding of `case` in `workspace` (a folder of its own, which it may write to).

        Raises DeltaloomError where nothing can be asked.
        """
        ...
