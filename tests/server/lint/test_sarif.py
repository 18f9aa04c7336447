"""SARIF: what code scanning needs of it, and what Microsoft's validator says."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import unquote

import msgspec
import pytest

from deltaloom_server.lint.outcome import Outcome
from deltaloom_server.lint.reports import render

VALIDATOR = Path(__file__).parent / "sarif_multitool"
CACHE = Path(__file__).resolve().parents[3] / ".cache" / "sarif_multitool"


def run_of(outcome: Outcome) -> dict[str, Any]:
    log = json.loads(render(outcome, "sarif"))
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    return dict(run)


def test_locations_are_relative_and_count_from_one(outcome: Outcome) -> None:
    for result in run_of(outcome)["results"]:
        place = result["locations"][0]["physicalLocation"]
        assert place["artifactLocation"]["uriBaseId"] == "%SRCROOT%"
        uri = place["artifactLocation"]["uri"]
        assert uri.isascii()
        assert not uri.startswith("/")
        assert not set(uri) & set(' :?#\n"')
        assert min(value for value in place["region"].values() if isinstance(value, int)) >= 1
    first = run_of(outcome)["results"][0]["locations"][0]["physicalLocation"]
    assert unquote(first["artifactLocation"]["uri"]) == outcome.findings[0].finding.path
    assert first["region"] == {
        "startLine": 3, "startColumn": 1, "endLine": 3, "endColumn": 32,
        "snippet": {"text": "subprocess.run(cmd, shell=True)"},
    }  # fmt: skip
    assert run_of(outcome)["columnKind"] == "unicodeCodePoints"


def test_fingerprints_are_our_identity_and_one_that_is_unique(outcome: Outcome) -> None:
    results = run_of(outcome)["results"]
    identities = [result["partialFingerprints"]["deltaloomIdentity/v1"] for result in results]
    shown = [one for one in outcome.findings if one.state != "unchanged-line"]
    assert identities == [one.finding.identity for one in shown]
    assert len(set(identities)) < len(identities)  # a copy of a file has equal ones
    assert len({result["fingerprints"]["deltaloomFinding/v1"] for result in results}) == len(results)


def test_every_result_has_its_rule(outcome: Outcome) -> None:
    run = run_of(outcome)
    rules = run["tool"]["driver"]["rules"]
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
    assert len({rule["id"] for rule in rules}) == len(rules)
    by_id = {rule["id"]: rule for rule in rules}
    assert by_id["S602"]["properties"]["security-severity"] == "8.0"
    assert by_id["S602"]["properties"]["precision"] == "high"
    assert by_id["S602"]["properties"]["tags"] == ["security", "external/cwe/cwe-078"]
    assert by_id["S602"]["helpUri"].startswith("https://")


def test_suppressed_and_accepted_findings_are_there_as_such(outcome: Outcome) -> None:
    suppressions = [result.get("suppressions") for result in run_of(outcome)["results"]]
    assert [one and one[0]["kind"] for one in suppressions] == [None, None, "inSource", "external"]


def test_fixes_are_changes_of_the_same_file(outcome: Outcome) -> None:
    first, second, *_ = run_of(outcome)["results"]
    (fix,) = first["fixes"]
    (change,) = fix["artifactChanges"]
    assert change["artifactLocation"] == first["locations"][0]["physicalLocation"]["artifactLocation"]
    assert change["replacements"] == [
        {
            "deletedRegion": {"startLine": 3, "startColumn": 21, "endLine": 3, "endColumn": 31},
            "insertedContent": {"text": "shell=False"},
        }
    ]
    assert "rescanned by bandit and ruff" in fix["description"]["text"]
    assert "Look before you apply it." in second["fixes"][0]["description"]["text"]


def test_a_failure_is_an_execution_that_was_not_successful(outcome: Outcome, empty: Outcome) -> None:
    (invocation,) = run_of(outcome)["invocations"]
    assert invocation["executionSuccessful"] is False
    levels = [one["level"] for one in invocation["toolExecutionNotifications"]]
    assert levels == ["warning", "error", "note"]
    assert run_of(empty)["invocations"] == [{"executionSuccessful": True}]
    broken = msgspec.structs.replace(empty, complete=False)
    assert run_of(broken)["invocations"][0]["executionSuccessful"] is False


def test_shards_are_uploaded_side_by_side(empty: Outcome) -> None:
    ids = [
        run_of(msgspec.structs.replace(empty, shard=shard))["automationDetails"]["id"]
        for shard in (None, (1, 2), (2, 2))
    ]
    assert ids == ["deltaloom/", "deltaloom/1-of-2/", "deltaloom/2-of-2/"]


@pytest.fixture(scope="session")
def validator() -> Path:
    """The validator's program, installed from the lock file once for a checkout."""
    npm = shutil.which("npm")
    if npm is None:
        _without("npm isn't installed")
    CACHE.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copy(VALIDATOR / name, CACHE / name)
    system = {"Linux": "linux", "Darwin": "darwin"}[platform.system()]
    program = CACHE / "node_modules" / "@microsoft" / f"sarif-multitool-{system}" / "Sarif.Multitool"
    if not program.is_file():
        command = [npm, "ci", "--prefer-offline"]
        done = subprocess.run(command, cwd=CACHE, capture_output=True, text=True, timeout=150, check=False)
        if done.returncode != 0 or not program.is_file():
            why = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
            _without(f"npm can't install the validator ({why})")
    program.chmod(0o755)  # its install script would do that, and install scripts aren't run
    return program


def _without(why: str) -> NoReturn:
    """CI sets the variable: there, a validator that is missing is a failure."""
    if os.environ.get("DELTALOOM_NEED_SARIF_VALIDATOR"):
        pytest.fail(why)
    pytest.skip(why)


def complaints(validator: Path, log: str, folder: Path) -> list[str]:
    """Errors and warnings of its rules for SARIF and for GitHub, as "RULE message"."""
    file, output = folder / "own.sarif", folder / "said.sarif"
    file.write_text(log, encoding="utf-8")
    command = [
        str(validator), "validate", str(file), "--rule-kind", "Sarif;Ghas", "--level", "Error;Warning",
        "--output", str(output), "--log", "ForceOverwrite", "--quiet",
    ]  # fmt: skip
    environment = os.environ | {"DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1"}
    subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=120, check=False)
    said = json.loads(output.read_text(encoding="utf-8-sig"))["runs"][0]["results"]
    return [f"{result['ruleId']} {json.dumps(result['message'])}" for result in said]


@pytest.mark.parametrize("which", ["outcome", "empty", "shard"])
def test_the_validator_of_sarif_and_github_has_no_complaint(
    validator: Path, tmp_path: Path, outcome: Outcome, empty: Outcome, which: str
) -> None:
    shard = msgspec.structs.replace(outcome, shard=(2, 3), complete=False)
    log = render({"outcome": outcome, "empty": empty, "shard": shard}[which], "sarif")
    found = complaints(validator, log, tmp_path)
    if "informationUri" not in log:  # the package names no home page yet, and we make none up
        found = [one for one in found if not one.startswith("SARIF2005")]
    assert found == []


def test_the_validator_would_complain(validator: Path, tmp_path: Path, outcome: Outcome) -> None:
    log = json.loads(render(outcome, "sarif"))
    log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["region"]["startLine"] = 0
    assert complaints(validator, json.dumps(log), tmp_path)
