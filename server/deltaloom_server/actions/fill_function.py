"""Fill in a function from its signature and docstring.

Invariant: only the function's body is written, and only where there was none: what a person has written there
is never replaced.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from deltaloom_model.api import StopRules

from ..assist.answers import code_block, fenced
from ..assist.filling import fill_in
from ..errors import DeltaloomError
from ..security.proposal import Edit, Proposal
from ..text_lines import with_line_ends
from . import Chosen, Offer, Outcome, Place, Tell
from .model_code import check, follows_instructions, in_words, refused
from .python_functions import FunctionLines, function_at

if TYPE_CHECKING:
    from ..language_server import DeltaloomServer

DO = "fillFunction"
KIND = "refactor.rewrite.deltaloom"

_LINES = 40
_TOKENS = 320
_SYSTEM = (
    "You write the body of one function from its signature and docstring, using what this repository has for "
    "the purpose. Answer with one fenced code block that holds the whole function, and nothing else."
)


def offer(place: Place) -> Iterator[Offer]:
    """Where the cursor is in a function without a body of its own."""
    if place.path.endswith(".py"):
        found = function_at(place.document.lines, place.first_line)
        if found is not None and found.is_empty:
            yield Offer(f"Fill in {found.name}", {"line": place.first_line})


async def carry_out(server: DeltaloomServer, chosen: Chosen, tell: Tell) -> Outcome:
    """The first candidate that the gate accepts. Raises DeltaloomError."""
    lines = chosen.document.lines
    found = function_at(lines, chosen.line())
    if found is None or not found.is_empty:
        raise DeltaloomError("There is no function without a body here any more.")
    instructed = await follows_instructions(server)
    objections: list[str] = []
    for number in range(server.session.settings.security.candidates):
        tell(f"Writing {found.name}")
        body = await (_in_words if instructed else _filled_in)(server, chosen, found, number)
        if not body.strip():
            continue
        edit = _edit(chosen, found, body)
        proposal = Proposal(f"Fill in {found.name}", (edit,), "model", unsafe=True)
        tell("Verifying it")
        last = max(found.end - 1, found.body)
        verdict = await check(server, chosen.path, chosen.document.text, proposal, found.first, last)
        if verdict.accepted:
            return Outcome(
                proposal.title, (edit,), verdict.label(), "Written by the model; look at it.", origin="model"
            )
        objections += verdict.objections
    raise refused(f"body of {found.name}", tuple(objections))


async def _filled_in(server: DeltaloomServer, chosen: Chosen, found: FunctionLines, number: int) -> str:
    lines = chosen.document.lines
    answer = await fill_in(
        server,
        chosen.path,
        "".join(lines[: found.code]),
        found.inner,
        "\n" + "".join(lines[found.end :]),
        stop=StopRules(max_lines=_LINES, block_indent=len(found.inner), blank_lines=2, repeats=2),
        max_new_tokens=_TOKENS,
        candidate=number,
    )
    return f"{found.inner}{answer}".rstrip()


async def _in_words(server: DeltaloomServer, chosen: Chosen, found: FunctionLines, number: int) -> str:
    lines = chosen.document.lines
    header = "".join(lines[found.first : found.code])
    answer = await in_words(
        server,
        chosen,
        found.first,
        system=_SYSTEM,
        user=f"File: {chosen.path}\nWrite the body of this function:\n{fenced(header, 'python')}",
        candidate=number,
    )
    block = code_block(answer)
    if not block:
        return ""
    written = block.split("\n")
    inner = next(
        (one for at in range(len(written)) if (one := function_at(written, at)) and one.name == found.name),
        None,
    )
    if inner is None:
        return ""
    shift = len(found.inner) - len(inner.inner)
    body = written[inner.code : inner.end]
    return "\n".join(_shifted(line, shift) for line in body).rstrip()


def _shifted(line: str, shift: int) -> str:
    if not line.strip():
        return ""
    return " " * shift + line if shift >= 0 else line[-shift:]


def _edit(chosen: Chosen, found: FunctionLines, body: str) -> Edit:
    document = chosen.document
    start = sum(map(len, document.lines[: found.code]))
    end = sum(map(len, document.lines[: max(found.end, found.code)]))
    new = with_line_ends(body + "\n", document.text)
    if start and not document.text[:start].endswith(("\n", "\r")):
        new = document.line_end + new
    return Edit(start, end, new)
