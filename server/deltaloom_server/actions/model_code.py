"""Code that the model writes without a finding: asked for in the form that the model knows, and checked.

Invariant: nothing leaves here that `CheckCode` hasn't accepted; a model that can't do what is asked is
refused in a sentence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..assist.abilities import refusal
from ..assist.conversation import ask
from ..assist.filling import loaded_model, temperature_of
from ..context.roots import split_shown
from ..errors import DeltaloomError
from ..security.analysis.messages import CheckCode, Failed, Judged
from ..security.proposal import Proposal, Verdict

if TYPE_CHECKING:
    from ..language_server import DeltaloomServer
    from . import Chosen

_CHECK_SECONDS = 30.0
_SHOWN = 2


async def follows_instructions(server: DeltaloomServer) -> bool:
    """Can the model be asked in words? Raises DeltaloomError where it can't be reached."""
    return refusal(await loaded_model(server), "instruct") is None


async def in_words(
    server: DeltaloomServer,
    chosen: Chosen,
    line: int,
    *,
    system: str,
    user: str,
    max_new_tokens: int = 1024,
    tools: bool = True,
    candidate: int = 0,
) -> str:
    """What a model that follows instructions says about a line of the chosen document (from 0).

    `candidate` counts tries at the same question. Raises DeltaloomError where it says nothing.
    """
    answer = await ask(
        server,
        system=system,
        user=user,
        path=chosen.path,
        text=chosen.document.text,
        cursor=(line, 0),
        max_new_tokens=max_new_tokens,
        tools=tools,
        temperature=temperature_of(candidate),
        seed=candidate,
    )
    if not answer.text:
        raise DeltaloomError(answer.reason)
    return answer.text


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
