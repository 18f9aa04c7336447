"""Suppress a finding with a comment on its line, for a person who knows better.

Invariant: only the one rule is suppressed, and only a comment is added.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..errors import DeltaloomError
from ..positions import content_length
from ..security.finding import UNUSED_SUPPRESSION, Finding
from ..security.proposal import Edit
from . import Chosen, Offer, Outcome, Place, Tell

if TYPE_CHECKING:
    from ..language_server import DeltaloomServer

DO = "suppress"
KIND = "quickfix.suppress.deltaloom"
_LONG_QUOTES = ('"""', "'''")
_COMMENTS = {".py": "#", ".pyi": "#", ".js": "//", ".jsx": "//", ".ts": "//", ".tsx": "//", ".java": "//",
             ".c": "//", ".h": "//", ".go": "//", ".php": "//"}  # fmt: skip


def offer(place: Place) -> Iterator[Offer]:
    """One for each finding whose line can take a comment."""
    suffix = place.path[place.path.rfind(".") :]
    if suffix not in _COMMENTS:
        return
    for finding in place.findings:
        if finding.rule == UNUSED_SUPPRESSION:
            continue
        edit = _comment(place, finding, _COMMENTS[suffix])
        if edit is not None:
            diagnostic = place.diagnostics.get(finding.identity)
            yield Offer(
                f"Suppress {finding.rule} on this line",
                diagnostics=(diagnostic,) if diagnostic is not None else (),
                edits=(edit,),
            )


async def carry_out(server: DeltaloomServer, chosen: Chosen, tell: Tell) -> Outcome:
    """Never needed: the edit comes with the offer."""
    raise DeltaloomError("There is nothing left to do for this action; choose it again.")


def _comment(place: Place, finding: Finding, mark: str) -> Edit | None:
    """At the line's end; none inside a text of several lines, or beside a comment of the same kind, of which
    tools read only the first."""
    number = finding.span.end_line
    lines = place.document.lines
    if number >= len(lines) or finding.span.start_line != number:
        return None
    length = content_length(lines[number])
    content = lines[number][:length]
    above = "".join(lines[:number])
    if content.rstrip().endswith("\\") or any(
        one.count(quote) % 2 for one in (above, content) for quote in _LONG_QUOTES
    ):
        return None
    comment = next((one for one in _comments(finding, mark) if one.split()[0][:5] not in content), None)
    if comment is None:
        return None
    at = len(above) + length
    return Edit(at, at, f"  {mark} {comment}")


def _comments(finding: Finding, mark: str) -> Iterator[str]:
    """Those that would do, the best first."""
    names = (finding.rule, *finding.aliases)
    if mark == "//":
        yield f"nosemgrep: {finding.rule}"
    elif finding.rule.startswith("secret/"):
        yield "pragma: allowlist secret"
    else:
        yield from (f"noqa: {name}" for name in names if name.startswith("S"))
        yield from (f"nosec {name}" for name in names if name.startswith(("B", "DL")))
