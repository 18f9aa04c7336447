"""The gate: a fix is offered only when no rule objects to it.

Invariant: the cheap rules come first, and a scanner runs only on what they let through; an error in a rule
is an objection, never a pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec

from deltaloom_server.security.analysis.messages import CheckCode, Judge, ScanResult, ScanText
from deltaloom_server.security.codemods.source import Function, Source
from deltaloom_server.security.finding import UNUSED_SUPPRESSION, Finding
from deltaloom_server.security.proposal import Edit, Verdict, apply_edits
from deltaloom_server.security.rules import canonical

from . import additions, imports, names, scope
from .accepted import Site, accepted
from .change import Change, hunks_of, lines_of, region_of, unit_at
from .checking import check
from .comments import judge_comment
from .flow import flow
from .keywords import keywords
from .literals import literal_elsewhere
from .other import judge_other
from .paths import refuse_path
from .rebinding import rebound
from .rescan import FOR_PYTHON, Rescan, Texts, rescan
from .silencing import silenced
from .suppressions import added_marks, moved_marks
from .tricks import tricks
from .words import words
from .workspace import Workspace

Scan = Callable[[ScanText], ScanResult]

_TEXTS = words("S608 S610 S611 DL109 DL110 S704 S104 S108")
"""Rules whose fix may write a text out that was put together before."""

_HIDDEN = frozenset({"DL002", "B613"})
"""Characters are taken out, in strings and comments as well; nothing else may change."""

_PYTHON = (".py", ".pyi", ".pyw")
_TOO_DEEP = Verdict(("The code is nested too deeply to be judged.",))


def judge(request: Judge, scan: Scan) -> Verdict:
    """May this proposal be offered as a fix? One sentence for each objection; none means yes."""
    finding = request.finding
    refused = refuse_path(finding.path)
    if refused:
        return Verdict((refused,))
    edits = request.proposal.edits
    after = _applied(request.text, edits)
    if isinstance(after, Verdict):
        return after
    try:
        if not finding.path.endswith(_PYTHON):
            return judge_other(request, after, scan)
        return _judge_python(request, after, scan)
    except RecursionError:
        return _TOO_DEEP


def check_code(request: CheckCode, scan: Scan) -> Verdict:
    """Is this change of a Python text, made for no finding, sound?"""
    refused = refuse_path(request.path)
    if refused:
        return Verdict((refused,))
    after = _applied(request.text, request.proposal.edits)
    if isinstance(after, Verdict):
        return after
    try:
        return check(request, after, scan)
    except RecursionError:
        return _TOO_DEEP


def _applied(text: str, edits: Iterable[Edit]) -> str | Verdict:
    try:
        after = apply_edits(text, edits)
    except ValueError:
        return Verdict(("Its edits overlap or lie outside of the text.",))
    return Verdict(("It changes nothing.",)) if after == text else after


def _judge_python(request: Judge, after_text: str, scan: Scan) -> Verdict:
    before = Source.parse(request.text)
    if before is None:
        return Verdict(("The text can't be parsed as it is.",))
    after = Source.parse(after_text)
    if after is None:
        return Verdict(("The result can't be parsed.",))
    change = change_of(request, before, after)
    if request.finding.rule == UNUSED_SUPPRESSION:
        return judge_comment(request, change, scan)
    finding, around = request.finding, change
    found = scope.find_unit(change)
    if isinstance(found, str) and (literal := literal_elsewhere(before, finding)) is not None:
        finding = msgspec.structs.replace(finding, span=literal)
        change = change_of(msgspec.structs.replace(request, finding=finding), before, after)
        found = scope.find_unit(change)
    if isinstance(found, str):
        return Verdict((found, *_anywhere(change)), parsed=True)
    change = found
    workspace = Workspace(request.roots, imports.roots_of_imports(before))
    told = silenced(Site(change, finding), request.proposal.origin)
    objections = tuple(dict.fromkeys((*_objections(change, finding, workspace), *told)))
    resolve = _resolve(change, workspace)
    if objections:
        return Verdict(objections, True, (), resolve)
    seen = _rescan(request, change, around, scan)
    return Verdict(seen.objections, True, seen.scanners, resolve)


def change_of(request: Judge, before: Source, after: Source) -> Change:
    """The change, with the place of its unit but not yet the unit's statements."""
    hunks = hunks_of(request.text, request.proposal.edits)
    span = request.finding.span
    unit = unit_at(before, span)
    if unit is not None:
        region = region_of(before, unit)
    else:
        region = before.line_start(span.start_line), before.line_start(span.end_line + 1)
    change = Change(request.finding.path, before, after, hunks, region, region, span=span)
    return Change(change.path, before, after, hunks, region, scope.region_after(change), span=span)


def _resolve(change: Change, workspace: Workspace) -> bool | None:
    if not imports.added_bindings(change):
        return None
    return not any(imports.added_well(change, workspace))


def _anywhere(change: Change) -> Iterator[str]:
    """What is an objection wherever it stands."""
    before, after = change.before.text, change.after.text
    yield from additions.size(before, after, change.hunks)
    yield from added_marks(before, after)
    yield from additions.hidden(before, after)
    yield from additions.strings(before, after)


def _objections(change: Change, finding: Finding, workspace: Workspace) -> Iterator[str]:
    rule = canonical(finding.rule)
    yield from _anywhere(change)
    if rule in _HIDDEN:
        yield from scope.text_outside(change)
        yield from accepted(Site(change, finding))
        return
    yield from moved_marks(change)
    yield from scope.text_outside(change)
    yield from scope.unit_kept(change, parameter=_parameter(change, finding))
    yield from imports.kept(change)
    yield from imports.added_well(change, workspace)
    yield from names.undefined(change)
    yield from names.missing(change)
    yield from additions.identifiers(change)
    yield from additions.literals(change)
    yield from additions.effects(change)
    yield from tricks(change)
    yield from rebound(change)
    yield from flow(change, may_drop_assert=rule == "S101", may_fix_text=rule in _TEXTS)
    yield from accepted(Site(change, finding))
    yield from keywords(Site(change, finding))


def _parameter(change: Change, finding: Finding) -> str:
    """The parameter whose default is what the finding is about: that one may become another."""
    function = next((one for one in change.old if isinstance(one, Function)), None)
    for name, default in scope.defaults(function.args) if function is not None else ():
        if default is not None:
            span = change.before.span(default)
            start = span.start_line, span.start_column
            if (
                start
                <= (finding.span.start_line, finding.span.start_column)
                < (span.end_line, span.end_column)
            ):
                return name
    return ""


def _rescan(request: Judge, change: Change, around: Change, scan: Scan) -> Rescan:
    """`around`: the change as seen from the finding itself, where the unit is another."""
    finding = request.finding
    before, after = change.before, change.after
    scanners = FOR_PYTHON + tuple(one for one in finding.scanners if one not in (*FOR_PYTHON, "sarif"))
    texts = Texts(finding.path, before.text, after.text, scanners, scan)
    unit = (lines_of(before, *around.region), lines_of(after, *around.new_region))
    changed = [lines_of(before, h.start, h.end) for h in change.hunks]
    new_changed = [lines_of(after, h.new_start, h.new_end) for h in change.hunks]
    return rescan(texts, finding, request.known, unit, (changed, new_changed))
