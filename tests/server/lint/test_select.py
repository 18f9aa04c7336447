"""What is reported, and as what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import msgspec
import pytest

from deltaloom_server.errors import WorkspaceError
from deltaloom_server.lint.baseline import Baseline
from deltaloom_server.lint.changed_lines import Changes
from deltaloom_server.lint.options import LintOptions
from deltaloom_server.lint.outcome import Outcome, Reported
from deltaloom_server.lint.select import Choice, baseline_of, selected
from deltaloom_server.security.finding import UNUSED_SUPPRESSION, Finding, Suppression

MakeFinding = Callable[..., Finding]


@pytest.fixture
def options(tmp_path: Path) -> LintOptions:
    return LintOptions(root=str(tmp_path), paths=(str(tmp_path),))


@pytest.mark.parametrize(
    ("select", "ignore", "chosen"),
    [
        ((), (), True),
        (("S6",), (), True),
        (("B602",), (), True),
        (("CWE-78",), (), True),
        (("CWE-7",), (), False),
        (("S1", "B1"), (), False),
        (("S602",), ("S6",), False),
        ((), ("CWE-78",), False),
    ],
)
def test_rules_are_chosen_by_their_beginning_any_name_or_weakness(
    finding: MakeFinding, select: tuple[str, ...], ignore: tuple[str, ...], chosen: bool
) -> None:
    assert selected(finding(), select, ignore) is chosen


def test_what_is_below_the_threshold_is_counted(finding: MakeFinding, options: LintOptions) -> None:
    found = [(finding(severity="low"), "x"), (finding(line=9), "y")]
    chosen = Choice.prepare(options).report(found, ["src/app.py"])
    assert [one.source for one in chosen.findings] == ["y"]
    assert chosen.left_out == 1


def test_an_unused_suppression_is_told_at_any_threshold_and_fails_at_its_own(
    finding: MakeFinding, options: LintOptions, empty: Outcome
) -> None:
    unused = finding(UNUSED_SUPPRESSION, severity="low", cwe=None)
    (reported,) = Choice.prepare(options).report([(unused, "")], []).findings
    assert not empty.is_blocking(reported)
    quiet = replace(options, unused_suppressions=False)
    assert Choice.prepare(quiet).report([(unused, "")], []).findings == ()


def test_findings_come_in_the_order_of_path_and_place(finding: MakeFinding, options: LintOptions) -> None:
    found = [(finding(path="b.py"), ""), (finding(line=7, path="a.py"), ""), (finding(path="a.py"), "")]
    chosen = Choice.prepare(options).report(found, [])
    assert [(one.finding.path, one.finding.span.start_line) for one in chosen.findings] == [
        ("a.py", 2), ("a.py", 7), ("b.py", 2),
    ]  # fmt: skip


def test_an_accepted_finding_is_reported_as_such_and_stale_entries_are_told(
    finding: MakeFinding, options: LintOptions, tmp_path: Path
) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "app.py").touch()
    path = str(tmp_path / "b.json")
    known, gone = finding(identity="0a"), finding(identity="1b")
    Baseline.of([known, gone]).write(path)
    choice = Choice.prepare(replace(options, baseline=path))
    chosen = choice.report([(known, ""), (finding(line=8, identity="2c"), "")], ["src/app.py"])
    assert [one.state for one in chosen.findings] == ["baseline", "new"]
    assert chosen.notes == ("1 entry of the baseline accepts nothing any more: write it anew.",)
    elsewhere = choice.report([], ["other.py"])
    assert elsewhere.notes == ()  # that file wasn't looked at


def test_an_entry_of_a_finding_below_the_threshold_is_not_stale(
    finding: MakeFinding, options: LintOptions, tmp_path: Path
) -> None:
    path = str(tmp_path / "b.json")
    low = finding(severity="low", identity="0a")
    Baseline.of([low]).write(path)
    chosen = Choice.prepare(replace(options, baseline=path)).report([(low, "")], ["src/app.py"])
    assert chosen.notes == ()


def test_a_shard_leaves_renames_to_the_merge(
    finding: MakeFinding, options: LintOptions, tmp_path: Path
) -> None:
    path = str(tmp_path / "b.json")
    Baseline.of([finding(path="gone.py", identity="0a")]).write(path)
    moved = [(finding(path="new.py", identity="0a"), "")]
    whole = Choice.prepare(replace(options, baseline=path)).report(moved, ["new.py"])
    shard = Choice.prepare(replace(options, baseline=path, shard=(1, 2))).report(moved, ["new.py"])
    assert [one.state for one in whole.findings] == ["baseline"]
    assert [one.state for one in shard.findings] == ["new"]
    assert shard.notes == ()


def test_no_report_tells_a_secret(finding: MakeFinding, options: LintOptions) -> None:
    line = "é = connect('AKIA12345678', shell=True)"
    secret = finding("secret/aws-access-key", 2, 13, 25, cwe=798, severity="low")
    found = [(finding(line=2), line), (secret, line), (finding(line=3), line)]
    chosen = Choice.prepare(replace(options, severity="high")).report(found, [])
    assert [one.source for one in chosen.findings] == ["é = connect('************', shell=True)", line]
    (shown,) = (
        Choice.prepare(replace(options, select=("secret/",), severity="low")).report(found, []).findings
    )
    assert shown.source == "é = connect('************', shell=True)"


def test_only_changed_lines_are_new(finding: MakeFinding, options: LintOptions) -> None:
    changes = Changes("HEAD", MappingProxyType({"src/app.py": ((2, 3),)}), frozenset({"new.py"}))
    choice = replace(Choice(replace(options, changed_lines=True)), changes=changes)
    found = [(finding(), ""), (finding(line=5), ""), (finding(line=5, path="new.py"), "")]
    chosen = choice.report(found, [])
    assert [(one.finding.path, one.state) for one in chosen.findings] == [
        ("new.py", "new"), ("src/app.py", "new"), ("src/app.py", "unchanged-line"),
    ]  # fmt: skip
    assert choice.looks_at("new.py")
    assert not choice.looks_at("other.py")


def test_with_a_base_alone_all_lines_of_changed_files_count(
    finding: MakeFinding, options: LintOptions
) -> None:
    changes = Changes("HEAD", MappingProxyType({"src/app.py": ((2, 3),)}), frozenset())
    choice = replace(Choice(replace(options, diff_base="main")), changes=changes)
    (reported,) = choice.report([(finding(line=5), "")], []).findings
    assert reported.state == "new"


def test_a_missing_baseline_is_told_before_anything_is_scanned(options: LintOptions, tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match=r"none\.json"):
        Choice.prepare(replace(options, baseline=str(tmp_path / "none.json")))


def test_a_new_baseline_accepts_what_needs_accepting(finding: MakeFinding, empty: Outcome) -> None:
    findings = (
        Reported(finding(identity="0a")),
        Reported(finding(identity="1b"), state="baseline"),
        Reported(finding(identity="2c", suppressed=Suppression("nosec", 2, "# nosec"))),
        Reported(finding(UNUSED_SUPPRESSION, identity="3d")),
    )
    baseline = baseline_of(msgspec.structs.replace(empty, findings=findings))
    assert {identity for _, _, identity in baseline.counts} == {"0a", "1b"}
