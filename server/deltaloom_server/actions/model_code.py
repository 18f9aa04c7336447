"""Code that the model writes without a finding: asked for in the form that the model knows, and checked.

Invariant: nothing leaves here that `CheckCode` hasn't accepted; a model that can't do what is asked is
refused in a sentence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..assist.abilities import refusal
from ..assist.filling import loaded_model
from ..context.roots import split_shown
from ..errors import DeltaloomError
from ..security.analysis.messages import CheckCode, Failed, Judged
from ..security.proposal import Proposal, Verdict

if TYPE_CHECKING:
    from ..language_server import DeltaloomServer

_CHECK_SECONDS = 30.0
_SHOWN = 2


async def follows_instructions(server: DeltaloomServer) -> bool:
    """Can the model be asked in words? Raises DeltaloomError where it can't be reached."""
    return refusal(await loaded_model(server), "instruct") is None


async def check(
    server: DeltaloomServer, path: str, text: str, proposal: Proposal, first_line: int, last_line: int
) -> Verdict:
    """What the gate says of a change of lines [first_line, last_line] (from 0). Raises DeltaloomError where
    it doesn't answer."""
    from ..security.gate.paths import refuse_path

    if (refused := refuse_path(path)) is not None:
        raise DeltaloomError(refused)
    session_roots = server.session.roots
    roots, relative = tuple(root.real for root in session_roots), path
    if (found := split_shown(path, session_roots)) is not None:
        roots, relative = (found[0].real,), found[1]
    request = CheckCode(relative, text, proposal, first_line, last_line, roots)
    reply = await server.security.pool.ask(request, seconds=_CHECK_SECONDS)
    if not isinstance(reply, Judged):
        raise DeltaloomError(reply.reason if isinstance(reply, Failed) else "The gate gave no answer.")
    return reply.verdict


def refused(what: str, objections: tuple[str, ...]) -> DeltaloomError:
    """The error for candidates of which none could be verified."""
    distinct = list(dict.fromkeys(one.rstrip(". ") for one in objections))
    said = "; ".join(distinct[:_SHOWN]) or "the model suggested nothing"
    return DeltaloomError(f"No {what} could be verified: {said}.")
