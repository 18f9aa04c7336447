"""Other scanners' SARIF: what it says becomes findings, and what it must not do doesn't happen."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltaloom_server.errors import WorkspaceError
from deltaloom_server.lint.from_sarif import Imported, read_sarif
from deltaloom_server.lint.outcome import Outcome, Reported
from deltaloom_server.lint.reports import sarif
from deltaloom_server.lint.sarif_names import our_rule
from deltaloom_server.security.finding import Finding, Related, Span

TEXT = "import os\nx = '𝒳'; os.system(cmd)\nos.system(\n    cmd\n)\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "work"
    (root / "src").mkdir(parents=True)
    (root / "src" / "a b.py").write_text(TEXT, encoding="utf-8")
    (tmp_path / "outside.py").write_text(TEXT, encoding="utf-8")
    return root


def at(uri: str = "src/a%20b.py", **region: int) -> dict[str, Any]:
    region = region or {"startLine": 2}
    return {"physicalLocation": {"artifactLocation": {"uri": uri}, "region": region}}


def result(**changes: Any) -> dict[str, Any]:
    return {"ruleId": "X1", "message": {"text": "A message."}, "locations": [at()]} | changes


def read(root: Path, *results: dict[str, Any], rules: Any = (), **run: Any) -> Imported:
    driver = {"name": "other", "rules": list(rules)}
    log = {"version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": list(results)} | run]}
    path = root.parent / "other.sarif"
    path.write_text(json.dumps(log), encoding="utf-8")
    return read_sarif(str(path), str(root))


def only(imported: Imported) -> Finding:
    (finding,) = imported.findings
    return finding


def test_a_plain_result_is_a_finding_on_its_whole_line(root: Path) -> None:
    assert only(read(root, result())) == Finding(
        "X1", "A message.", "src/a b.py", Span(1, 0, 1, 23), "medium", "medium", ("sarif",), ("X1",)
    )


@pytest.mark.parametrize(
    ("kind", "first", "last"), [("utf16CodeUnits", 11, 25), ("unicodeCodePoints", 10, 24), (None, 10, 24)]
)
def test_columns_are_counted_in_the_units_that_the_run_names(
    root: Path, kind: str | None, first: int, last: int
) -> None:
    run = {"columnKind": kind} if kind else {}
    location = at(startLine=2, startColumn=first, endColumn=last)
    span = only(read(root, result(locations=[location]), **run)).span
    assert TEXT.splitlines()[1][span.start_column : span.end_column] == "os.system(cmd)"


@pytest.mark.parametrize(
    ("region", "span"),
    [
        ({"startLine": 3, "endLine": 5, "endColumn": 2}, Span(2, 0, 4, 1)),
        ({"charOffset": 10, "charLength": 5}, Span(1, 0, 1, 5)),
        ({"startLine": 1, "startColumn": 500}, Span(0, 9, 0, 9)),
        ({"startLine": 2, "startColumn": 9, "endColumn": 3}, Span(1, 8, 1, 8)),
    ],
)
def test_regions_of_every_form_are_places_in_the_text(root: Path, region: dict[str, int], span: Span) -> None:
    assert only(read(root, result(locations=[at(**region)]))).span == span


def test_a_line_that_is_gone_is_left_out_and_told(root: Path) -> None:
    imported = read(root, result(locations=[at(startLine=99)]), result(locations=[at(startLine=0)]))
    assert imported.findings == ()
    assert imported.notes == ("2 results of other.sarif left out: their files have no such line any more.",)


@pytest.mark.parametrize(
    ("uri", "base"),
    [
        ("src/a%20b.py", None),
        ("./src/../src/a%20b.py", None),
        ("file://{root}/src/a%20b.py", None),
        ("file://localhost{root}/src/a%20b.py", None),
        ("a%20b.py", {"uri": "src/", "uriBaseId": "TOP"}),
        ("src/a%20b.py", {"uri": "file:///builds/x/"}),
        ("src/a%20b.py", {"uri": "file://{root}"}),
        ("src/a%20b.py", {"description": {"text": "somewhere"}}),
    ],
)
def test_files_are_found_however_they_are_named(root: Path, uri: str, base: dict[str, str] | None) -> None:
    location = at(uri.format(root=root))
    run: dict[str, Any] = {}
    if base is not None:
        location["physicalLocation"]["artifactLocation"]["uriBaseId"] = "SRC"
        filled = {key: value.format(root=root) if key == "uri" else value for key, value in base.items()}
        run = {"originalUriBaseIds": {"SRC": filled, "TOP": {"uri": f"file://{root}/"}}}
    assert only(read(root, result(locations=[location]), **run)).path == "src/a b.py"


def test_a_file_may_be_named_by_its_number(root: Path) -> None:
    location = {"physicalLocation": {"artifactLocation": {"index": 1}, "region": {"startLine": 1}}}
    artifacts = [{"location": {"uri": "x"}}, {"location": {"uri": "src/a%20b.py"}}]
    assert only(read(root, result(locations=[location]), artifacts=artifacts)).path == "src/a b.py"


@pytest.mark.parametrize(
    "uri",
    [
        "../outside.py", "src/../../outside.py", "%2e%2e/outside.py", "file://{outside}", "{outside}",
        "src/link.py", "src", "none.py", "http://example.org/src/a%20b.py", "file://host{root}/src/a%20b.py",
        "src/a%20b.py%00", "src/pipe", "", "bad\ud800.py",
    ],
)  # fmt: skip
def test_what_is_not_a_file_of_the_workspace_is_refused(root: Path, uri: str) -> None:
    outside = root.parent / "outside.py"
    (root / "src" / "link.py").symlink_to(outside)
    os.mkfifo(root / "src" / "pipe")
    imported = read(root, result(locations=[at(uri.format(root=root, outside=outside))]))
    assert imported.findings == ()
    assert imported.notes == ("1 result of other.sarif left out: they name no file in this folder.",)


def test_bases_that_name_each_other_end(root: Path) -> None:
    location = at()
    location["physicalLocation"]["artifactLocation"]["uriBaseId"] = "A"
    bases = {"A": {"uri": "x/", "uriBaseId": "B"}, "B": {"uri": "y/", "uriBaseId": "A"}}
    assert only(read(root, result(locations=[location]), originalUriBaseIds=bases)).path == "src/a b.py"


@pytest.mark.parametrize(
    ("identifier", "ours"),
    [
        ("B602", "S602"),
        ("S602", "S602"),
        ("B602/subprocess_popen_with_shell_equals_true", "S602"),
        ("bandit.B602", "S602"),
        ("bandit.B303-1", "S303"),
        ("py/command-line-injection", "S602"),
        ("py/unsafe-deserialization", "S301"),
        ("py/sql-injection", "S608"),
        ("python.lang.security.audit.eval-detected.eval-detected", "S307"),
        ("javascript.lang.security.audit.eval-detected.eval-detected", None),
        ("js/code-injection", None),
        ("RS602X", None),
    ],
)
def test_rules_of_known_scanners_get_our_names(identifier: str, ours: str | None) -> None:
    assert our_rule(identifier) == (ours or identifier)


def test_every_name_that_is_mapped_is_of_our_catalogue() -> None:
    from deltaloom_server.lint import sarif_names
    from deltaloom_server.security.rules import all_rules

    known = {info.rule for info in all_rules()}
    mapped = {*sarif_names._CODEQL.values(), *sarif_names._SEMGREP.values()}
    assert mapped <= known


@pytest.mark.parametrize(
    ("rule", "changes", "cwe"),
    [
        ({"properties": {"tags": ["security", "external/cwe/cwe-078"]}}, {}, 78),
        ({"properties": {"tags": ["CWE-89: Improper Neutralization", "OWASP"]}}, {}, 89),
        ({"properties": {"cwe": "CWE-22"}}, {}, 22),
        ({"properties": {"cwe": ["CWE-22"]}}, {}, 22),
        ({"relationships": [{"target": {"id": "502", "toolComponent": {"name": "CWE"}}}]}, {}, 502),
        ({}, {"taxa": [{"id": "CWE-79"}]}, 79),
        ({}, {"properties": {"tags": ["cwe"]}}, None),
        ({"properties": {"tags": ["external/cwe/cwe-1234567"]}}, {}, None),
    ],
)
def test_the_weakness_is_found_where_scanners_put_it(
    root: Path, rule: dict[str, Any], changes: dict[str, Any], cwe: int | None
) -> None:
    imported = read(root, result(ruleIndex=0, **changes), rules=[{"id": "X1"} | rule])
    assert only(imported).cwe == cwe


def test_a_rule_that_we_know_brings_its_weakness(root: Path) -> None:
    finding = only(read(root, result(ruleId="B602")))
    assert (finding.rule, finding.aliases, finding.cwe) == ("S602", ("B602",), 78)


@pytest.mark.parametrize(
    ("rule", "changes", "severity"),
    [
        ({}, {"level": "error"}, "high"),
        ({}, {"level": "note"}, "low"),
        ({"defaultConfiguration": {"level": "error"}}, {}, "high"),
        ({"properties": {"security-severity": "9.8"}}, {"level": "note"}, "critical"),
        ({"properties": {"security-severity": "5.0"}}, {}, "medium"),
        ({"properties": {"security-severity": "much"}}, {"level": "error"}, "high"),
        ({}, {"properties": {"issue_severity": "LOW"}, "level": "error"}, "low"),
    ],
)
def test_the_severity_is_the_most_precise_that_is_given(
    root: Path, rule: dict[str, Any], changes: dict[str, Any], severity: str
) -> None:
    assert only(read(root, result(**changes), rules=[{"id": "X1"} | rule])).severity == severity


def test_confidence_comes_from_the_precision(root: Path) -> None:
    rules = [{"id": "X1", "properties": {"precision": "very-high"}}]
    assert only(read(root, result(), rules=rules)).confidence == "high"
    assert only(read(root, result(properties={"issue_confidence": "LOW"}), rules=rules)).confidence == "low"


def test_a_rule_of_an_extension_is_found_by_its_reference(root: Path) -> None:
    tool = {
        "driver": {"name": "other"},
        "extensions": [{"name": "pack", "rules": [{"id": "py/xxe", "helpUri": "https://example.org/xxe"}]}],
    }
    one = {"message": {"text": "m"}, "locations": [at()], "rule": {"index": 0, "toolComponent": {"index": 0}}}
    finding = only(read(root, one, tool=tool))
    assert (finding.rule, finding.aliases, finding.help_url) == (
        "S314",
        ("py/xxe",),
        "https://example.org/xxe",
    )


def test_a_message_may_stand_with_the_rule(root: Path) -> None:
    rules = [{"id": "X1", "messageStrings": {"default": {"text": "{0} reaches\n {1}"}}}]
    message = {"id": "default", "arguments": ["cmd", "os.system"]}
    assert only(read(root, result(message=message), rules=rules)).message == "cmd reaches os.system"


def test_other_places_in_the_same_file_come_along(root: Path) -> None:
    related = [
        at(startLine=1) | {"message": {"text": "imported"}},
        at("none.py") | {"message": {"text": "x"}},
    ]
    finding = only(read(root, result(relatedLocations=related)))
    assert finding.related == (Related(Span(0, 0, 0, 9), "imported"),)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"kind": "pass"}, "no findings"),
        ({"baselineState": "absent"}, "gone since its baseline"),
        ({"suppressions": [{"kind": "inSource"}]}, "suppressed there"),
        ({"suppressions": [{"kind": "external", "status": "accepted"}]}, "suppressed there"),
        ({"ruleId": ""}, "name no rule"),
        ({"locations": []}, "name no file"),
    ],
)
def test_what_is_left_out_is_told_with_its_reason(root: Path, changes: dict[str, Any], why: str) -> None:
    imported = read(root, result(**changes))
    assert imported.findings == ()
    assert why in imported.notes[0]


def test_a_suppression_that_was_rejected_is_none(root: Path) -> None:
    assert read(root, result(suppressions=[{"kind": "external", "status": "rejected"}])).findings


def test_the_same_result_twice_is_one_finding(root: Path) -> None:
    assert len(read(root, result(), result()).findings) == 1


def test_a_help_link_is_a_web_address(root: Path) -> None:
    rules = [{"id": "X1", "helpUri": "javascript:alert(1)"}]
    assert only(read(root, result(), rules=rules)).help_url == ""


def test_our_own_report_comes_back(root: Path) -> None:
    mine = Finding("S605", "A shell.", "src/a b.py", Span(1, 9, 1, 23), "high", "high", ("ruff",), cwe=78)
    text = sarif.render(Outcome("0.1", str(root), 1, (Reported(mine, TEXT.splitlines()[1]),)))
    path = root.parent / "own.sarif"
    path.write_text(text, encoding="utf-8")
    finding = only(read_sarif(str(path), str(root)))
    assert (finding.rule, finding.path, finding.span, finding.severity, finding.confidence, finding.cwe) == (
        "S605", "src/a b.py", mine.span, "high", "high", 78,
    )  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{}", b"[]", b'{"version":"2.1.0"}', b'{"version":"1.0.0","runs":[]}', b"[" * 100_000,
        b"\xff\xfe{", b'{"version":"2.1.0","runs":{}}',
    ],
)  # fmt: skip
def test_what_is_no_sarif_is_told_in_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.sarif"
    path.write_bytes(content)
    with pytest.raises(WorkspaceError) as caught:
        read_sarif(str(path), str(tmp_path))
    assert "\n" not in str(caught.value)


keys = st.sampled_from(
    [
        "id", "index", "uri", "uriBaseId", "text", "arguments", "startLine", "startColumn", "endLine",
        "endColumn", "charOffset", "charLength", "driver", "extensions", "rules", "toolComponent", "name",
        "properties", "tags", "cwe", "security-severity", "precision", "target", "relationships", "location",
        "physicalLocation", "artifactLocation", "region", "message", "messageStrings", "helpUri", "x",
    ]
)  # fmt: skip
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=4) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=8,
)
places = st.sampled_from(
    [
        "ruleId", "ruleIndex", "rule", "level", "message", "locations", "relatedLocations", "kind",
        "suppressions", "properties", "taxa",
    ]
)  # fmt: skip
parts = st.sampled_from(["tool", "artifacts", "originalUriBaseIds", "columnKind", "results"])


@given(st.dictionaries(places, json_values), st.dictionaries(parts, json_values), json_values, json_values)
def test_values_of_any_type_anywhere_are_no_crash(
    tmp_path_factory: pytest.TempPathFactory,
    changes: dict[str, Any],
    run: dict[str, Any],
    region: Any,
    rule: Any,
) -> None:
    root = tmp_path_factory.mktemp("any") / "work"
    root.mkdir()
    (root / "a.py").write_text(TEXT, encoding="utf-8")
    here = [{"physicalLocation": {"artifactLocation": {"uri": "a.py"}, "region": region}}]
    for one, run_changes in (
        (result(locations=here), {}),
        (result(**changes), run),
        (result(**(changes | {"locations": here})), {}),
    ):
        imported = read(root, one, **({"rules": [rule]} | run_changes))
        assert all(finding.path == "a.py" for finding in imported.findings)


def test_halves_of_characters_are_replaced(root: Path) -> None:
    finding = only(read(root, result(ruleId="X\ud800", message={"text": "m\udfff"})))
    assert (finding.rule, finding.message) == ("X?", "m?")
