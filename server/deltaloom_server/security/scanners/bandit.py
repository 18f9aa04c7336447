"""Bandit, in process: for the analysis process only, as it parses what it is given.

Invariant: no configuration of the tree and no `nosec` counts, only bandit's own tests run, and a text that
bandit looked at only in part is told.

The way in is bandit's tree visitor, which is private (`BanditManager._execute_ast_visitor` is what calls it),
so exactly one version is known to work.
"""

from __future__ import annotations

import ast
import io
import logging
import sys
import tokenize
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from types import MappingProxyType
from typing import Any, Final

import bandit
from bandit.core import extension_loader
from bandit.core.config import BanditConfig
from bandit.core.meta_ast import BanditMetaAst
from bandit.core.metrics import Metrics
from bandit.core.node_visitor import BanditNodeVisitor
from bandit.core.test_set import BanditTestSet
from bandit.core.tester import BanditTester
from bandit.plugins.trojansource import BIDI_CHARACTERS

from deltaloom_server.positions import split_lines
from deltaloom_server.security.analysis.limits import PARSED_BYTES, oversize, too_large
from deltaloom_server.security.analysis.messages import ScanResult
from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.finding import Confidence, Finding, Severity, Span, Unscanned
from deltaloom_server.security.rules import rule_info
from deltaloom_server.security.scanners.bandit_place import reported_node

KNOWN_VERSION: Final = "1.9.4"

_NAME = "/text.py"
"""Bandit looks at its files' folders for `__init__.py`: there is no folder here."""
_MARK = "\ufeff"
_VISIT_FRAMES = 12_000
"""Python's parser gives no tree deeper than three times its own limit of 1,000."""
_SEVERITY: Mapping[str, Severity] = MappingProxyType({"LOW": "low", "MEDIUM": "medium", "HIGH": "high"})
_CONFIDENCE: Mapping[str, Confidence] = MappingProxyType({"LOW": "low", "MEDIUM": "medium", "HIGH": "high"})
_QUOTES_SECRET = frozenset({"B105", "B106", "B107"})
"""Their messages repeat the password."""


def scan(path: str, text: str) -> ScanResult:
    """What bandit says of a text. Blocking; raises MemoryError where the process has no more."""
    if bandit.__version__ != KNOWN_VERSION:
        return _unscanned(
            path,
            f"Bandit {bandit.__version__} is installed and only {KNOWN_VERSION} is known to work; "
            f"install bandit=={KNOWN_VERSION}.",
            failed=True,
        )
    if oversize(text, PARSED_BYTES):
        return _unscanned(path, too_large(PARSED_BYTES))
    marked = text.startswith(_MARK)
    source = _parse(text.removeprefix(_MARK))
    if isinstance(source, str):
        return _unscanned(path, source)
    tester, visitor = _visitor(source)
    try:
        with _deep_recursion():
            visitor.generic_visit(source.tree)
    except RecursionError:
        return _unscanned(path, "The text is nested too deeply for bandit.")
    visitor.context = {
        "file_data": visitor.fdata, "filename": _NAME, "lineno": 0, "linerange": [0, 1], "col_offset": 0,
    }  # fmt: skip
    tester.run_tests(visitor.context, "File")
    findings = tuple(_finding(path, source, issue, node, marked) for issue, node in tester.seen)
    broken = tuple(
        Unscanned(path, "bandit", f"Bandit's test {test} failed at line {line}: {error}.", failed=True)
        for test, (line, error) in tester.failures.items()
    )
    return ScanResult(findings, broken)


class _Tester(BanditTester):  # type: ignore[misc]  # bandit has no types
    """Bandit's, which keeps the node of each issue: an issue's own line and column aren't always of one."""

    def __init__(self, tests: Any) -> None:
        super().__init__(tests, False, {}, Metrics())
        self.seen: list[tuple[Any, ast.AST | None]] = []
        self.failures: dict[str, tuple[int, str]] = {}

    def run_tests(self, raw_context: dict[str, Any], checktype: str) -> Any:
        before = len(self.results)
        scores = super().run_tests(raw_context, checktype)
        self.seen += [(issue, raw_context.get("node")) for issue in self.results[before:]]
        return scores

    def report_error(self, test: str, context: Any, error: Exception) -> None:
        if isinstance(error, MemoryError):
            raise error
        line = int(context._context.get("lineno", 0))
        self.failures.setdefault(test, (line, f"{type(error).__name__} {error}".strip().rstrip(".")[:120]))


