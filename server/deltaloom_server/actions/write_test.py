"""Write a test of a function, in a file of its own.

Invariant: no existing file is touched; the test parses, imports what it tests and adds no finding.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from deltaloom_model.api import StopRules

from ..assist.answers import code_block, fenced
from ..assist.filling import fill_in
from ..context.roots import absolute_path, split_shown
from ..errors import DeltaloomError
from ..security.proposal import Edit, Proposal
from . import Chosen, NewFile, Offer, Outcome, Place, Tell
from .model_code import check, follows_instructions, in_words, refused
from .python_functions import FunctionLines, function_at

if TYPE_CHECKING:
    from ..language_server import DeltaloomServer

DO = "writeTest"
KIND = "refactor.rewrite.deltaloom"

_LINES = 24
_TOKENS = 240
_SYSTEM = (
    "You write one pytest test file for one function, in the style of this repository's tests: a few cases "
    "that matter, each a function of its own. Answer with one fenced code block that holds the whole file."
)


def offer(place: Place) -> Iterator[Offer]:
    """Where the cursor is in a function of a module, not of a test."""
    name = place.path.rpartition("/")[2]
    if not name.endswith(".py") or name.startswith("test_") or name == "conftest.py":
        return
    found = function_at(place.document.lines, place.first_line)
    if found is not None and not found.is_empty and not found.indent and not found.name.startswith("_"):
        yield Offer(f"Write a test for {found.name}", {"line": place.first_line})


async def carry_out(server: DeltaloomServer, chosen: Chosen, tell: Tell) -> Outcome:
    """The first candidate that the gate accepts. Raises DeltaloomError."""
    found = function_at(chosen.document.lines, chosen.line())
    if found is None or found.indent:
        raise DeltaloomError("There is no function to test here any more.")
    path = _free_path(server, chosen.path, found.name)
    instructed = await follows_instructions(server)
    objections: list[str] = []
    for number in range(server.session.settings.security.candidates):
        tell(f"Writing a test for {found.name}")
        text = await (_in_words if instructed else _filled_in)(server, chosen, found, path, number)
        if f"{found.name}(" not in text or "assert" not in text:
            objections.append("the model's test checks nothing")
            continue
        proposal = Proposal(f"Write a test for {found.name}", (Edit(0, 0, text),), "model")
        verdict = await check(server, path, "", proposal, 0, 0)
        if verdict.accepted:
            return Outcome(
                proposal.title,
                (),
                verdict.label(),
                "Written by the model and not run; look at it.",
                unsafe=True,
                origin="model",
                new_file=NewFile(path, text),
            )
        objections += verdict.objections
    raise refused(f"test of {found.name}", tuple(objections))


async def _filled_in(
    server: DeltaloomServer, chosen: Chosen, found: FunctionLines, path: str, number: int
) -> str:
    head = f"from {_module(server, chosen.path)} import {found.name}\n\n\ndef test_{found.name}():\n"
    answer = await fill_in(
        server,
        path,
        head,
        "    ",
        "\n",
        stop=StopRules(max_lines=_LINES, block_indent=4, blank_lines=1, repeats=2),
        max_new_tokens=_TOKENS,
        candidate=number,
    )
    return f"{head}    {answer.rstrip()}\n"


async def _in_words(
    server: DeltaloomServer, chosen: Chosen, found: FunctionLines, path: str, number: int
) -> str:
    code = "".join(chosen.document.lines[found.first : found.end])
    told = f"The function stands in {chosen.path} and is imported from {_module(server, chosen.path)}."
    answer = await in_words(
        server,
        chosen,
        found.first,
        system=_SYSTEM,
        user=f"{told} Write {path} for it:\n{fenced(code, 'python')}",
        candidate=number,
    )
    block = code_block(answer)
    return f"{block.rstrip()}\n" if block else ""


def _module(server: DeltaloomServer, path: str) -> str:
    """How a file of the workspace is imported: from `src/` or `lib/` where it stands in one."""
    parts = _split(server, path)[1].removesuffix(".py").split("/")
    while len(parts) > 1 and parts[0] in ("src", "lib"):
        parts = parts[1:]
    if len(parts) > 1 and parts[-1] == "__init__":
        parts = parts[:-1]
    return ".".join(parts)


def _free_path(server: DeltaloomServer, path: str, name: str) -> str:
    """`tests/test_module_name.py`, with a number where that exists already."""
    prefix, below = _split(server, path)
    module = below.rpartition("/")[2].removesuffix(".py")
    beside = f"{below.rpartition('/')[0]}/".lstrip("/")
    folder = f"{prefix}{'tests/' if _exists(server, f'{prefix}tests') else beside}"
    for number in range(1, 100):
        candidate = f"{folder}test_{module}_{name}{f'_{number}' if number > 1 else ''}.py"
        if not _exists(server, candidate):
            return candidate
    raise DeltaloomError(f"There are tests enough of {name} already; remove one of them first.")


def _split(server: DeltaloomServer, path: str) -> tuple[str, str]:
    """The name of the folder that a shown path begins with, where there are several, and the rest."""
    found = split_shown(path, server.session.roots)
    below = found[1] if found is not None else path
    return path[: len(path) - len(below)], below


def _exists(server: DeltaloomServer, path: str) -> bool:
    absolute = absolute_path(path, server.session.roots)
    return absolute is not None and os.path.lexists(absolute)
