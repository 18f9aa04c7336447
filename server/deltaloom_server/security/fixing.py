"""From a finding to a fix that may be offered: propose, verify, and of what passes take the smallest.

Invariant: nothing leaves here that the gate hasn't accepted for exactly this text; where there is no fix,
there is a sentence that says why.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import msgspec

from deltaloom_server.context.roots import Root, split_shown
from deltaloom_server.errors import DeltaloomError
from deltaloom_server.positions import split_lines
from deltaloom_server.security.analysis.messages import (
    Failed,
    Judge,
    Judged,
    Propose,
    Proposed,
    Reply,
    Request,
)
from deltaloom_server.security.finding import UNUSED_SUPPRESSION, Finding, Inspection
from deltaloom_server.security.proposal import Edit, Fix, Proposal, Verdict, apply_edits, changed_size

Source = Literal["codemod", "model"]

_CODEMOD_SECONDS = 20.0
_JUDGE_SECONDS = 30.0
_MOST_SHOWN = 3
"""Objections quoted when nothing passed."""


class NoFix(DeltaloomError):
    """There is no fix that may be offered: one sentence says why."""


class Asks(Protocol):
    """What is used of `AnalysisPool`."""

    async def ask(self, request: Request, *, seconds: float | None = None) -> Reply: ...


ProposeByModel = Callable[[str, Finding, Callable[[str], None]], Awaitable[Sequence[Proposal]]]
"""(text, finding, tell what is being done) -> proposals. Raises NoFix where the model can't be asked."""

RunTests = Callable[[str, str], Awaitable[tuple[bool, str]]]
"""(path, fixed text) -> (may it be offered, what the repository's tests said or why not)."""


@dataclass(frozen=True, slots=True)
class FixOptions:
    """Where proposals may come from, and which may be taken."""

    sources: Collection[Source] = ("codemod", "model")
    unsafe: bool = True
    roots: tuple[Root, ...] = ()


class Fixer:
    """Makes fixes for one session."""

    def __init__(
        self, pool: Asks, by_model: ProposeByModel | None = None, run_tests: RunTests | None = None
    ) -> None:
        self._pool = pool
        self._by_model = by_model
        self._run_tests = run_tests

    async def fix(
        self,
        text: str,
        finding: Finding,
        inspection: Inspection,
        options: FixOptions,
        tell: Callable[[str], None] = lambda step: None,
    ) -> Fix:
        """The best verified fix of a finding in a text. Raises NoFix. Cancelling it stops the work.

        `inspection` is that of the text. `tell` is called with what is being done.
        """
        # Only here: the gate is the analysis process's, and large.
        from deltaloom_server.security.gate.paths import refuse_path

        if (refusal := refuse_path(finding.path)) is not None:
            raise NoFix(refusal)
        reasons: list[str] = []
        for source in ("codemod", "model"):
            if source not in options.sources:
                continue
            if source == "model" and not options.unsafe:
                reasons.append("what the model writes is for a person to look at")
                continue
            if finding.rule == UNUSED_SUPPRESSION:
                proposals = [_without_comment(text, finding)] if source == "codemod" else []
            else:
                proposals = await self._proposals(source, text, finding, reasons, tell)
            if proposals and not options.unsafe and all(one.unsafe for one in proposals):
                reasons.append("the fix that there is changes more than the weakness, so look at it first")
            proposals = [one for one in proposals if options.unsafe or not one.unsafe]
            if source == "model":
                proposals.sort(key=lambda one: changed_size(text, one.edits))
            for number, proposal in enumerate(proposals, 1):
                tell(f"Verifying {_nth(number, len(proposals))}")
                verdict = await self._verify(text, finding, proposal, inspection, options)
                if verdict.accepted:
                    return Fix(proposal, verdict)
                reasons += verdict.objections
        raise NoFix(_sentence(finding, reasons))

    async def _proposals(
        self, source: Source, text: str, finding: Finding, reasons: list[str], tell: Callable[[str], None]
    ) -> list[Proposal]:
        if source == "codemod":
            tell("Looking for a codemod")
            reply = await self._pool.ask(Propose(text, finding), seconds=_CODEMOD_SECONDS)
            if isinstance(reply, Proposed) and reply.proposals:
                return list(reply.proposals)
            why = reply.reason if isinstance(reply, Failed | Proposed) else "The codemods gave no answer."
            reasons.append(why)
            return []
        if self._by_model is None:
            return []
        tell("Asking the model")
        try:
            proposals = list(await self._by_model(text, finding, tell))
        except NoFix as refusal:
            reasons.append(str(refusal))
            return []
        if not proposals:
            reasons.append("the model suggested nothing")
        return proposals

    async def _verify(
        self, text: str, finding: Finding, proposal: Proposal, inspection: Inspection, options: FixOptions
    ) -> Verdict:
        known = tuple(one for one in inspection.findings if one.identity != finding.identity)
        judged, roots = finding, tuple(root.real for root in options.roots)
        if (found := split_shown(finding.path, options.roots)) is not None:
            # With several folders, paths are shown with their folder's name: nothing is imported by that.
            judged, roots = msgspec.structs.replace(finding, path=found[1]), (found[0].real,)
        request = Judge(text, judged, proposal, known, roots)
        reply = await self._pool.ask(request, seconds=_JUDGE_SECONDS)
        if not isinstance(reply, Judged):
            return Verdict((reply.reason if isinstance(reply, Failed) else "The gate gave no answer.",))
        verdict = reply.verdict
        if verdict.accepted and self._run_tests is not None:
            passed, said = await self._run_tests(finding.path, apply_edits(text, proposal.edits))
            if not passed:
                return Verdict((f"{said[:1].upper()}{said[1:]}.",))
            verdict = msgspec.structs.replace(verdict, tests=said)
        return verdict


def _without_comment(text: str, finding: Finding) -> Proposal:
    """Nothing but a comment goes. Raises NoFix where only a part of it suppresses nothing."""
    lines = split_lines(text)
    span = finding.span
    line = lines[span.start_line]
    comment = line[span.start_column : span.end_column]
    if span.end_line != span.start_line or not comment.lstrip().startswith(("#", "//", "/*")):
        raise NoFix("Only a part of the comment suppresses nothing; shorten it by hand.")
    before = line[: span.start_column].rstrip()
    start = sum(map(len, lines[: span.start_line]))
    end = start + span.end_column
    # A line that held nothing else goes as a whole.
    if not before and not line[span.end_column :].strip():
        end = start + len(line)
    edit = Edit(start + len(before), end, "")
    return Proposal("Remove the suppression", (edit,))


def _nth(number: int, of: int) -> str:
    return "the fix" if of == 1 else f"candidate {number} of {of}"


def _sentence(finding: Finding, reasons: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(reason.rstrip(". ") for reason in reasons if reason))
    if not distinct:
        return f"There is no codemod for {finding.rule} here, and no model was asked; change it by hand."
    return f"No fix of {finding.rule} could be verified: {'; '.join(distinct[:_MOST_SHOWN])}."