def _visitor(source: Source) -> tuple[_Tester, Any]:
    encoding = tokenize.detect_encoding(io.BytesIO(source.text.encode()).readline)[0]
    # One test decodes the file by what it says of its encoding.
    data = io.BytesIO(source.text.encode(encoding, "replace"))
    tester = _Tester(_tests())
    visitor = BanditNodeVisitor(_NAME, data, BanditMetaAst(), tester.testset, False, {}, tester.metrics)
    visitor.tester = tester
    return tester, visitor


@cache
def _tests() -> Any:
    """Every test of bandit's own: another package's plugins are no part of it. `nosec` is never read."""
    logging.getLogger("bandit").setLevel(logging.CRITICAL + 1)
    manager = extension_loader.MANAGER
    own = {p.plugin._test_id for p in manager.plugins if p.plugin.__module__.startswith("bandit.")}
    return BanditTestSet(BanditConfig(), {"include": sorted(own | {"B001", *manager.blacklist_by_id})})


def _parse(text: str) -> Source | str:
    """The parsed text, or in a sentence why it doesn't parse."""
    try:
        encoded = text.encode()
        tokenize.detect_encoding(io.BytesIO(encoded).readline)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Source(text, ast.parse(text))
    except UnicodeEncodeError:
        return "The text has half characters (lone surrogates), which no file can hold."
    except (MemoryError, RecursionError):
        return "The text is nested too deeply, or too large, for Python's parser."
    except SyntaxError as error:
        if error.lineno is None:
            return f"The text doesn't parse: {error.msg}."
        return f"Line {error.lineno} doesn't parse: {error.msg}."
    except ValueError:
        return "The text has null bytes, which Python refuses."


@contextmanager
def _deep_recursion() -> Iterator[None]:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, _VISIT_FRAMES))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def _finding(path: str, source: Source, issue: Any, node: ast.AST | None, marked: bool) -> Finding:
    info = rule_info(issue.test_id)
    span = _character(source) if node is None else source.span(reported_node(issue, node))
    # The catalogue's grades are ours; bandit's count where it has looked at the call to give them.
    varies = info.varies if info.cwe is not None else "both"
    severity, confidence = info.severity, info.confidence
    if varies in ("severity", "both"):
        severity = _SEVERITY.get(issue.severity, severity)
    if varies in ("confidence", "both"):
        confidence = _CONFIDENCE.get(issue.confidence, confidence)
    return Finding(
        rule=info.rule,
        message=f"{info.title}." if issue.test_id in _QUOTES_SECRET else issue.text,
        path=path,
        span=_past_mark(span) if marked else span,
        severity=severity,
        confidence=confidence,
        scanners=("bandit",),
        aliases=(issue.test_id,),
        cwe=info.cwe or (issue.cwe.id or None),
        help_url=info.help_url,
    )


def _character(source: Source) -> Span:
    """The one finding that is about a character, not a node; bandit would count U+2028 as a line end."""
    for number, line in enumerate(split_lines(source.text)):
        columns = [line.index(character) for character in BIDI_CHARACTERS if character in line]
        if columns:
            return Span(number, min(columns), number, min(columns) + 1)
    return Span(0, 0, 0, 0)


def _past_mark(span: Span) -> Span:
    return Span(
        span.start_line,
        span.start_column + (span.start_line == 0),
        span.end_line,
        span.end_column + (span.end_line == 0),
    )


def _unscanned(path: str, why: str, *, failed: bool = False) -> ScanResult:
    return ScanResult((), (Unscanned(path, "bandit", why, failed),))
