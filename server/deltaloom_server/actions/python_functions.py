"""Functions of a Python text by its lines alone: quick enough for a menu, and wrong at worst about what is
offered, since what is done is verified by others.

Invariant: no text takes longer than its lines; what isn't clearly a function isn't called one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_DEF = re.compile(r"([ \t]*)(?:async[ \t]+)?def[ \t]+(\w+)[ \t]*(?:\[[^\]]*\])?[ \t]*\(")
_STRING = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|#.*""")
_QUOTES = ('"""', "'''")
_EMPTY = re.compile(r"(?:pass|\.\.\.|raise NotImplementedError(?:\(.*\))?|#.*)?\s*\Z")
_FAR = 400
"""Lines above the cursor in which a function's header is looked for."""
_LONG_HEADER = 60


@dataclass(frozen=True, slots=True)
class FunctionLines:
    """Lines from 0. The header is [first, body), the body [body, end) with the docstring's lines first:
    [body, code). `indent` is the header's, `inner` the body's."""

    name: str
    first: int
    body: int
    code: int
    end: int
    indent: str
    inner: str
    is_empty: bool

    @property
    def has_docstring(self) -> bool:
        return self.code > self.body


def function_at(lines: Sequence[str], line: int) -> FunctionLines | None:
    """The innermost function whose header or body a line belongs to."""
    limit = None
    for number in range(min(line, len(lines) - 1), max(-1, line - _FAR), -1):
        text = lines[number]
        if not text.strip():
            continue
        width = _width(text)
        match = _DEF.match(text)
        if match is not None and (limit is None or width < limit):
            found = _function(lines, number, match)
            if found is not None and line < max(found.end, found.body):
                return found
        if number < line and text.lstrip()[0] in ")]}":
            continue  # the end of a header, or of a statement, over several lines
        if number < line and (limit is None or width < limit):
            limit = width
        elif limit is None:
            limit = width + (1 if number == line else 0)
    return None


def _function(lines: Sequence[str], first: int, match: re.Match[str]) -> FunctionLines | None:
    body = _header_end(lines, first)
    if body is None:
        return None
    indent = match[1]
    code = _docstring_end(lines, body, len(indent))
    end = code
    for number in range(code, len(lines)):
        if lines[number].strip():
            if _width(lines[number]) <= len(indent):
                break
            end = number + 1
    inner = next((_indent(line) for line in lines[body:end] if line.strip()), indent + "    ")
    is_empty = all(_EMPTY.match(line.strip()) for line in lines[code:end])
    return FunctionLines(match[2], first, body, code, end, indent, inner, is_empty)


def _header_end(lines: Sequence[str], first: int) -> int | None:
    """The line after the one with the header's colon; None for a body on the header's own line."""
    depth = 0
    for number in range(first, min(first + _LONG_HEADER, len(lines))):
        text = _STRING.sub(lambda found: "" if found[0][0] == "#" else "''", lines[number]).rstrip()
        depth += sum(text.count(one) for one in "([{") - sum(text.count(one) for one in ")]}")
        if depth == 0 and text.endswith(":"):
            return number + 1
        if depth < 0 or (depth == 0 and number > first and ":" in text):
            return None
    return None


def _docstring_end(lines: Sequence[str], body: int, width: int) -> int:
    """The line after the docstring, whose own lines may stand anywhere; `body` where there is none."""
    first = next((at for at in range(body, len(lines)) if lines[at].strip()), len(lines))
    if first == len(lines) or _width(lines[first]) <= width:
        return body
    start = lines[first].strip().lstrip("rRuU")
    quote = next((one for one in _QUOTES if start.startswith(one)), "")
    if not quote:
        return first + 1 if start[:1] in ("'", '"') and start[-1:] == start[:1] else body
    if start.count(quote) >= 2:
        return first + 1
    return next((at + 1 for at in range(first + 1, len(lines)) if quote in lines[at]), body)


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" \t"))]


def _width(line: str) -> int:
    return len(_indent(line))
