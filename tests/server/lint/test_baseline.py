"""The baseline: what it accepts, and nothing more."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltaloom_server.errors import WorkspaceError
from deltaloom_server.lint.baseline import Baseline, Entry
from deltaloom_server.security.finding import Finding, Span

MakeFinding = Callable[..., Finding]
Written = Callable[[str, str], str]


def some(path: str, rule: str, identity: str) -> Finding:
    return Finding(rule, "m", path, Span(0, 0, 0, 1), "high", "high", ("ruff",), identity=identity)


names = st.sampled_from(["a.py", "é b.py", "c.py", 'q"\n.py'])
some_findings = st.lists(
    st.builds(some, names, st.sampled_from(["S602", "S1"]), st.sampled_from(["0a", "1b", "2c"])), max_size=30
)


def key(finding: Finding) -> tuple[str, str, str]:
    return finding.path, finding.rule, finding.identity


@given(some_findings)
def test_what_was_written_accepts_exactly_what_was_there(findings: list[Finding]) -> None:
    baseline = Baseline.of(findings)
    accepted, stale = baseline.accept(findings, lambda path: False)
    assert all(accepted)
    assert stale == ()


@given(some_findings, some_findings)
def test_no_more_are_accepted_than_it_counts(known: list[Finding], now: list[Finding]) -> None:
    accepted, stale = Baseline.of(known).accept(now, None)
    before, after = Counter(map(key, known)), Counter(map(key, now))
    taken = Counter(key(finding) for finding, yes in zip(now, accepted, strict=True) if yes)
    assert taken == before & after
    assert Counter({(one.path, one.rule, one.identity): one.count for one in stale}) == before - after


@given(some_findings)
def test_the_order_of_findings_does_not_matter_for_the_file(findings: list[Finding]) -> None:
    assert Baseline.of(findings).text() == Baseline.of(findings[::-1]).text()


@given(some_findings)
def test_what_is_written_can_be_read(
    tmp_path_factory: pytest.TempPathFactory, findings: list[Finding]
) -> None:
    path = str(tmp_path_factory.mktemp("baseline") / "b.json")
    Baseline.of(findings).write(path)
    assert Baseline.read(path) == Baseline.of(findings)


def test_a_renamed_file_keeps_its_findings() -> None:
    baseline = Baseline.of([some("old.py", "S602", "0a"), some("old.py", "S1", "1b")])
    now = [some("new.py", "S602", "0a"), some("new.py", "S1", "1b"), some("new.py", "S1", "2c")]
    accepted, stale = baseline.accept(now, lambda path: path == "old.py")
    assert accepted == (True, True, False)
    assert stale == ()


def test_a_copy_of_a_file_that_is_still_there_is_new() -> None:
    baseline = Baseline.of([some("old.py", "S602", "0a")])
    accepted, stale = baseline.accept([some("new.py", "S602", "0a")], lambda path: False)
    assert accepted == (False,)
    assert stale == (Entry("old.py", "S602", "0a"),)


def test_where_two_files_could_be_the_renamed_one_neither_is() -> None:
    baseline = Baseline.of([some("old.py", "S602", "0a")])
    now = [some("new.py", "S602", "0a"), some("newer.py", "S602", "0a")]
    assert baseline.accept(now, lambda path: path == "old.py")[0] == (False, False)


def test_an_entry_takes_one_line() -> None:
    text = Baseline.of([some("a.py", "S602", "0a"), some("b.py", "S602", "0a")]).text()
    entries = [line for line in text.splitlines() if "identity" in line]
    assert len(entries) == 2
    assert all(line.endswith("},") for line in entries)
    assert json.loads(text)["version"] == 1


def test_two_branches_that_each_add_findings_merge(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True)

    both = [some(f"{name}.py", "S602", "0a") for name in "bdfhjl"]
    file = str(tmp_path / "b.json")
    git("init", "-q", "-b", "main")
    Baseline.of(both).write(file)
    git("add", "b.json")
    git("commit", "-qm", "base")
    git("checkout", "-qb", "left")
    Baseline.of([*both, some("a.py", "S602", "0a")]).write(file)
    git("commit", "-qam", "left")
    git("checkout", "-q", "main")
    Baseline.of([*both, some("z.py", "S602", "0a")]).write(file)
    git("commit", "-qam", "right")
    git("merge", "-q", "left")
    merged = Baseline.read(file)
    assert merged == Baseline.of([*both, some("a.py", "S602", "0a"), some("z.py", "S602", "0a")])


def test_an_entry_that_a_merge_left_twice_counts_once(written: Written) -> None:
    entry = '{"path":"a.py","rule":"S1","identity":"0a","count":2}'
    path = written("b.json", f'{{"version":1,"findings":[{entry},\n{entry},\n{{}}]}}')
    assert Baseline.read(path).counts == {("a.py", "S1", "0a"): 2}


@pytest.mark.parametrize(
    "content",
    [
        "", "[]", "{", '{"version":1}', '{"version":2,"findings":[]}', '{"version":1,"findings":[[1]]}',
        '{"version":1,"findings":[\n<<<<<<< HEAD\n{}]}', "[" * 100_000,
        '{"version":1,"findings":[{"count":"x"}]}',
    ],
)  # fmt: skip
def test_a_file_that_is_no_baseline_is_told_in_one_sentence(written: Written, content: str) -> None:
    with pytest.raises(WorkspaceError) as caught:
        Baseline.read(written("b.json", content))
    assert "\n" not in str(caught.value)


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="--write-baseline"):
        Baseline.read(str(tmp_path / "none.json"))


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="can't be written"):
        Baseline.of([]).write(str(tmp_path / "nowhere" / "b.json"))
    path = tmp_path / "b.json"
    Baseline.of([]).write(str(path))
    assert os.listdir(tmp_path) == ["b.json"]
