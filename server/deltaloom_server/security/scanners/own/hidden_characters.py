"""DL002: characters that nobody sees, in code (CWE-1007).

Marks of writing direction let code read in another order than it runs ("Trojan Source", CVE-2021-42574);
characters without width let two names look alike. In Python the marks of direction are bandit's rule B613,
and reported under that name.

Not seen: letters that look like others. Zero-width joiners inside words of scripts and emoji that need them
are fine, and so is a byte order mark at the very start.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from deltaloom_server.positions import split_lines
from deltaloom_server.security.finding import Finding, Span
from deltaloom_server.security.languages import is_python
from deltaloom_server.security.rules import rule_info

RULE = "DL002"
_DIRECTION = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_INVISIBLE = "\u200b\u2060\u180e\u00ad\u2061\u2062\u2063\u2064\ufeff\u200c\u200d\u200e\u200f"
_HIDDEN = re.compile(f"[{_DIRECTION}{_INVISIBLE}]|[\U000e0000-\U000e007f]")
_JOINERS = frozenset("\u200c\u200d\u200e\u200f\u00ad") | {chr(tag) for tag in range(0xE0020, 0xE0080)}


def scan(path: str, text: str) -> Iterator[Finding]:
    """One finding for the first hidden character of each kind on each line."""
    if text.isascii() or _HIDDEN.search(text) is None:
        return
    python = is_python(path)
    for number, line in enumerate(split_lines(text)):
        if line.isascii():
            continue
        seen: set[str] = set()
        for match in _HIDDEN.finditer(line):
            at, letter = match.start(), match[0]
            if (number == at == 0 and letter == "\ufeff") or (letter in _JOINERS and _at_home(line, at)):
                continue
            rule = "B613" if python and letter in _DIRECTION else RULE
            if rule not in seen:
                seen.add(rule)
                yield _finding(path, rule, letter, Span(number, at, number, at + 1))


def _at_home(line: str, at: int) -> bool:
    """Between letters or signs beyond ASCII, where scripts and emoji need it."""
    around = line[max(at - 1, 0) : at] + line[at + 1 : at + 2]
    return any(not letter.isascii() for letter in around)


def _finding(path: str, rule: str, letter: str, span: Span) -> Finding:
    info = rule_info(rule)
    name = unicodedata.name(letter, "a character without a name").lower()
    said = "shows code in another order than it runs" if letter in _DIRECTION else "can't be seen"
    return Finding(
        rule=rule,
        message=f"A hidden character (U+{ord(letter):04X}, {name}) {said}.",
        path=path,
        span=span,
        severity=info.severity,
        confidence=info.confidence,
        scanners=("deltaloom",),
        cwe=info.cwe,
        help_url=info.help_url,
    )
