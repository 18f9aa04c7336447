"""Credentials in a text, by the shapes that those who issue them give them.

Invariant: nothing here returns, raises or logs any part of a credential, and none is sent anywhere.

Works inside the analysis process. A line over `_PIECE` long (minified code) is looked at in overlapping
pieces, so that the time stays in proportion to the text.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

from deltaloom_server.positions import content_length, line_starts, split_lines
from deltaloom_server.security.analysis.limits import READ_BYTES, oversize, too_large
from deltaloom_server.security.analysis.messages import ScanResult
from deltaloom_server.security.finding import Finding, Span, Unscanned
from deltaloom_server.security.rules import rule_info, secret_rule
from deltaloom_server.security.scanners import secret_blocks, secret_words
from deltaloom_server.security.scanners.secret_detectors import detectors
from deltaloom_server.security.scanners.secret_filters import is_token

_PIECE = 8000
_OVERLAP = 2000
_PRIVATE_KEY = "Private Key"


def scan(path: str, text: str, lines: Sequence[tuple[int, int]] | None = None) -> ScanResult:
    """Credentials in the text, or in runs of its lines [first, last] from 0. Blocking."""
    if oversize(text, READ_BYTES):
        return ScanResult((), (Unscanned(path, "secrets", too_large(READ_BYTES)),))
    all_lines = split_lines(text)
    wanted = _numbers(lines, len(all_lines))
    found = [*_keys(text, all_lines, wanted), *_tokens(all_lines, wanted), *_values(path, all_lines, wanted)]
    return ScanResult(tuple(_finding(path, kind, span) for kind, span in _apart(found)))


def _keys(text: str, lines: Sequence[str], wanted: Sequence[int]) -> Iterator[tuple[str, Span]]:
    starts = line_starts(lines[:-1])
    chosen = set(wanted)
    for start, end in secret_blocks.find(text):
        first, last = bisect_right(starts, start) - 1, bisect_right(starts, end - 1) - 1
        if not chosen.isdisjoint(range(first, last + 1)):
            yield _PRIVATE_KEY, Span(first, start - starts[first], last, end - starts[last])


def _tokens(lines: Sequence[str], wanted: Iterable[int]) -> Iterator[tuple[str, Span]]:
    pieces = list(_pieces(lines, wanted))
    # One search a pattern, in C: no pattern matches across the line ends between the pieces.
    joined = "\n".join(piece for _, _, piece in pieces)
    starts = line_starts(f"{piece}\n" for _, _, piece in pieces[:-1])
    for detector in detectors():
        for start, end in detector.find(joined):
            at = bisect_right(starts, start) - 1
            number, column, _ = pieces[at]
            if is_token(joined[start:end], detector.name):
                column += start - starts[at]
                yield detector.kind, Span(number, column, number, column + end - start)


def _values(path: str, lines: Sequence[str], wanted: Iterable[int]) -> Iterator[tuple[str, Span]]:
    patterns = secret_words.patterns(path)
    for number in wanted if patterns else ():
        place = secret_words.find(patterns, lines[number])
        if place is not None:
            yield secret_words.KIND, Span(number, place[0], number, place[1])


def _pieces(lines: Sequence[str], wanted: Iterable[int]) -> Iterator[tuple[int, int, str]]:
    """(line, column, text) of each piece."""
    for number in wanted:
        line = lines[number][: content_length(lines[number])]
        for column in range(0, max(len(line) - _OVERLAP, 1), _PIECE - _OVERLAP):
            yield number, column, line[column : column + _PIECE]


def _numbers(lines: Sequence[tuple[int, int]] | None, count: int) -> Sequence[int]:
    if lines is None:
        return range(count)
    return sorted({n for first, last in lines for n in range(max(first, 0), min(last + 1, count))})


def _apart(found: Iterable[tuple[str, Span]]) -> list[tuple[str, Span]]:
    """One for each place: of those that share a character the first, as the better ones are told first."""
    kept: list[tuple[str, Span]] = []
    by_line: dict[int, list[Span]] = {}
    for kind, span in found:
        numbers = range(span.start_line, span.end_line + 1)
        if not any(_overlap(span, other) for number in numbers for other in by_line.get(number, ())):
            kept.append((kind, span))
            for number in numbers:
                by_line.setdefault(number, []).append(span)
    return kept


def _overlap(one: Span, other: Span) -> bool:
    return (one.start_line, one.start_column) < (other.end_line, other.end_column) and (
        other.start_line, other.start_column,
    ) < (one.end_line, one.end_column)  # fmt: skip


def _finding(path: str, kind: str, span: Span) -> Finding:
    info = rule_info(secret_rule(kind))
    return Finding(
        rule=info.rule,
        message=f"{_named(kind)} in the text; revoke it, and read its successor from outside the code.",
        path=path,
        span=span,
        severity=info.severity,
        confidence=info.confidence,
        scanners=("secrets",),
        aliases=(kind,),
        cwe=info.cwe,
        help_url=info.help_url,
    )


def _named(kind: str) -> str:
    return "Password, key or secret" if kind == secret_words.KIND else kind
