"""What is kept of docstrings and doc comments: the first paragraph, closed again where it was cut.

Invariant: pure functions of one comment's or string's text.
"""

from __future__ import annotations

import re

_MOST = 400
_STRING = re.compile(r"""([rRuUbB]{0,2})(\"{3}|'{3}|"|')(.*?)\2?\Z""", re.DOTALL)
_PARAGRAPH_END = re.compile(r"\n[ \t\f]*\n")
_MARKER = re.compile(r"[ \t]*(?:/\*+!?|\*+/|///?!?|\*|#+)?[ \t]?")
_TAG = re.compile(r"[@\\](?:param|returns?|throws|raises|see|since|author|private|example|deprecated)\b")


def _shorten(text: str) -> str:
    if len(text) <= _MOST:
        return text
    cut = text[:_MOST]
    return (cut[: cut.rfind("\n")] if "\n" in cut else cut.rpartition(" ")[0]).rstrip() + " …"


def docstring(text: str) -> str:
    """The first paragraph of a Python docstring, in its own quotes."""
    match = _STRING.match(text)
    if match is None:
        return ""
    prefix, quotes, content = match.groups()
    first = _shorten(_PARAGRAPH_END.split(content.strip(), maxsplit=1)[0].rstrip())
    return f"{prefix}{quotes}{first}{quotes}" if first else ""


def _words(line: str) -> str:
    """A comment's line without its markers."""
    return _MARKER.sub("", line, count=1).strip().removesuffix("*/").strip()


def block_comment(text: str) -> str:
    """The first paragraph of a `/* … */`, up to its first tag."""
    kept: list[str] = []
    for line in text.split("\n"):
        words = _words(line)
        if _TAG.match(words) or (not words and any(_words(earlier) for earlier in kept)):
            break
        kept.append(line.rstrip())
    if not any(_words(line) for line in kept):
        return ""
    shown = _shorten("\n".join(kept))
    return shown if shown.endswith("*/") else f"{shown.rstrip()} */"


def line_comments(lines: list[str]) -> list[str]:
    """The first paragraph of consecutive line comments, each with its marker."""
    kept: list[str] = []
    size = 0
    for line in lines:
        words = _words(line)
        if not words or _TAG.match(words) or size > _MOST:
            break
        kept.append(line.strip())
        size += len(line)
    return kept
