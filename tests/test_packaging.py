"""What is built holds all that `deltaloom complete` needs in an empty environment, and little else."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LARGEST_WHEEL = 32 << 20


def _build(source: Path, target: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build(ROOT, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build(ROOT, "sdist", tmp_path_factory.mktemp("sdist"))


def _names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_the_wheel_stays_small(wheel: Path) -> None:
    assert wheel.stat().st_size < LARGEST_WHEEL


def test_the_wheel_has_two_import_packages_and_nothing_else_at_the_top(wheel: Path) -> None:
    top = {name.partition("/")[0] for name in _names(wheel)}
    packages = {name for name in top if not name.endswith(".dist-info")}
    assert packages == {"deltaloom_server", "deltaloom_model"}


def test_every_tracked_source_file_is_in_the_wheel(wheel: Path) -> None:
    names = set(_names(wheel))
    sources = {
        path.relative_to(root).as_posix()
        for root in (ROOT / "server", ROOT / "model")
        for path in root.rglob("*.py")
        if "__pycache__" not in path.parts
    }
    assert sources <= names


def test_the_wheel_holds_the_embedded_model(wheel: Path) -> None:
    nano = {name.rpartition("/")[2] for name in _names(wheel) if name.startswith("deltaloom_model/nano/")}
    assert {"config.json", "tokenizer.json"} <= nano
    assert any(name.endswith(".safetensors") for name in nano)


def test_the_wheel_carries_licence_and_notices(wheel: Path) -> None:
    names = {name.rpartition("/")[2] for name in _names(wheel) if "/licenses/" in name}
    assert names == {"LICENSE", "THIRD_PARTY_NOTICES.md"}


def test_a_wheel_built_from_the_sdist_is_the_same_and_knows_its_commit(
    wheel: Path, sdist: Path, tmp_path: Path
) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    assert (source / "tests" / "test_packaging.py").is_file()
    again = _build(source, "wheel", tmp_path / "again")
    assert sorted(_names(again)) == sorted(_names(wheel))
    if (ROOT / ".git").exists():
        with zipfile.ZipFile(again) as archive:
            assert re.fullmatch(
                r"[0-9a-f]{12,40}(\+changed)?\n", archive.read("deltaloom_server/COMMIT").decode()
            )


def test_the_tree_has_no_top_level_packages_named_server_or_model() -> None:
    assert not (ROOT / "server" / "__init__.py").exists()
    assert not (ROOT / "model" / "__init__.py").exists()


def test_there_is_one_source_of_the_version(wheel: Path) -> None:
    from deltaloom_model import __version__

    assert wheel.name == f"deltaloom-{__version__}-py3-none-any.whl"
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_direct_dependency_is_pinned_and_torch_without_a_local_suffix() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [name for extra in project["optional-dependencies"].values() for name in extra]
    direct = {re.split(r"[<>=\[ ]", text)[0].lower() for text in [*project["dependencies"], *extras]}
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.lower().split("==") for line in lines if line and not line.startswith("#"))
    # semgrep wants other versions of what the rest uses; where it is tested, only its program is installed.
    assert direct - pins.keys() == {"semgrep"}
    assert "semgrep==1.172." in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "+" not in pins["torch"]


def test_every_runtime_dependency_is_in_the_notices() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    notices = (ROOT / "THIRD_PARTY_NOTICES.md").read_text(encoding="utf-8")
    for dependency in project["dependencies"]:
        name = re.split(r"[<>=\[ ]", dependency)[0]
        assert f"| {name} |" in notices, name
