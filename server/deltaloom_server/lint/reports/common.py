"""What several formats need: escaped names and messages, and which findings they show.

Invariant: what comes out of `plain` has no character that a terminal, a log or an XML parser acts on.
"""

from __future__ import annotations

import os
import unicodedata
from hashlib import blake2b
from urllib.parse import quote

from deltaloom_server.lint.outcome import Outcome, Replacement, Reported
from deltaloom_server.positions import PositionEncoding, split_lines, units_of_column
from deltaloom_server.security.finding import Finding, Unscanned

TOOL = "Deltaloom"
_ACTED_ON = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def plain(text: str) -> str:
    """Text in one line: control, direction and other invisible characters are written as escapes."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_plain(letter) for letter in text)


def _plain(letter: str) -> str:
    if letter == "\t" or unicodedata.category(letter) not in _ACTED_ON:
        return " " if letter == "\t" else letter
    return letter.encode("unicode_escape", "backslashreplace").decode("ascii")


def as_unicode(text: str) -> str:
    """Text as it is, but for halves of characters and bytes of names that are none, which JSON can't hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def uri(path: str) -> str:
    """A relative path as a relative URI reference (RFC 3986): every byte that isn't plain is quoted."""
    return quote(os.fsencode(path), safe="/")


def key(finding: Finding) -> str:
    """32 hex digits that no other finding of the run has: the identity, and the file it is in."""
    words = f"{finding.path}\0{finding.identity}".encode("utf-8", "surrogatepass")
    return blake2b(words, digest_size=16).hexdigest()


def shown(outcome: Outcome) -> tuple[Reported, ...]:
    """The findings that are new and not suppressed, in the order of path and place."""
    return tuple(one for one in outcome.findings if one.state == "new" and one.finding.suppressed is None)


def rule_title(finding: Finding) -> str:
    """The rule and its weakness, as "S602 (CWE-78)"."""
    return plain(finding.rule) + (f" ({cwe(finding)})" if finding.cwe is not None else "")


def cwe(finding: Finding) -> str:
    """As "CWE-78"; "" where there is none."""
    return f"CWE-{finding.cwe}" if finding.cwe is not None else ""


def unscanned_sentence(one: Unscanned) -> str:
    """What wasn't looked at by whom, and why; without the path."""
    did = "failed" if one.failed else "did not look at this file"
    return plain(f"{one.scanner} {did}: {one.reason}")


def byte_range(replacement: Replacement) -> tuple[int, int]:
    """The first and the last column of a replacement, from 0, in UTF-8 bytes."""
    lines = split_lines(replacement.before)
    span = replacement.span
    last = min(span.end_line - span.start_line, len(lines) - 1)
    return (
        units_of_column(lines[0], span.start_column, PositionEncoding.UTF8),
        units_of_column(lines[last], span.end_column, PositionEncoding.UTF8),
    )
