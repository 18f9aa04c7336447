"""`source.fixAll.deltaloom`: every safe, verified fix that codemods have for one file.

Invariant: each fix is verified on the text that the ones before it have left; those that change what the
program does beyond the weakness stay for a person to choose.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from ..errors import DeltaloomError
from ..positions import line_starts, split_lines
from ..security.codemods import by_rule
from ..security.finding import UNUSED_SUPPRESSION
from ..security.fixing import NoFix
from ..security.proposal import Edit, apply_edits
from . import Chosen, Offer, Outcome, Place, Tell

if TYPE_CHECKING:
    from ..language_server import DeltaloomServer

DO = "fixAll"
KIND = "source.fixAll.deltaloom"
_MOST = 200


def offer(place: Place) -> Iterator[Offer]:
    """Where a codemod knows any finding of the file."""
    known = by_rule()
    if any(one.rule in known or one.rule == UNUSED_SUPPRESSION for one in place.all_findings):
        yield Offer("Apply all verified security fixes")


async def carry_out(server: DeltaloomServer, chosen: Chosen, tell: Tell) -> Outcome:
    """Fix one finding after another, each in the text so far."""
    security = server.security
    text = chosen.document.text
    options = security.fix_options(unsafe=False, sources=("codemod",))
    _, inspection = await security.diagnosis.full(chosen.document.uri)
    fixed, refused = 0, set[str]()
    while fixed < _MOST:
        waiting = [one for one in security.diagnosis.shown(inspection) if one.identity not in refused]
        if not waiting:
            break
        finding = waiting[0]
        tell(f"{finding.rule}, {len(waiting)} to go")
        try:
            fix = await security.fixer.fix(text, finding, inspection, options)
        except NoFix:
            refused.add(finding.identity)
            continue
        text = apply_edits(text, fix.proposal.edits)
        fixed += 1
        inspection = await security.inspector.full(inspection.path, text)
    if not fixed:
        raise DeltaloomError("None of the findings here has a fix that is safe to apply unseen.")
    title = "1 verified fix" if fixed == 1 else f"{fixed} verified fixes"
    return Outcome(title, line_edits(chosen.document.text, text), "each verified by itself", origin="codemod")


def line_edits(before: str, after: str) -> tuple[Edit, ...]:
    """The difference of two texts, as edits of whole lines."""
    old, new = split_lines(before), split_lines(after)
    starts = line_starts(old)
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    return tuple(
        Edit(starts[first], starts[last], "".join(new[start:end]))
        for tag, first, last, start, end in matcher.get_opcodes()
        if tag != "equal"
    )
