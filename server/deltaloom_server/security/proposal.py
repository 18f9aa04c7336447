"""`Proposal`: a change of one file that may remove a finding, before anybody has verified it.

Invariant: edits are about code points of the text they were made for, in order, and don't overlap.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from deltaloom_server.security.finding import Scanner

Origin = Literal["codemod", "model"]


class Edit(msgspec.Struct, frozen=True, order=True):
    """Put `text` in place of the code points [start, end)."""

    start: int
    end: int
    text: str


class Proposal(msgspec.Struct, frozen=True):
    """Edits of one text. `title` is what a menu shows, in the imperative ("Use yaml.safe_load").

    `unsafe`: a person should look before it is applied, as what the program does may change beyond the
    weakness (other exceptions, another algorithm's output, a narrower set of inputs); `--fix` alone leaves
    it out, `--unsafe-fixes` applies it.
    """

    title: str
    edits: tuple[Edit, ...]
    origin: Origin = "codemod"
    unsafe: bool = False
    note: str = ""
    """For the person: what changes besides the weakness, in one sentence; "" for nothing."""


class Verdict(msgspec.Struct, frozen=True):
    """What the gate says. `objections` is empty exactly when the fix may be offered.

    `rescanned`: the scanners that looked at the result and no longer see the finding, and nothing new.
    `imports_resolve` is None where the fix imports nothing new. `tests` is "" where none were run, else what
    they said ("14 passed").
    """

    objections: tuple[str, ...] = ()
    parsed: bool = False
    rescanned: tuple[Scanner, ...] = ()
    imports_resolve: bool | None = None
    tests: str = ""

    @property
    def accepted(self) -> bool:
        return not self.objections

    def label(self) -> str:
        """What verified it, as a menu or a report shows it: "parsed; rescanned by bandit and ruff"."""
        parts = ["parsed"] if self.parsed else []
        if self.rescanned:
            parts.append("rescanned by " + " and ".join(self.rescanned))
        if self.imports_resolve:
            parts.append("imports resolve")
        if self.tests:
            parts.append(f"tests: {self.tests}")
        return "; ".join(parts)


class Fix(msgspec.Struct, frozen=True):
    """A proposal that the gate has accepted, and what verified it."""

    proposal: Proposal
    verdict: Verdict


def apply_edits(text: str, edits: Iterable[Edit]) -> str:
    """The text with all edits made. Raises ValueError where they overlap or lie outside the text."""
    pieces: list[str] = []
    at = 0
    for edit in sorted(edits):
        if not at <= edit.start <= edit.end <= len(text):
            raise ValueError("edits overlap or lie outside the text")
        pieces += text[at : edit.start], edit.text
        at = edit.end
    return "".join((*pieces, text[at:]))


def changed_size(text: str, edits: Sequence[Edit]) -> int:
    """Characters taken away and put in. Of the proposals that pass, the smallest is offered."""
    return sum(_size(text[edit.start : edit.end], edit.text) for edit in edits)


def _size(old: str, new: str) -> int:
    limit = min(len(old), len(new))
    head = next((at for at in range(limit) if old[at] != new[at]), limit)
    limit -= head
    tail = next((at for at in range(limit) if old[-1 - at] != new[-1 - at]), limit)
    return len(old) + len(new) - 2 * (head + tail)
