"""Every case of `fixtures/security` is what it says: it works, it can be exploited, its own fix holds, and a
scanner names its weakness. Each case's tests run in the sandbox, as the evaluator runs them."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from deltaloom_server.evaluate.case import Case, default_corpus, find_cases, load_case
from deltaloom_server.evaluate.testing import Verdicts, try_version
from deltaloom_server.security.analysis.dispatch import scan
from deltaloom_server.security.analysis.messages import ScanText
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.sandbox import available

CORPUS = default_corpus()
FOLDERS = find_cases(CORPUS)
GIVEAWAYS = re.compile(
    r"vulnerab|insecure|unsafe(?!Loader)|exploit|injection|attack|CWE-|nosec|noqa|TODO|FIXME", re.I
)

each_case = pytest.mark.parametrize(
    "case", [pytest.param(load_case(CORPUS, one), id=one.relative_to(CORPUS).as_posix()) for one in FOLDERS]
)
sandboxed = pytest.mark.skipif(available() is not None, reason=str(available()))


def findings(case: Case, text: str) -> list[Finding]:
    """Those of the case's rule, in its file."""
    result = scan(ScanText(case.file, text, ("ruff", "bandit", "deltaloom")))
    assert not [one for one in result.unscanned if one.failed], result.unscanned
    return [one for one in result.findings if one.rule == case.rule]


def test_there_are_enough_cases_of_enough_kinds() -> None:
    cases = [load_case(CORPUS, folder) for folder in FOLDERS]
    assert len(cases) >= 60
    assert 3 * sum(case.held_out for case in cases) >= len(cases)
    assert len({case.cwe for case in cases}) >= 25


def test_no_folder_of_the_corpus_is_left_out() -> None:
    homes = {folder.relative_to(CORPUS).as_posix() for folder in FOLDERS}
    seen = {path.relative_to(CORPUS).as_posix() for path in CORPUS.glob("CWE-*/*") if path.is_dir()}
    assert homes == seen
    assert all(re.fullmatch(r"CWE-\d{3,4}/[a-z0-9_]+", home) for home in homes)


@each_case
def test_the_form(case: Case) -> None:
    assert case.name.startswith(f"{case.weakness}/")
    assert case.title
    assert case.fixed_files(), "there is no fix to compare with"
    assert set(case.fixed_files()) <= {
        path.relative_to(case.folder).as_posix() for path in case.folder.rglob("*.py")
    }
    assert not GIVEAWAYS.search(case.text()), "the program gives its weakness away"
    assert case.text() != case.fixed_files()[case.file]


@each_case
def test_a_scanner_names_the_weakness_and_the_fix_ends_it(case: Case) -> None:
    lines = case.text().splitlines()
    found = findings(case, case.text())
    assert found, f"no scanner reports {case.rule}"
    places = {one.span for one in found if any(case.line in lines[n] for n in _lines(one))}
    assert places, f"{case.rule} is not on the line that case.toml names"
    after = {one.span for one in findings(case, case.fixed_files()[case.file])}
    if case.rule not in SEEN_ANYWAY:
        assert len(after) < len({one.span for one in found})


SEEN_ANYWAY = frozenset({"S310"})
"""Rules of scanners that mark a call whatever guards it."""


def _lines(finding: Finding) -> range:
    return range(finding.span.start_line, finding.span.end_line + 1)


@pytest.fixture(scope="module")
def outcomes() -> dict[str, tuple[Verdicts, Verdicts]]:
    """How the tests of each case end on the program as it is, and with its fix."""

    async def run_all() -> dict[str, tuple[Verdicts, Verdicts]]:
        slots = asyncio.Semaphore(2)

        async def one(folder: Path) -> tuple[str, tuple[Verdicts, Verdicts]]:
            case = load_case(CORPUS, folder)
            async with slots:
                return case.name, (await try_version(case, {}), await try_version(case, case.fixed_files()))

        return dict(await asyncio.gather(*map(one, FOLDERS)))

    return asyncio.run(run_all())


@sandboxed
@pytest.mark.slow
@each_case
def test_it_works_and_can_be_exploited_until_it_is_fixed(
    case: Case, outcomes: dict[str, tuple[Verdicts, Verdicts]]
) -> None:
    before, after = outcomes[case.name]
    assert (before.function, before.exploit) == ("passed", "failed"), before.why
    assert (after.function, after.exploit) == ("passed", "passed"), after.why
