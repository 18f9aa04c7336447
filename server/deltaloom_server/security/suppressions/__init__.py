"""Suppression comments: which findings they hide, and which hide nothing.

Invariant: a suppressed finding stays in the list and says by which comment; a comment is called unused only
where every scanner that could have seen what it names has looked at the whole text.

Only codes of our families are judged: a `noqa: E501` or a bare `noqa` is another tool's, an unused bare
`nosec` is reported. `pragma: allowlist secret` and a bare `nosemgrep` never are, since a repository may run
those tools with rules of its own.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence

import msgspec

from deltaloom_server.security.finding import UNUSED_SUPPRESSION, Finding, Scanner, Suppression
from deltaloom_server.security.languages import is_python, scanners_for
from deltaloom_server.security.rules import all_rules, canonical, rule_info
from deltaloom_server.security.suppressions.comments import Comment, PythonLayout, comments, python_layout
from deltaloom_server.security.suppressions.directives import WORDS, Directive, read
from deltaloom_server.security.suppressions.placement import Placement

__all__ = ["Directive", "apply", "find_comments", "may_have_comments"]

_OURS = re.compile(r"S\d{3}|DL\d{3}")
_PASSWORD_RULES = frozenset({"S105", "S106", "S107"})


def may_have_comments(text: str) -> bool:
    """Is there a word in it that a suppression has? Where there is none, nothing needs to be parsed."""
    lower = text.lower()
    return any(word in lower for word in WORDS)


def find_comments(path: str, text: str) -> tuple[Directive, ...]:
    """The suppressions in a text's comments, in its order. `path` tells the language."""
    return _read(path, text)[0]


def apply(
    text: str, path: str, findings: Iterable[Finding], scanners: Collection[Scanner] = ()
) -> tuple[Finding, ...]:
    """The findings, those that a comment hides with it, and one of rule DL001 for each unused comment.

    `scanners` are those that have looked at the whole text. What was said of suppressions before is
    forgotten. No order is promised.
    """
    fresh = [
        msgspec.structs.replace(one, suppressed=None) if one.suppressed is not None else one
        for one in findings
        if one.rule != UNUSED_SUPPRESSION
    ]
    directives, layout = _read(path, text)
    if not directives:
        return tuple(fresh)
    placement = Placement(text, layout)
    marks = [one for one in directives if one.scope in ("begin", "end")]
    used: dict[Directive, set[str]] = {one: set() for one in directives}
    result = []
    for finding in fresh:
        hiding = None
        for directive in directives:
            names = _matching(directive, finding)
            if not names:
                continue
            until = placement.range_end(directive, marks) if directive.scope == "begin" else -1
            if placement.covers(directive, finding, until):
                used[directive] |= names
                hiding = hiding or directive
        result.append(_suppressed(finding, hiding))
    return (*result, *_unused(path, directives, used, scanners))


def _read(path: str, text: str) -> tuple[tuple[Directive, ...], PythonLayout | None]:
    if not may_have_comments(text):
        return (), None
    python = is_python(path)
    layout = python_layout(text) if python else None
    found: Sequence[Comment] = layout.comments if layout is not None else comments(path, text)
    return tuple(one for comment in found for one in read(comment, python=python)), layout


def _matching(directive: Directive, finding: Finding) -> set[str]:
    """Which of a directive's codes mean this finding; {""} for a bare one that means it."""
    if directive.family == "allowlist":
        is_secret = any(name.startswith("secret/") for name in _names(finding))
        return {""} if is_secret or finding.rule in _PASSWORD_RULES else set()
    if directive.codes is None:
        return {""} if _bare_means(directive, finding) else set()
    names = _names(finding)
    if directive.family == "nosemgrep":
        ends = {re.split(r"[./]", name)[-1] for name in names} | names
        return {code for code in directive.codes if code in ends or re.split(r"[./]", code)[-1] in ends}
    return {code for code in directive.codes if code in names or canonical(code) == finding.rule}


def _names(finding: Finding) -> set[str]:
    return {finding.rule, *finding.aliases}


def _bare_means(directive: Directive, finding: Finding) -> bool:
    if directive.family == "nosemgrep":
        return bool({"semgrep", "sarif"} & set(finding.scanners))
    return directive.family == "nosec" or not finding.rule.startswith("secret/")


def _suppressed(finding: Finding, directive: Directive | None) -> Finding:
    if directive is None:
        return finding
    hidden = Suppression(directive.family, directive.span.start_line, directive.text)
    return msgspec.structs.replace(finding, suppressed=hidden)


def _unused(
    path: str,
    directives: Iterable[Directive],
    used: dict[Directive, set[str]],
    scanners: Collection[Scanner],
) -> Iterator[Finding]:
    for directive in directives:
        if directive.scope == "end":
            continue
        if directive.codes is None:
            if directive.family == "nosec" and not used[directive] and _looked(path, None, scanners):
                yield _report(path, directive, f"`{directive.text}` suppresses nothing.")
            continue
        idle = [
            code
            for code in dict.fromkeys(directive.codes)
            if code not in used[directive] and _is_ours(directive, code) and _looked(path, code, scanners)
        ]
        if idle:
            said = f"`{directive.text}` suppresses nothing"
            if len(idle) < len(set(directive.codes)):
                said += f" of {', '.join(idle)}"
            yield _report(path, directive, f"{said}.")


def _report(path: str, directive: Directive, message: str) -> Finding:
    info = rule_info(UNUSED_SUPPRESSION)
    return Finding(
        rule=info.rule,
        message=message,
        path=path,
        span=directive.span,
        severity=info.severity,
        confidence=info.confidence,
        scanners=("deltaloom",),
        help_url=info.help_url,
    )


def _is_ours(directive: Directive, code: str) -> bool:
    if directive.family == "nosec":
        return True
    if directive.family == "noqa":
        return _OURS.fullmatch(code) is not None
    return any(info.rule == code for info in all_rules() if "/" in info.rule)


def _looked(path: str, code: str | None, scanners: Collection[Scanner]) -> bool:
    """Have all those looked that could see what is named? `code` None: anything."""
    able = {scanner for scanner in scanners_for(path) if scanner != "secrets"}
    if code is not None and code.startswith("DL"):
        able &= {"deltaloom"}
    elif code is not None and "/" in code:
        able &= {"semgrep"}
    elif code is not None:
        able -= {"semgrep"}
    return bool(able) and able <= set(scanners)
