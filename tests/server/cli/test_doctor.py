"""`deltaloom doctor` finds what is wrong and says what to do."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from deltaloom_server.cli import checks


def test_a_working_installation_has_no_failure(home) -> None:
    done = home.run("doctor", "--json")
    found = json.loads(done.stdout)
    assert [check for check in found if check["level"] == "fail"] == []
    assert done.returncode == 0
    wanted = {"python", "platform", "torch", "model", "runtime", "cache", "logs", "git", "memory", "worker"}
    assert wanted <= {check["name"] for check in found}


def test_all_that_is_not_ok_comes_with_advice(home) -> None:
    (home.root / "cache" / "deltaloom").mkdir(mode=0o755)
    for check in json.loads(home.run("doctor", "--json").stdout):
        assert check["level"] == "ok" or check["advice"], check


def test_an_open_cache_folder_is_a_warning_with_the_command_that_closes_it(home) -> None:
    folder = home.root / "cache" / "deltaloom"
    folder.mkdir()
    folder.chmod(0o755)
    done = home.run("doctor")
    assert f"chmod 700 {folder}" in done.stdout
    assert done.returncode == 0


def test_a_file_where_a_folder_belongs_fails(home) -> None:
    (home.root / "cache" / "deltaloom").write_text("")
    done = home.run("doctor")
    assert done.returncode == 1
    assert "isn't a folder" in done.stdout


@pytest.mark.parametrize(
    ("mode", "level"), [(0o700, "ok"), (0o750, "warn"), (0o707, "warn"), (0o777, "warn")]
)
def test_a_folder_is_judged_by_its_mode(tmp_path: Path, mode: int, level: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    folder.chmod(mode)
    assert checks.check_folder("cache", folder).level == level


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_someone_else_fails(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o700)
    os.chown(folder, 12345, 12345)
    assert checks.check_folder("cache", folder).level == "fail"


def test_a_card_with_a_cpu_build_of_torch_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "nvidia_cards", lambda: ["NVIDIA H100"])
    monkeypatch.setattr(checks, "_torch_build", lambda: "CPU")
    (check,) = checks.check_torch()
    assert check.level == "warn"
    assert "CUDA build" in check.advice


def test_a_missing_torch_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_name: str) -> str:
        raise checks.metadata.PackageNotFoundError

    monkeypatch.setattr(checks.metadata, "version", missing)
    assert checks.check_torch()[0].level == "fail"


def test_a_check_that_breaks_does_not_hide_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> list[checks.Check]:
        raise RuntimeError("nothing works")

    monkeypatch.setitem(checks._CHECKS, "git", broken)
    found = checks.run_checks()
    assert [(check.name, check.level) for check in found if check.name == "git"] == [("git", "warn")]
    assert any(check.name == "memory" for check in found)
