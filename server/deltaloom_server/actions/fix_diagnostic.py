"""Fix another server's diagnostic: a security finding with our codemods, anything else with the model.

Invariant: only the function or statement at the diagnostic is rewritten, and what is offered parses, keeps
every other scope as it is and adds no finding; that the diagnostic goes away is the other server's to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..errors import DeltaloomError
from ..positions import column_of_units
from ..security.finding import Finding, Span
from ..security.fixing import NoFix
from ..security.model_fix import Task
from ..security.rules import rule_info
from . import Chosen, Offer, Outcome, Place, Tell, whole_number
from .model_code import check, refused

if TYPE_CHECKING:
    from ..language_server import DeltaloomServer

DO = "fixDiagnostic"
KIND = "quickfix"

_SECURITY_RULE = re.compile(r"[SB]\d{3}\Z")
_MOST = 4


def offer(place: Place) -> Iterator[Offer]:
    """One for each of the first few diagnostics at the place."""
    for diagnostic in place.foreign[:_MOST]:
        rule = str(diagnostic.code or "")
        is_security = bool(_SECURITY_RULE.match(rule))
        if not is_security and not place.model_fixes:
            continue
        how = "" if is_security else " with the model"
        about = {
            "message": diagnostic.message,
            "source": diagnostic.source or "",
            "rule": rule,
            "range": [
                diagnostic.range.start.line,
                diagnostic.range.start.character,
                diagnostic.range.end.line,
                diagnostic.range.end.character,
            ],
        }
        title = f"Fix{how}: {diagnostic.message}".split("\n")[0][:120]
        yield Offer(title, about, (diagnostic,))


async def carry_out(server: DeltaloomServer, chosen: Chosen, tell: Tell) -> Outcome:
    """A verified fix where the rule is one of ours, else a checked rewrite. Raises DeltaloomError."""
    span = _span(chosen)
    rule, message = str(chosen.about.get("rule", "")), str(chosen.about.get("message", ""))
    if _SECURITY_RULE.match(rule):
        return await _fix_finding(server, chosen, _finding(chosen, span, rule, message), tell)
    source = str(chosen.about.get("source", ""))
    told = f"{source or 'A checker'} says of line {span.start_line + 1}: {rule} {message}"
    task = Task(chosen.path, span, told, message.split("\n")[0][:120], f"Fix: {message}"[:80])
    text = chosen.document.text
    objections: list[str] = []
    for proposal in await server.security.model.rewrite(text, task, tell):
        tell("Verifying it")
        first, last = _lines_of(text, proposal.edits[-1].start, proposal.edits[-1].end)
        verdict = await check(server, chosen.path, text, proposal, first, last)
        if verdict.accepted:
            return Outcome(proposal.title, proposal.edits, verdict.label(), proposal.note, True, "model")
        objections += verdict.objections
    raise refused("fix", tuple(objections))


async def _fix_finding(server: DeltaloomServer, chosen: Chosen, finding: Finding, tell: Tell) -> Outcome:
    _, inspection = await server.security.diagnosis.full(chosen.document.uri)
    ours = next(
        (one for one in inspection.findings if one.rule == finding.rule and one.span.touches(finding.span)),
        None,
    )
    if ours is None:
        raise NoFix(f"Deltaloom's scanners don't see {finding.rule} here, so no fix of it can be verified.")
    options = server.security.fix_options(sources=chosen.sources)
    fix = await server.security.fixer.fix(chosen.document.text, ours, inspection, options, tell)
    proposal = fix.proposal
    return Outcome(
        proposal.title, proposal.edits, fix.verdict.label(), proposal.note, proposal.unsafe, proposal.origin
    )


def _finding(chosen: Chosen, span: Span, rule: str, message: str) -> Finding:
    info = rule_info(rule)
    return Finding(
        info.rule, message, chosen.path, span, info.severity, info.confidence, ("sarif",), (rule,), info.cwe
    )


def _span(chosen: Chosen) -> Span:
    """The diagnostic's range, which the client has in its own units, in code points.

    Raises DeltaloomError.
    """
    told = chosen.about.get("range")
    numbers = [whole_number(one) for one in told] if isinstance(told, list) else []
    if len(numbers) != 4 or numbers[:2] > numbers[2:]:
        raise DeltaloomError("The diagnostic has no range that can be read; ask for the menu again.")
    lines, encoding = chosen.document.lines, chosen.document.encoding
    places = []
    for line, units in ((numbers[0], numbers[1]), (numbers[2], numbers[3])):
        line = min(line, len(lines) - 1)
        places += [line, column_of_units(lines[line], units, encoding)]
    return Span(*places)


def _lines_of(text: str, start: int, end: int) -> tuple[int, int]:
    first = text.count("\n", 0, start)
    return first, max(first, text.count("\n", 0, max(start, end - 1)))
