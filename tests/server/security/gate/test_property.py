"""Over real functions: an edit within the function is nobody's objection of scope, one outside always is."""

from __future__ import annotations

import ast
import random
import textwrap
from pathlib import Path

import pytest

from deltaloom_server.security.analysis.messages import Judge
from deltaloom_server.security.codemods.source import Function, Source
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.gate import scope
from deltaloom_server.security.gate.change import Change, region_of, unit_at
from deltaloom_server.security.gate.judging import change_of
from deltaloom_server.security.proposal import Edit, Proposal, apply_edits

MODULES = [textwrap.__file__, random.__file__, str(Path(ast.__file__).parent / "urllib" / "parse.py")]


def _objections(source: Source, finding: Finding, edits: tuple[Edit, ...]) -> list[str] | None:
    """Of scope only; None where the result doesn't parse."""
    after = Source.parse(apply_edits(source.text, edits))
    if after is None:
        return None
    change: Change = change_of(Judge(source.text, finding, Proposal("t", edits)), source, after)
    found = scope.find_unit(change)
    if isinstance(found, str):
        return [found]
    return [*scope.text_outside(found), *scope.unit_kept(found)]


def _statements(source: Source) -> list[ast.stmt]:
    """Simple statements in functions, the docstrings apart."""
    return [
        node
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Assign | ast.Return | ast.Expr | ast.AugAssign)
        and source.enclosing_function(node) is not None
        and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
    ]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: Path(path).stem)
def test_scope_is_judged_by_where_the_edit_is(path: str) -> None:
    source = Source.parse(Path(path).read_text("utf-8"))
    assert source is not None
    draw = random.Random(11)
    statements = _statements(source)
    inside = outside = 0
    for _ in range(12):
        target = draw.choice(statements)
        finding = Finding("S000", "m", "a.py", source.span(target), "low", "low", ("ruff",))
        unit = unit_at(source, finding.span)
        assert isinstance(unit, Function)
        for node in [target, *draw.sample(statements, 3)]:
            start, end = source.start(node), source.end(node)
            edit = draw.choice(
                [
                    Edit(start, end, "pass"),
                    Edit(start, start, "changed = 1; "),
                    Edit(end, end, "; more()"),
                    Edit(end, end, "  # why"),
                ]
            )
            within = unit.lineno <= node.lineno and (node.end_lineno or 0) <= (unit.end_lineno or 0)
            objections = _objections(source, finding, (edit,))
            if objections is None:
                continue
            assert bool(objections) is not within, (ast.unparse(node), edit, objections)
            inside, outside = inside + within, outside + (not within)
    assert inside > 8
    assert outside > 15


@pytest.mark.parametrize("path", MODULES, ids=lambda path: Path(path).stem)
def test_an_edit_inside_and_one_outside_is_an_objection(path: str) -> None:
    source = Source.parse(Path(path).read_text("utf-8"))
    assert source is not None
    draw = random.Random(12)
    statements = _statements(source)
    for _ in range(10):
        target = draw.choice(statements)
        finding = Finding("S000", "m", "a.py", source.span(target), "low", "low", ("ruff",))
        unit = unit_at(source, finding.span)
        assert unit is not None
        start, end = region_of(source, unit)
        other = draw.choice(
            [one for one in statements if source.end(one) <= start or source.start(one) >= end]
        )
        edits = [Edit(source.start(one), source.start(one), "new = 1; ") for one in (target, other)]
        assert _objections(source, finding, (edits[0],)) == []
        assert _objections(source, finding, tuple(edits))
