"""The catalogue against the scanners that are installed: nothing they report is unknown to it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deltaloom_server.security.finding import CONFIDENCES, SEVERITIES
from deltaloom_server.security.rules import all_rules, bandit_id, canonical, rule_info, secret_rule
from deltaloom_server.security.scanners import own


def ruff_rules() -> dict[str, str]:
    """The S rules of the installed ruff and their names."""
    ruff = shutil.which("ruff", path=str(Path(sys.executable).parent)) or shutil.which("ruff")
    assert ruff is not None
    told = subprocess.run(
        [ruff, "rule", "--all", "--output-format", "json"], capture_output=True, check=True
    ).stdout
    return {one["code"]: one["name"] for one in json.loads(told) if one["linter"] == "flake8-bandit"}


def bandit_tests() -> dict[str, str]:
    """The ids of the installed bandit's tests, by name."""
    manager = pytest.importorskip("bandit.core.extension_loader").MANAGER
    names = {plugin.name: plugin.plugin._test_id for plugin in manager.plugins}
    return names | {name: item["id"] for name, item in manager.blacklist_by_name.items()}


def test_every_security_rule_of_the_installed_ruff_is_known_by_code_and_name() -> None:
    rules = ruff_rules()
    assert len(rules) > 60
    for code, name in rules.items():
        info = rule_info(code)
        assert info.rule == code
        assert info.cwe is not None
        assert name in info.names
        assert info.help_url.endswith(f"/{name}/")


def test_every_test_of_the_installed_bandit_is_known_by_id_and_name() -> None:
    tests = bandit_tests()
    assert len(tests) > 60
    codes = ruff_rules()
    for name, identifier in tests.items():
        assert bandit_id(name) == identifier
        assert bandit_id(identifier) == identifier
        info = rule_info(identifier)
        assert info.cwe is not None
        if "S" + identifier[1:] in codes:
            assert info.rule == "S" + identifier[1:]


def test_both_scanners_names_lead_to_one_rule() -> None:
    assert canonical("B602") == canonical("S602") == "S602"
    assert canonical("subprocess_popen_with_shell_equals_true") == "S602"
    assert canonical("B613") == "B613"
    assert canonical("B703") == canonical("B308") == "S308"
    assert bandit_id("B703") == "B703"


def test_a_rule_nobody_knows_gets_its_own_name_back() -> None:
    info = rule_info("XYZ42")
    assert (info.rule, info.cwe, info.severity) == ("XYZ42", None, "medium")
    assert rule_info("js/not-a-rule-of-ours").rule == "js/not-a-rule-of-ours"


def test_secrets_are_known_by_the_name_of_their_detector() -> None:
    assert secret_rule("AWS Access Key") == "secret/aws-access-key"
    assert secret_rule("Public IP (ipv4)") == "secret/public-ip-ipv4"
    assert rule_info("secret/aws-access-key").severity == "critical"
    assert rule_info("secret/slack-token").cwe == 798
    assert rule_info("secret/hex-high-entropy-string").severity == "low"


def test_every_kind_of_secret_that_is_graded_exists() -> None:
    util = pytest.importorskip("detect_secrets.core.plugins.util")
    kinds = {secret_rule(kind) for kind in util.get_mapping_from_secret_type_to_class()}
    from deltaloom_server.security import rules

    assert set(rules._SECRETS) <= kinds


def test_what_marks_sound_code_is_low_and_what_lets_code_in_is_high() -> None:
    for code in ("S101", "S110", "S311", "S403", "S404", "S603", "S606", "S607", "DL001"):
        assert rule_info(code).severity == "low", code
    for code in ("S102", "S301", "S307", "S501", "S506", "S602", "S608", "DL102", "DL110"):
        assert rule_info(code).severity == "high", code


def test_no_two_rules_share_a_name_and_each_has_a_title_and_grades() -> None:
    rules = all_rules()
    names = [name for info in rules for name in info.names if name[:1] in "BSD" and name[1:2].isdigit()]
    assert len(names) == len(set(names))
    for info in rules:
        assert info.title
        assert info.severity in SEVERITIES
        assert info.confidence in CONFIDENCES
        assert info.help_url.startswith("https://") or info.rule == "DL001"


def test_our_own_rules_are_those_that_a_check_reports() -> None:
    listed = {info.rule for info in all_rules() if info.rule.startswith("DL")} - {"DL001"}
    assert listed == {rule for rule in own.rules() if rule.startswith("DL")}
