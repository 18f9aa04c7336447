"""Which files of a workspace are looked at."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from deltaloom_server.context.reasons import Reason
from deltaloom_server.context.roots import name_roots
from deltaloom_server.context.scan import ScanCancelled
from deltaloom_server.security.targets import check_targets, list_targets, why_left_out
from deltaloom_server.settings import SecuritySettings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "ws"
    for name in ("a.py", "src/b.js", "notes.txt", "image.png", "node_modules/c.js", "gen/d.py", "skip/e.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x = 1\n")
    (root / ".gitignore").write_text("gen/\n")
    (root / ".bandit").write_text("[bandit]\nexclude: a.py\n")
    (root / "ruff.toml").write_text('exclude = ["*.py"]\n')
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    return root


def _paths(folder: Path, **settings: object) -> list[str]:
    chosen = SecuritySettings(**settings)  # type: ignore[arg-type]
    return [one.path for one in list_targets(name_roots([str(folder)]), chosen).files]


def test_git_and_the_settings_leave_files_out_and_no_other_configuration_does(folder: Path) -> None:
    listed = _paths(folder)
    assert listed == sorted(listed)
    assert {"a.py", "src/b.js", "skip/e.py", "notes.txt"} <= set(listed)
    assert not {"node_modules/c.js", "gen/d.py", "image.png"} & set(listed)
    assert set(listed) - set(_paths(folder, exclude=("skip/",))) == {"skip/e.py"}


def test_a_file_over_the_limit_is_listed_so_that_it_can_be_said(folder: Path) -> None:
    (folder / "large.py").write_text("x" * 100)
    assert "large.py" in _paths(folder, max_file_bytes=10)


def test_single_paths_are_judged_as_the_whole_is(folder: Path) -> None:
    roots, settings = name_roots([str(folder)]), SecuritySettings(exclude=("skip/",))
    everything = ["a.py", "node_modules/c.js", "gen/d.py", "skip/e.py", "missing.py", "src", "image.png"]
    assert [one.path for one in check_targets(roots, settings, everything).files] == ["a.py"]
    assert why_left_out(roots, settings, "a.py") is None
    assert why_left_out(roots, settings, "gen/d.py") is Reason.IGNORED
    assert why_left_out(roots, settings, "skip/e.py") is Reason.EXCLUDED


def test_several_folders_are_told_apart(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.py").write_text("x = 1\n")
    roots = name_roots([str(folder), str(tmp_path / "other")])
    files = {one.path: one.absolute for one in list_targets(roots, SecuritySettings()).files}
    assert files["ws/a.py"] == str(folder / "a.py")
    assert files["other/a.py"] == str(tmp_path / "other" / "a.py")


def test_listing_can_be_broken_off(folder: Path) -> None:
    with pytest.raises(ScanCancelled):
        list_targets(name_roots([str(folder)]), SecuritySettings(), lambda: True)


def test_links_lead_nowhere(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.py").write_text("x = 1\n")
    (folder / "out.py").symlink_to(tmp_path / "outside.py")
    (folder / "round").symlink_to(folder)
    (folder / "loop.py").symlink_to(folder / "loop.py")
    assert not {"out.py", "loop.py"} & set(_paths(folder))
    assert not any(path.startswith("round/") for path in _paths(folder))
