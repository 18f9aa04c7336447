"""Fixing files while others write them: as a whole, or not at all."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deltaloom_server.cli.editor import HeadlessEditor
from deltaloom_server.lint import fixes, runner
from deltaloom_server.lint.options import LintOptions
from deltaloom_server.lint.outcome import Outcome, exit_status

YAML = "import yaml\n\n\ndef read(text):\n    return yaml.load(text)\n"
FIXED = YAML.replace("yaml.load(", "yaml.safe_load(")


@pytest.fixture(autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path_factory.mktemp("home")
    for name in ("XDG_RUNTIME_DIR", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, os.fspath(home))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "a.py").write_text(YAML)
    (tmp_path / "b.py").write_text(YAML)
    return tmp_path / "a.py"


async def _fix(path: Path, **changes: Any) -> Outcome:
    root = os.fspath(path.parent)
    return await runner.run(LintOptions(root, (root,), cache=False, **{"fix": True, **changes}))


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Has something happen after `a.py` was looked at, and before its fix is written."""

    def arrange(happen: Callable[[], object]) -> None:
        change_to = HeadlessEditor.change_to

        def changing(editor: HeadlessEditor, path: Path, text: str) -> None:
            if path.name == "a.py":
                happen()
            change_to(editor, path, text)

        monkeypatch.setattr(HeadlessEditor, "change_to", changing)

    return arrange


def _said(outcome: Outcome, what: str) -> None:
    (note,) = [note for note in outcome.notes if note.startswith("a.py")]
    assert what in note
    assert exit_status(outcome) == 2
    assert [one.path for one in outcome.fixed] == ["b.py"]


async def test_a_file_that_changed_meanwhile_stays_as_it_is_and_others_are_fixed(
    path: Path, meanwhile: Callable[[Callable[[], object]], None]
) -> None:
    meanwhile(lambda: path.write_text("# theirs\n" + YAML))
    outcome = await _fix(path)
    assert path.read_text() == "# theirs\n" + YAML
    assert (path.parent / "b.py").read_text() == FIXED
    _said(outcome, "changed while it was being fixed")
    assert {one.finding.path for one in outcome.blocking} == {"a.py"}


@pytest.mark.parametrize("what", ["gone", "a link", "a folder"])
async def test_what_is_no_longer_that_file_is_left_alone(
    path: Path, tmp_path: Path, meanwhile: Callable[[Callable[[], object]], None], what: str
) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside.py"
    outside.write_text(YAML)

    def happen() -> None:
        path.unlink()
        if what == "a link":
            path.symlink_to(outside)
        elif what == "a folder":
            path.mkdir()

    meanwhile(happen)
    _said(await _fix(path), "changed while it was being fixed")
    assert outside.read_text() == YAML
    assert path.is_symlink() == (what == "a link")
    assert path.is_dir() == (what == "a folder")


@pytest.mark.parametrize("step", ["mkstemp", "chmod", "replace"])
async def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    owner: Any = tempfile if step == "mkstemp" else os
    real = getattr(owner, step)

    def failing(*arguments: Any, **named: Any) -> Any:
        if step == "mkstemp" and named["dir"] != os.fspath(path.parent):
            return real(*arguments, **named)
        monkeypatch.setattr(owner, step, real)  # the disk has room again for the next file
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(owner, step, failing)
    _said(await _fix(path), "No space left on device")
    assert path.read_text() == YAML
    assert sorted(one.name for one in path.parent.iterdir()) == ["a.py", "b.py"]


async def test_a_read_only_file_is_not_replaced(path: Path) -> None:
    path.chmod(0o444)
    _said(await _fix(path), "read-only")
    assert path.read_text() == YAML
    assert stat.S_IMODE(path.stat().st_mode) == 0o444


async def test_no_more_is_fixed_in_a_file_than_a_person_would_look_through(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fixes, "_MOST_IN_A_FILE", 2)
    path.write_text(YAML + "\n\ndef again(text):\n    return yaml.load(text)\n" * 3)
    outcome = await _fix(path)
    assert [one.line for one in outcome.fixed if one.path == "a.py"] == [4, 8]
    assert path.read_text().count("yaml.load(") == 2
    assert len(outcome.blocking) == 2


async def test_a_diff_and_an_offer_write_nothing(path: Path) -> None:
    before = path.stat()
    outcome = await _fix(path, fix=False, diff=True)
    assert [one.path for one in outcome.diffs] == ["a.py", "b.py"]
    assert "+    return yaml.safe_load(text)\n" in outcome.diffs[0].diff
    outcome = await _fix(path, fix=False, show_fixes=True)
    assert [len(one.fixes) for one in outcome.findings] == [1, 1]
    (replacement,) = outcome.findings[0].fixes[0].replacements
    assert (replacement.text, replacement.before) == ("safe_", "    return yaml.load(text)\n")
    assert path.stat() == before


async def test_the_models_fixes_wait_for_a_person_and_no_model_is_asked_in_vain(path: Path) -> None:
    path.write_text("import pickle\n\n\ndef load(data):\n    return pickle.loads(data)\n")
    outcome = await _fix(path, model_fixes=True)
    assert any("--unsafe-fixes" in note for note in outcome.notes)
    assert {one.finding.path for one in outcome.blocking} == {"a.py"}
