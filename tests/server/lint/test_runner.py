"""One run, in this process: what the options mean for the server that it asks."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from deltaloom_server.lint import runner
from deltaloom_server.lint.options import LintOptions
from deltaloom_server.lint.outcome import Outcome

SHELL = 'import subprocess\n\n\ndef run(name):\n    return subprocess.run(f"ls {name}", shell=True)\n'


@pytest.fixture(autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path_factory.mktemp("home")
    for name in ("XDG_RUNTIME_DIR", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, os.fspath(home))


async def _run(root: Path, *paths: str, **options: Any) -> Outcome:
    absolute = tuple(os.fspath(root / path) for path in paths) or (os.fspath(root),)
    return await runner.run(LintOptions(os.fspath(root), absolute, **{"cache": False, **options}))


def _found(outcome: Outcome) -> list[tuple[str, str]]:
    return [(one.finding.path, one.finding.rule) for one in outcome.blocking]


async def test_only_the_named_paths_are_looked_at(tmp_path: Path) -> None:
    for name in ("a.py", "src/b.py", "src-other/c.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(SHELL)
    assert {path for path, _ in _found(await _run(tmp_path))} == {"a.py", "src/b.py", "src-other/c.py"}
    outcome = await _run(tmp_path, "src")
    assert (outcome.paths, _found(outcome)) == (("src/b.py",), [("src/b.py", "S602")])
    assert (await _run(tmp_path, "src/b.py", "a.py")).paths == ("a.py", "src/b.py")


async def test_a_project_file_counts_where_no_option_says_otherwise(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(SHELL + "assert run\nx = eval(run)\n")
    (tmp_path / "deltaloom.toml").write_text('[security]\nseverity = "low"\nignore = ["S602"]\n')
    outcome = await _run(tmp_path)
    assert {"S101", "S307"} <= {rule for _, rule in _found(outcome)}
    assert "S602" not in {rule for _, rule in _found(outcome)}
    assert any("ignore" in note for note in outcome.notes)
    assert outcome.severity == "low"
    stricter = await _run(tmp_path, severity="medium")
    assert {rule for _, rule in _found(stricter)} == {"S307"}
    everything = await _run(tmp_path, isolated=True)
    assert {rule for _, rule in _found(everything)} == {"S602", "S307"}


async def test_what_the_command_line_says_no_project_file_changes(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(SHELL)
    (tmp_path / "deltaloom.toml").write_text("[security]\nenabled = false\nmodel_fixes = true\n")
    assert _found(await _run(tmp_path)) == [("a.py", "S602")]


async def test_the_text_on_stdin_stands_for_its_file(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(SHELL)
    (tmp_path / "b.py").write_text(SHELL)
    name = os.fspath(tmp_path / "a.py")
    outcome = await _run(tmp_path, "a.py", stdin_filename=name, stdin="x = eval(y)\n")
    assert (outcome.paths, _found(outcome)) == (("a.py",), [("a.py", "S307")])
    assert outcome.findings[0].source == "x = eval(y)"
    assert (await _run(tmp_path, "a.py", stdin_filename=name, stdin="")).findings == ()


async def test_progress_is_told_as_to_an_editor(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(SHELL)
    told: list[tuple[str, Any]] = []
    root = os.fspath(tmp_path)
    options = LintOptions(root, (root,), cache=False)
    await runner.run(options, lambda method, params: told.append((method, params)))
    kinds = [params["value"]["kind"] for method, params in told if method == "$/progress"]
    assert (kinds[0], kinds[-1]) == ("begin", "end")


async def test_nothing_of_the_model_is_imported_by_a_run(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(SHELL)
    before = set(sys.modules)
    await _run(tmp_path, fix=True)
    assert not {name for name in set(sys.modules) - before if name.partition(".")[0] in ("torch", "bandit")}
