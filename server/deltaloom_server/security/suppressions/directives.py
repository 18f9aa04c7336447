"""What a comment says about findings: `nosec`, `noqa`, `nosemgrep` and the like, as their tools read them.

Invariant: a directive's codes are those that its tool would take from it; `codes` None means all findings.

Bandit: `#\\s*nosec:?\\s*(?P<tests>[^#]+)?` (bandit/core/manager.py, 1.9.4); words that name no test count for
nothing, so that a `nosec` with none but such is a bare one. Ruff: "Error suppression" in its documentation
(docs.astral.sh/ruff/linter), checked against the binary by our tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from deltaloom_server.security.finding import Span
from deltaloom_server.security.rules import bandit_id
from deltaloom_server.security.suppressions.comments import Comment

Family = Literal["nosec", "noqa", "nosemgrep", "allowlist"]
Scope = Literal["line", "next", "file", "begin", "end"]

WORDS = ("nosec", "noqa", "nosem", "pragma", "ruff:")
"""In lower case; a text without any of them holds no directive."""

_NOSEC = re.compile(r"#\s*nosec\b:?\s*(?P<tests>[^#]+)?")
_TEST = re.compile(r"[A-Za-z\d_]+")
_OWN = re.compile(r"DL\d{3}")
_CODE = r"[A-Z]+[0-9]+"
_CODES = rf"{_CODE}(?:[\s,]+{_CODE})*(?![A-Za-z0-9])"
_NOQA = re.compile(rf"#\s*noqa(?:(?P<codes>\s*:\s*{_CODES})|(?=[\s#]|$)(?!\s*:))", re.IGNORECASE)
_FILE = re.compile(rf"#\s*(?:flake8|ruff)\s*:\s*(?i:noqa)(?:(?P<codes>\s*:\s*{_CODES})|(?=[\s#]|$)(?!\s*:))")
_RUFF = re.compile(r"#\s*ruff\s*:\s*(?P<what>ignore|file-ignore|disable|enable)\s*\[(?P<codes>[^\]\[]+)\]")
_NOSEMGREP = re.compile(
    r"\bnosem(?:grep)?\b(?:\s*:\s*(?P<codes>[\w./-]+(?:\s*,\s*[\w./-]+)*))?", re.IGNORECASE
)
_ALLOW = re.compile(r"pragma: ?(?:allow|white)list[ -](?P<next>nextline[ -])?secret")
_RUFF_SCOPES: dict[str, Scope] = {
    "ignore": "line", "file-ignore": "file", "disable": "begin", "enable": "end"
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Directive:
    """One suppression. `codes` are as written, None for all; `span` is what would be removed with it."""

    family: Family
    scope: Scope
    codes: tuple[str, ...] | None
    span: Span
    text: str
    alone: bool


def read(comment: Comment, *, python: bool) -> Iterator[Directive]:
    """The directives in a comment. Outside Python there are only semgrep's and detect-secrets'."""
    text = comment.text
    if python:
        yield from _python(comment)
    if match := _NOSEMGREP.search(text):
        codes = match["codes"]
        yield _directive(comment, match, "nosemgrep", re.split(r"\s*,\s*", codes) if codes else None)
    if match := _ALLOW.search(text):
        yield _directive(comment, match, "allowlist", None, "next" if match["next"] else "line")


def _python(comment: Comment) -> Iterator[Directive]:
    text = comment.text
    if match := _NOSEC.search(text):
        words = _TEST.findall(match["tests"] or "")
        # Words after the tests are prose: "nosec B602 the input is checked".
        tests = [word for word in words if bandit_id(word) or _OWN.fullmatch(word)]
        yield _directive(comment, match, "nosec", tests or None)
    if match := _FILE.search(text):
        if comment.alone:
            yield _directive(comment, match, "noqa", _listed(match["codes"]), "file")
    elif match := _RUFF.search(text):
        scope = _RUFF_SCOPES[match["what"]]
        if comment.alone or scope == "line":
            codes = [code.strip() for code in match["codes"].split(",") if code.strip()]
            next_one = scope == "line" and comment.alone
            yield _directive(comment, match, "noqa", codes, "next" if next_one else scope)
    elif match := _NOQA.search(text):
        yield _directive(comment, match, "noqa", _listed(match["codes"]))


def _listed(codes: str | None) -> list[str] | None:
    return re.findall(_CODE, codes) if codes else None


def _directive(
    comment: Comment,
    match: re.Match[str],
    family: Family,
    codes: list[str] | None,
    scope: Scope = "line",
) -> Directive:
    text = match[0].rstrip()
    span = comment.part(match.start(), match.start() + len(text))
    return Directive(family, scope, tuple(codes) if codes is not None else None, span, text, comment.alone)
