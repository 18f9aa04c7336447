"""Write a function's docstring.

Invariant: only a string is added, as the body's first statement; the code stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from deltaloom_model.api import StopRules

from ..assist.answers import fenced
from ..assist.filling import fill_in
from ..errors import DeltaloomError
from ..security.proposal import Edit, Proposal
from ..text_lines import with_line_ends
from . import Chosen, Offer, Outcome, Place, Tell
from .model_code import check, follows_instructions, in_words, refused
from .python_functions import FunctionLines, function_at

if TYPE_CHECKING:
    from ..language_server import DeltaloomServer

DO = "writeDocstring"
KIND = "refactor.rewrite.deltaloom"

_LINES = 12
_TOKENS = 120
_SYSTEM = (
    "You write docstrings: what a function does for its caller, in plain words, in the style of this "
    "repository's other docstrings. Answer with the docstring's text alone, without quotes or code."
)


def offer(place: Place) -> Iterator[Offer]:
    """Where the cursor is in a function without one."""
    if place.path.endswith(".py"):
        found = function_at(place.document.lines, place.first_line)
        if found is not None and not found.has_docstring and found.end > found.body:
            yield Offer(f"Write a docstring for {found.name}", {"line": place.first_line})


async def carry_out(server: DeltaloomServer, chosen: Chosen, tell: Tell) -> Outcome:
    """The first candidate that the gate accepts. Raises DeltaloomError."""
    document = chosen.document
    found = function_at(document.lines, chosen.line())
    if found is None or found.has_docstring:
        raise DeltaloomError("There is no function without a docstring here any more.")
    instructed = await follows_instructions(server)
    objections: list[str] = []
    for number in range(server.session.settings.security.candidates):
        tell(f"Describing {found.name}")
        text = await (_in_words if instructed else _filled_in)(server, chosen, found, number)
        literal = _literal(text, found.inner)
        if literal is None:
            continue
        at = sum(map(len, document.lines[: found.body]))
        edit = Edit(at, at, with_line_ends(f"{found.inner}{literal}\n", document.text))
        proposal = Proposal(f"Write a docstring for {found.name}", (edit,), "model")
        verdict = await check(server, chosen.path, document.text, proposal, found.first, found.end - 1)
        if verdict.accepted:
            return Outcome(proposal.title, (edit,), verdict.label(), origin="model")
        objections += verdict.objections
    raise refused(f"docstring for {found.name}", tuple(objections))


async def _filled_in(server: DeltaloomServer, chosen: Chosen, found: FunctionLines, number: int) -> str:
    lines = chosen.document.lines
    answer = await fill_in(
        server,
        chosen.path,
        "".join(lines[: found.body]),
        f'{found.inner}"""',
        f'"""\n{"".join(lines[found.body :])}',
        stop=StopRules(max_lines=_LINES, block_indent=len(found.inner), repeats=2),
        max_new_tokens=_TOKENS,
        candidate=number,
    )
    return answer.partition('"""')[0]


async def _in_words(server: DeltaloomServer, chosen: Chosen, found: FunctionLines, number: int) -> str:
    code = "".join(chosen.document.lines[found.first : found.end])
    return await in_words(
        server,
        chosen,
        found.first,
        system=_SYSTEM,
        user=f"File: {chosen.path}\nDescribe this function:\n{fenced(code, 'python')}",
        max_new_tokens=_TOKENS * 3,
        tools=False,
        candidate=number,
    )


def _literal(text: str, inner: str) -> str | None:
    """The words as a string literal at this indentation; None where they are none."""
    words = text.strip().strip("`").removeprefix('"""').removesuffix('"""').strip()
    if not words or '"""' in words or "\\" in words or not any(map(str.isalpha, words)):
        return None
    lines = [line.rstrip() for line in words.split("\n")]
    if len(lines) == 1:
        return f'"""{lines[0]}"""' if not lines[0].endswith('"') else f'"""{lines[0]} """'
    rest = [f"{inner}{line.strip()}" if line.strip() else "" for line in lines[1:]]
    return "\n".join((f'"""{lines[0]}', *rest, f'{inner}"""'))
