"""Line ends on the way to a model, which reads and writes `\\n` only, and back.

Invariant: what comes back ends its lines as the document does that it is for.
"""

from __future__ import annotations

from .positions import content_length, split_lines


def with_newlines(text: str) -> str:
    """`text` with every line end as `\\n`."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def with_line_ends(text: str, like: str) -> str:
    """`text`, whose lines end in `\\n`, with the ends that `like` has in its first line."""
    first = split_lines(like)[0]
    end = first[content_length(first) :] or "\n"
    return text if end == "\n" else text.replace("\n", end)
