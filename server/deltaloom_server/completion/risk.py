"""Would a suggestion add a security finding?

Invariant: only findings that the text wouldn't have without the suggestion count; a suggestion in which
nothing could be reported costs no scan.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

from ..positions import split_lines

if TYPE_CHECKING:
    from ..security.finding import Finding, Inspection

_SUSPICIOUS = re.compile(
    r"shell|system|popen|exec|eval|compile|pickle|marshal|shelve|dill|yaml|md5|sha1|\bDES\b|ARC4|Blowfish|"
    r"verify|ssl|_unverified|CERT_NONE|random\.|mktemp|/tmp|/var/tmp|chmod|umask|0\.0\.0\.0|extractall|"
    r"password|passwd|secret|token|api_?key|SELECT|INSERT|UPDATE|DELETE|requests\.|httpx\.|urlopen|"
    r"debug\s*=|autoescape|mark_safe|Markup|etree|minidom|xml|telnet|ftplib|AutoAddPolicy|paramiko|"
    r"\bjwt\b|render_template_string|torch\.load|redirect\(|set_cookie|digest|snmp|logging\.config",
    re.IGNORECASE,
)


_CODE = re.compile(r"""[("'=]|0o|import""")
"""What a suggestion without any of these says can't be reported: names, operators, closing brackets."""


class Unknown(Exception):
    """The text can't be scanned as it is."""


def may_add_finding(suggestion: str) -> bool:
    """Could any rule be about it at all?"""
    return bool(_CODE.search(suggestion))


def is_suspicious(suggestion: str, line: str) -> bool:
    """Is there a word in the suggestion, or in the line that it completes, that rules are about? For texts
    that are being written and don't parse, so that no scanner can tell."""
    return bool(_SUSPICIOUS.search(suggestion) or _SUSPICIOUS.search(line))


async def added_finding(
    before: str,
    after: str,
    first_line: int,
    inspect: Callable[[str], Awaitable[Inspection]],
    shown: Callable[[Inspection], Iterable[Finding]],
    latest: Inspection | None = None,
) -> Finding | None:
    """A finding that `after` has and `before` hasn't; the suggestion begins in `first_line` (from 0).

    Raises Unknown where `after` can't be scanned.

    A text that is being written often doesn't parse, so that nothing can be said of `before`: what `latest`,
    the last inspection of the document, has on that line isn't the suggestion's doing either.
    """
    inserted = len(split_lines(after)) - len(split_lines(before))
    last = first_line + max(inserted, 0)
    inspection = await inspect(after)
    if inspection.unscanned:
        raise Unknown
    found = [
        one for one in shown(inspection) if one.span.start_line <= last and one.span.end_line >= first_line
    ]
    if not found:
        return None
    earlier = latest.findings if latest is not None else ()
    there = [
        one.rule
        for one in (*shown(await inspect(before)), *earlier)
        if one.span.start_line <= first_line <= one.span.end_line
    ]
    return next((finding for finding in found if finding.rule not in there), None)
