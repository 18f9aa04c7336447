"""Fix one finding: a codemod's or the model's change, verified before anybody sees it.

Invariant: an edit is offered only for the text that it was verified on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from ..errors import DeltaloomError
from ..security.codemods import by_rule
from ..security.finding import UNUSED_SUPPRESSION, Finding
from . import Chosen, Offer, Outcome, Place, Tell

if TYPE_CHECKING:
    from ..language_server import DeltaloomServer

DO = "fix"
KIND = "quickfix"

_LARGEST = 1 << 31


def offer(place: Place) -> Iterator[Offer]:
    """One for each finding that a codemod knows or a model may be asked about."""
    for finding in place.findings:
        known = finding.rule in by_rule() or finding.rule == UNUSED_SUPPRESSION
        if not known and not place.model_fixes:
            continue
        diagnostic = place.diagnostics.get(finding.identity)
        yield Offer(
            _title(finding, known),
            {"identity": finding.identity, "rule": finding.rule},
            (diagnostic,) if diagnostic is not None else (),
            preferred=known,
        )


async def carry_out(server: DeltaloomServer, chosen: Chosen, tell: Tell) -> Outcome:
    """Propose, verify, and give the smallest that passes. Raises NoFix."""
    tell("Looking at the file")
    snapshot, inspection = await server.security.diagnosis.full(chosen.document.uri)
    finding = _foreign(chosen) or next(
        (one for one in inspection.findings if one.identity == chosen.about.get("identity")), None
    )
    if snapshot.version != chosen.document.version or finding is None:
        raise DeltaloomError("The finding isn't in the file any more; there is nothing to fix.")
    # `safe`: nobody will look at it, so a fix that changes more than the weakness is of no use.
    options = server.security.fix_options(unsafe=chosen.about.get("safe") is not True, sources=chosen.sources)
    fix = await server.security.fixer.fix(snapshot.text, finding, inspection, options, tell)
    proposal = fix.proposal
    return Outcome(
        proposal.title, proposal.edits, fix.verdict.label(), proposal.note, proposal.unsafe, proposal.origin
    )


def _foreign(chosen: Chosen) -> Finding | None:
    """Another scanner's finding, which the client brought along: ours don't know it."""
    told = chosen.about.get("finding")
    if told is None:
        return None
    try:
        finding = msgspec.convert(told, Finding)
    except msgspec.ValidationError:
        raise DeltaloomError("The finding to fix can't be read; send it as it was imported.") from None
    span = finding.span
    begins, ends = (span.start_line, span.start_column), (span.end_line, span.end_column)
    whole = all(0 <= one < _LARGEST for one in (*begins, *ends))
    if not whole or begins > ends or span.end_line >= len(chosen.document.lines):
        raise DeltaloomError("The finding to fix lies outside the file; import the report again.")
    return msgspec.structs.replace(finding, path=chosen.path)


def _title(finding: Finding, known: bool) -> str:
    if finding.rule == UNUSED_SUPPRESSION:
        return "Remove the suppression that suppresses nothing"
    how = "" if known else " with the model"
    return f"Fix {finding.rule}{how}: {finding.message}"[:120]
