"""Private keys: a marker with key material after it.

Invariant: a mere mention of the marker, as code that reads keys has it, is nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_GAP = r"(?:\\r|\\n|[\s\"'`+,;()]|[A-Za-z-]+: [^\n]{0,200}\n){1,60}"
"""What may stand between a marker and the key: line ends, written out or not, quotes, and header lines."""
_BLOCK = re.compile(
    r"-----BEGIN (?P<name>(?:[A-Z0-9]+ ){0,4}PRIVATE KEY(?: BLOCK)?)-----"
    + _GAP + r"(?P<key>[A-Za-z0-9+/=]{24,})"
)  # fmt: skip
_PUTTY = re.compile(r"PuTTY-User-Key-File-\d: \S+[^\n]*\n")
_LONGEST = 32_000
_LEAST_VARIETY = 10


def find(text: str) -> Iterator[tuple[int, int]]:
    """Where private keys stand, as code points [start, end), markers included."""
    if "PRIVATE KEY" in text:
        for match in _BLOCK.finditer(text):
            if len(set(match["key"])) >= _LEAST_VARIETY:
                marker = f"-----END {match['name']}-----"
                end = text.find(marker, match.end(), match.end() + _LONGEST)
                yield match.start(), end + len(marker) if end >= 0 else match.end()
    if "PuTTY-User-Key-File" in text:
        for match in _PUTTY.finditer(text):
            yield match.start(), match.end() - 1
