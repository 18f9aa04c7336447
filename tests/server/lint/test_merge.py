"""Shards become one outcome, and what is missing is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltaloom_server.cli.parser import run
from deltaloom_server.errors import WorkspaceError
from deltaloom_server.lint.baseline import Baseline
from deltaloom_server.lint.merge import combine, merge
from deltaloom_server.lint.options import LintOptions, LintUsageError
from deltaloom_server.lint.outcome import Outcome, Reported, exit_status
from deltaloom_server.lint.reports import as_json
from deltaloom_server.lint.shards import in_shard
from deltaloom_server.security.finding import Finding, Span

MakeFinding = Callable[..., Finding]
Written = Callable[[str, str], str]


def some(path: str, identity: str) -> Reported:
    return Reported(
        Finding("S602", "m", path, Span(0, 0, 0, 1), "high", "high", ("ruff",), identity=identity)
    )


def of(findings: list[Reported], shard: tuple[int, int] | None = None) -> Outcome:
    order = sorted(findings, key=lambda one: (one.finding.path, one.finding.span, one.finding.rule))
    paths = tuple(sorted({one.finding.path for one in findings}))
    return Outcome("0.1", "/r", len(paths), tuple(order), shard=shard, paths=paths)


@given(st.sets(st.text(min_size=1, max_size=6), max_size=20), st.integers(1, 6))
def test_shards_merged_are_the_whole(paths: set[str], parts: int) -> None:
    everything = [some(path, "0a") for path in paths]
    shards = [
        of([one for one in everything if in_shard(one.finding.path, (part, parts))], (part, parts))
        for part in range(1, parts + 1)
    ]
    whole = of(everything)
    merged = combine(shards[::-1])
    assert merged.findings == whole.findings
    assert merged.files == whole.files
    assert set(merged.paths) == set(whole.paths)
    assert merged.complete
    assert merged.shard is None


def test_a_missing_shard_makes_the_whole_incomplete() -> None:
    merged = combine([of([], (1, 3)), of([], (3, 3))])
    assert not merged.complete
    assert merged.notes == ("Shard 2 of 3 is missing.",)
    assert exit_status(merged, exit_zero=True) == 2


@pytest.mark.parametrize("shards", [[(1, 2), (1, 2)], [(1, 2), (1, 3)], [(1, 2), None]])
def test_what_does_not_belong_together_is_refused(shards: list[tuple[int, int] | None]) -> None:
    with pytest.raises(LintUsageError):
        combine([of([], shard) for shard in shards])


def test_runs_over_several_folders_are_merged_and_a_finding_counts_once() -> None:
    merged = combine([of([some("a.py", "0a")]), of([some("a.py", "0a"), some("b.py", "0a")])])
    assert [one.finding.path for one in merged.findings] == ["a.py", "b.py"]


def merge_options(tmp_path: Path, *outcomes: Outcome) -> LintOptions:
    paths = []
    for number, outcome in enumerate(outcomes):
        path = tmp_path / f"{number}.json"
        path.write_text(as_json.render(outcome), encoding="utf-8")
        paths.append(str(path))
    return LintOptions(root=str(tmp_path), paths=(), merge=tuple(paths))


def test_the_merge_follows_a_rename_from_one_shard_to_another(tmp_path: Path) -> None:
    path = str(tmp_path / "b.json")
    Baseline.of([some("old.py", "0a").finding, some("kept.py", "0a").finding]).write(path)
    shards = of([some("new.py", "0a")], (1, 2)), of([some("kept.py", "0a")], (2, 2))
    merged = merge(replace(merge_options(tmp_path, *shards), baseline=path))
    assert [one.state for one in merged.findings] == ["baseline", "baseline"]
    assert merged.notes == ()


def test_a_file_without_findings_is_not_taken_for_a_removed_one(tmp_path: Path) -> None:
    path = str(tmp_path / "b.json")
    Baseline.of([some("old.py", "0a").finding]).write(path)
    outcome = msgspec.structs.replace(of([some("new.py", "0a")]), paths=("new.py", "old.py"))
    merged = merge(replace(merge_options(tmp_path, outcome), baseline=path))
    assert [one.state for one in merged.findings] == ["new"]


def test_the_merge_may_ask_for_more_than_its_shards(tmp_path: Path, finding: MakeFinding) -> None:
    findings = [Reported(finding(severity=severity)) for severity in ("low", "high")]
    outcome = msgspec.structs.replace(of(findings), severity="low")
    options = merge_options(tmp_path, outcome)
    assert len(merge(options).blocking) == 1  # both have one identity
    stricter = merge(replace(options, severity="critical"))
    assert stricter.findings == ()
    assert exit_status(stricter) == 0


def test_an_outcome_is_read_as_it_was_written(tmp_path: Path, outcome: Outcome) -> None:
    strange = msgspec.structs.replace(outcome, paths=("bytes\udcff.py",))
    path = tmp_path / "o.json"
    path.write_text(as_json.render(strange), encoding="utf-8")
    assert as_json.read(str(path)) == strange


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"format": 99}', '{"format": 1, "version": 1}', "[" * 100_000, "\x00"]
)
def test_what_is_no_outcome_is_told_in_one_sentence(written: Written, content: str) -> None:
    with pytest.raises(WorkspaceError, match="is not what `deltaloom lint --format json`") as caught:
        as_json.read(written("o.json", content))
    assert "\n" not in str(caught.value)


def test_the_command_merges_writes_a_baseline_and_then_accepts(
    tmp_path: Path, outcome: Outcome, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    healthy = msgspec.structs.replace(outcome, unscanned=())
    (tmp_path / "o.json").write_text(as_json.render(healthy), encoding="utf-8")
    assert run(["lint", "merge", "o.json", "--format", "json", "--output", "all.json"]) == 1
    assert json.loads((tmp_path / "all.json").read_text())["files"] == 4
    assert run(["lint", "merge", "o.json", "--exit-zero", "--quiet"]) == 0
    assert run(["lint", "merge", "o.json", "--write-baseline", "b.json"]) == 0
    assert run(["lint", "merge", "o.json", "--baseline", "b.json"]) == 0
    assert "in the baseline" in capsys.readouterr().out


def test_no_baseline_is_written_where_a_scanner_failed(
    tmp_path: Path, outcome: Outcome, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "o.json").write_text(as_json.render(outcome), encoding="utf-8")
    assert run(["lint", "merge", "o.json", "--write-baseline", "b.json", "--format", "sarif"]) == 2
    captured = capsys.readouterr()
    assert not (tmp_path / "b.json").exists()
    assert "The baseline isn't written." in captured.err
    assert "ruff failed on deep.py" in captured.err
    json.loads(captured.out)
