"""Code that a model wrote for no finding: it stays in its lines, and is as sound as a fix.

Invariant: [first_line, last_line] of the text before is all that may differ, imports apart.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

from deltaloom_server.security.analysis.messages import CheckCode, ScanResult, ScanText
from deltaloom_server.security.codemods.source import Function, Source
from deltaloom_server.security.proposal import Verdict

from . import additions, imports, names, scope
from .change import Change, hunks_of, lines_of
from .rescan import FOR_PYTHON, Texts, rescan
from .suppressions import added_marks, moved_marks
from .tricks import hiding
from .workspace import Workspace

Scan = Callable[[ScanText], ScanResult]

MOST_LINES = 200
"""Of a generated function or test, which may be longer than a fix."""


def check(request: CheckCode, after_text: str, scan: Scan) -> Verdict:
    """The verdict on a Python text that `apply_edits` gave."""
    before, after = Source.parse(request.text), Source.parse(after_text)
    if before is None:
        return Verdict(("The text can't be parsed as it is.",))
    if after is None:
        return Verdict(("The result can't be parsed.",))
    hunks = hunks_of(request.text, request.proposal.edits)
    region = before.line_start(request.first_line), before.line_start(request.last_line + 1)
    change = Change(request.path, before, after, hunks, region, region)
    change = replace(change, new_region=scope.region_after(change))
    found = scope.find_unit(change, may_follow=True)
    if isinstance(found, str):
        return Verdict(("It changes code outside of its lines.",), parsed=True)
    change = found
    workspace = Workspace(request.roots, imports.roots_of_imports(before))
    objections = tuple(dict.fromkeys(_objections(change, workspace)))
    added = imports.added_bindings(change)
    resolve = not any(imports.added_well(change, workspace)) if added else None
    if objections:
        return Verdict(objections, True, (), resolve)
    texts = Texts(request.path, before.text, after_text, FOR_PYTHON, scan)
    lines = lines_of(before, *change.region), lines_of(after, *change.new_region)
    changed = [lines_of(before, h.start, h.end) for h in hunks]
    new_changed = [lines_of(after, h.new_start, h.new_end) for h in hunks]
    seen = rescan(texts, None, (), lines, (changed, new_changed), ("medium", "high", "critical"))
    return Verdict(seen.objections, True, seen.scanners, resolve)


def _objections(change: Change, workspace: Workspace) -> Iterator[str]:
    before, after = change.before.text, change.after.text
    if any(scope.text_outside(change)):
        yield "It changes text outside of its lines."
    yield from additions.size(before, after, change.hunks, MOST_LINES)
    yield from added_marks(before, after)
    yield from moved_marks(change)
    yield from additions.hidden(before, after)
    yield from additions.strings(before, after)
    yield from additions.identifiers(change)
    yield from additions.literals(change)
    yield from imports.kept(change)
    yield from imports.added_well(change, workspace)
    yield from names.undefined(change)
    yield from names.missing(change)
    yield from _redefined(change)
    yield from hiding(change)


def _redefined(change: Change) -> Iterator[str]:
    """New code takes no name that the module has given to something."""
    old, new = _top_names(change.before), _top_names(change.after)
    for name in sorted(new - old):
        if name in old:
            yield f"It defines {name}, which the file has already."


def _top_names(source: Source) -> Counter[str]:
    found: Counter[str] = Counter(source.imports.keys())
    for node in source.tree.body:
        if isinstance(node, Function | ast.ClassDef):
            found[node.name] += 1
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found.update(
                {one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)}
            )
    return found
