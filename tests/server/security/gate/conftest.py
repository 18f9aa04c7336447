"""What the tests of the gate share: a judge that asks the real scanners, on small whole files.

Texts mark the finding's line by a comment `# <- S506` in the text before; it is cut away before anything
looks. Where there is none, the scanners' own first finding of the rule is meant.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from textwrap import dedent

import pytest

from deltaloom_server.security.analysis.dispatch import scan as dispatch
from deltaloom_server.security.analysis.messages import CheckCode, Judge, ScanResult, ScanText
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.gate import check_code, judge
from deltaloom_server.security.proposal import Edit, Proposal, Verdict, apply_edits

_MARK = re.compile(r"[ ]*# <- (\S+)$", re.MULTILINE)


@cache
def scan(request: ScanText) -> ScanResult:
    """The scanners that the analysis process runs. Pure, so each text is looked at once."""
    return dispatch(request)


@pytest.fixture
def scanners() -> Callable[[ScanText], ScanResult]:
    return scan


@dataclass(frozen=True)
class Bench:
    """A text with a finding, and what the gate says to changes of it."""

    text: str
    finding: Finding
    roots: tuple[str, ...] = ()

    def whole(self, after: str) -> Verdict:
        """The verdict on a change that writes the whole file anew."""
        return self.edits(Edit(0, len(self.text), dedent(after).lstrip("\n")))

    def put(self, old: str, new: str, *more: tuple[str, str]) -> Verdict:
        """The verdict on putting pieces in the place of others, each of which stands there once."""
        edits = []
        for one, other in ((old, new), *more):
            assert self.text.count(one) == 1, f"{one!r} stands there {self.text.count(one)} times"
            at = self.text.index(one)
            edits.append(Edit(at, at + len(one), other))
        return self.edits(*edits)

    def edits(self, *edits: Edit) -> Verdict:
        return judge(Judge(self.text, self.finding, Proposal("t", edits), (), self.roots), scan)


@pytest.fixture
def bench() -> Callable[..., Bench]:
    """`bench(rule, text, path=…, roots=…)`: the real finding of that rule in a text."""

    def make(rule: str, text: str, path: str = "app/views.py", roots: tuple[str, ...] = ()) -> Bench:
        text = dedent(text).lstrip("\n")
        marked = next(
            (text.count("\n", 0, m.start()) for m in _MARK.finditer(text) if m.group(1) == rule), None
        )
        text = _MARK.sub("", text)
        found = [
            one
            for one in scan(ScanText(path, text, ("ruff", "bandit", "deltaloom"))).findings
            if one.rule == rule and marked in (None, one.span.start_line)
        ]
        assert found, f"no scanner sees {rule} there"
        return Bench(text, found[0], roots)

    return make


@pytest.fixture
def check() -> Callable[..., Verdict]:
    """`check(text, old, new, lines)`: the verdict on code written for no finding."""

    def checked(
        text: str, old: str, new: str, lines: tuple[int, int] | None = None, roots: tuple[str, ...] = ()
    ) -> Verdict:
        text = dedent(text).lstrip("\n")
        assert text.count(old) == 1
        at = text.index(old)
        first, last = lines or (text.count("\n", 0, at), text.count("\n", 0, at + len(old)))
        edit = Edit(at, at + len(old), new)
        assert apply_edits(text, (edit,)) != text
        return check_code(CheckCode("app/views.py", text, Proposal("t", (edit,)), first, last, roots), scan)

    return checked
