"""Line ends of text that comes from a model, which writes `\\n` only."""

from __future__ import annotations

from .positions import content_length, split_lines


def with_line_ends(text: str, like: str) -> str:
    """`text`, whose lines end in `\\n`, with the ends that `like` has in its first line."""
    first = split_lines(like)[0]
    end = first[content_length(first) :] or "\n"
    return text if end == "\n" else text.replace("\n", end)
