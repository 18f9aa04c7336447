"""Comments of a text, for those that may hold a suppression.

Invariant: what stands in a string is no comment. Where that can't be told (a text that doesn't parse, a
language whose strings are subtle), a comment may be missed, but a string isn't taken for one.
"""

from __future__ import annotations

import io
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deltaloom_server.positions import content_length, split_lines
from deltaloom_server.security.finding import Span
from deltaloom_server.security.languages import language_id

_STRING_STARTS = frozenset(
    kind for name in ("FSTRING_START", "TSTRING_START") if (kind := getattr(tokenize, name, None)) is not None
)
_STRING_ENDS = frozenset(
    kind for name in ("FSTRING_END", "TSTRING_END") if (kind := getattr(tokenize, name, None)) is not None
)


@dataclass(frozen=True, slots=True)
class Comment:
    """One comment on one line, with its opening sign; `alone` where nothing but white space is before it."""

    line: int
    column: int
    text: str
    alone: bool

    def part(self, start: int, end: int) -> Span:
        """The span of some of its characters."""
        return Span(self.line, self.column + start, self.line, self.column + end)


@dataclass(frozen=True, slots=True)
class PythonLayout:
    """Comments of a Python text, and where its lines belong together.

    `joined` are runs of lines that a string or a backslash makes one for `noqa` (which is read on the last).
    `statements` are the first and last lines of its logical lines.
    """

    comments: tuple[Comment, ...]
    joined: tuple[tuple[int, int], ...]
    statements: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class _Style:
    """How a language writes comments and strings. `multiline`: its quotes may span lines."""

    line: tuple[str, ...] = ("#",)
    block: tuple[tuple[str, str], ...] = ()
    quotes: str = "\"'"
    multiline: str = ""
    escapes: bool = True


_C = _Style(("//",), (("/*", "*/"),))
_MARKUP = _Style((), (("<!--", "-->"),), quotes="")
_STYLES = {
    "c": _C,
    "cpp": _C,
    "csharp": _C,
    "css": _Style((), (("/*", "*/"),)),
    "go": _Style(("//",), (("/*", "*/"),), "\"'`", "`"),
    "html": _MARKUP,
    "java": _C,
    "javascript": _Style(("//",), (("/*", "*/"),), "\"'`", "`"),
    "kotlin": _C,
    "less": _C,
    "lua": _Style(("--",)),
    "php": _Style(("//", "#"), (("/*", "*/"),), "\"'", "\"'"),
    "rust": _Style(("//",), (("/*", "*/"),), '"', '"'),
    "scala": _C,
    "scss": _C,
    "shellscript": _Style(quotes="\"'", multiline="\"'"),
    "sql": _Style(("--",), (("/*", "*/"),), "'", "'", escapes=False),
    "svelte": _Style(("//",), (("/*", "*/"), ("<!--", "-->")), "\"'`", "`"),
    "swift": _C,
    "terraform": _Style(("#", "//"), (("/*", "*/"),), '"'),
    "toml": _Style(quotes="\"'"),
    "vue": _Style(("//",), (("/*", "*/"), ("<!--", "-->")), "\"'`", "`"),
    "xml": _MARKUP,
}
_SAME = {
    "javascriptreact": "javascript",
    "jsonc": "javascript",
    "typescript": "javascript",
    "typescriptreact": "javascript",
}
_ANY = _Style(("#", "//", ";"), (("/*", "*/"), ("<!--", "-->")))


def comments(path: str, text: str) -> tuple[Comment, ...]:
    """The comments of a text that isn't Python, in its order."""
    language = language_id(path)
    if language == "json":
        return ()
    style = _STYLES.get(_SAME.get(language, language), _ANY if language == "plaintext" else _Style())
    return tuple(_scan(split_lines(text), style))


def python_layout(text: str) -> PythonLayout:
    """What Python's own tokenizer says; of a text that it gives up on, what stands before that place."""
    lines = [line[: content_length(line)] for line in split_lines(text)]
    found: list[Comment] = []
    joined: list[tuple[int, int]] = []
    statements: list[tuple[int, int]] = []
    strings: list[int] = []
    first: int | None = None
    # Joined by \n alone: the tokenizer knows fewer line ends, and columns stay what they are.
    readline = io.StringIO("\n".join(lines)).readline
    try:
        for token in tokenize.generate_tokens(readline):
            row, last = token.start[0] - 1, token.end[0] - 1
            if token.type == tokenize.COMMENT:
                column = token.start[1]
                found.append(Comment(row, column, token.string, not lines[row][:column].strip()))
            elif token.type == tokenize.STRING and last > row:
                joined.append((row, last))
            elif token.type in _STRING_STARTS:
                strings.append(row)
            elif token.type in _STRING_ENDS and strings:
                start = strings.pop()
                if last > start:
                    joined.append((start, last))
            elif token.type == tokenize.NEWLINE:
                statements.append((row if first is None else first, row))
                first = None
            if first is None and token.type not in _LAYOUT:
                first = row
    except (tokenize.TokenError, SyntaxError, ValueError, RecursionError):
        pass
    ends = {one.line for one in found}
    continued = [at for at, line in enumerate(lines[:-1]) if line.endswith("\\") and at not in ends]
    return PythonLayout(
        tuple(found), _merged([*joined, *((at, at + 1) for at in continued)]), tuple(statements)
    )


_LAYOUT = frozenset(
    (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
)


def _merged(runs: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Runs that share a line become one."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(runs):
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)


def _scan(lines: Sequence[str], style: _Style) -> Iterator[Comment]:
    """Comments line by line; a block comment of several lines is one comment a line."""
    closing = quote = ""
    for number, whole in enumerate(lines):
        line = whole[: content_length(whole)]
        at = 0
        if quote and quote not in style.multiline:
            quote = ""
        while at < len(line):
            if closing:
                end = line.find(closing, at)
                stop = len(line) if end < 0 else end + len(closing)
                yield Comment(number, at, line[at:stop], not line[:at].strip())
                closing = closing if end < 0 else ""
                at = stop
            elif quote:
                at, quote = _string(line, at, quote, style)
            elif sign := next((one for one in style.line if line.startswith(one, at)), ""):
                if _begins(line, at, sign):
                    yield Comment(number, at, line[at:], not line[:at].strip())
                    break
                at += len(sign)
            elif block := next((one for one in style.block if line.startswith(one[0], at)), None):
                closing = block[1]
                end = line.find(closing, at + len(block[0]))
                stop = len(line) if end < 0 else end + len(closing)
                yield Comment(number, at, line[at:stop], not line[:at].strip())
                closing = closing if end < 0 else ""
                at = stop
            else:
                quote = line[at] if line[at] in style.quotes else ""
                at += 1


def _string(line: str, at: int, quote: str, style: _Style) -> tuple[int, str]:
    """Past the string's end, or past the line's with the string still open."""
    while at < len(line):
        if line[at] == "\\" and style.escapes:
            at += 2
            continue
        at += 1
        if line[at - 1] == quote:
            return at, ""
    return at, quote


def _begins(line: str, at: int, sign: str) -> bool:
    """`#` and `;` begin a comment after white space only (`$#`, `a;b`, anchors), `//` not in a URL."""
    before = line[at - 1 : at]
    if sign in ("#", ";"):
        return not before or before.isspace()
    return before != ":"
