"""What a repository's configuration would hide is said, and whatever stands in its place survived."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deltaloom_server.security.scanners.hidden_config import hidden_by_configuration


def test_a_folder_without_configuration_hides_nothing(tmp_path: Path) -> None:
    assert hidden_by_configuration(tmp_path) == []
    assert hidden_by_configuration(tmp_path / "missing") == []


def test_each_file_is_told_with_what_it_hides(hostile_tree: Path) -> None:
    said = hidden_by_configuration(hostile_tree)
    for part in (
        ".bandit has bandit skip B307, B605;",
        "setup.cfg has bandit skip B307;",
        "pyproject.toml has bandit skip B307, B605;",
        "pyproject.toml has ruff ignore S;",
        "pyproject.toml has ruff ignore ALL in *;",
        "pyproject.toml keeps ruff away from *.py;",
        "ruff.toml has ruff ignore ALL;",
    ):
        assert any(sentence.startswith(part) for sentence in said), part
    assert all(sentence.endswith("Deltaloom doesn't follow that.") for sentence in said)
    assert not (hostile_tree / "ran").exists()


def test_rules_that_are_not_about_security_are_nobodys_business(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[tool.ruff.lint]\nignore = ["E501", "SIM102", "B006"]\nper-file-ignores = {"t/*" = ["S101"]}\n'
    )
    assert hidden_by_configuration(tmp_path) == [
        "pyproject.toml has ruff ignore S101 in t/*; Deltaloom doesn't follow that."
    ]


@pytest.mark.parametrize(
    "name", [".bandit", "setup.cfg", "tox.ini", "pyproject.toml", "ruff.toml", ".ruff.toml"]
)
@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xfe\x00", b"[", b"[bandit", b"=", b"\0" * 100, b"x = " + b"[" * 50_000,
        b"[bandit]\nskips = %(loop)s\nloop = %(loop)s\n", b"[tool]\nruff = 3\nbandit = []\n",
        b"[tool.ruff]\nlint = 3\n[tool.bandit]\nskips = {a = 1}\n", b"[bandit]\nskips\n", b"a" * (2 << 20),
    ],
    ids=range(11),
)  # fmt: skip
def test_garbage_is_survived(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    assert all(sentence.startswith(f"{name} ") for sentence in hidden_by_configuration(tmp_path))


def test_what_is_no_file_of_the_folder_is_not_read(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "outside").write_text("[bandit]\nskips: B101\n")
    (root / ".bandit").symlink_to(tmp_path / "outside")
    (root / "tox.ini").symlink_to("tox.ini")
    (root / "pyproject.toml").mkdir()
    os.mkfifo(root / "ruff.toml")
    (root / "setup.cfg").write_bytes(b"#" * (1 << 20) + b"\n[bandit]\nskips: B101\n")
    ends = "so what it hides isn't known; Deltaloom doesn't follow it."
    assert hidden_by_configuration(root) == [
        f".bandit leads out of the folder, {ends}",
        f"setup.cfg is over 1 MiB, {ends}",
        f"tox.ini can't be read, {ends}",
        f"pyproject.toml can't be read, {ends}",
        f"ruff.toml is no file, {ends}",
    ]


def test_words_of_the_repositorys_stay_on_one_line(tmp_path: Path) -> None:
    (tmp_path / "ruff.toml").write_text('exclude = ["a\\nb", "\\u202e", "x y"]\n')
    (sentence,) = hidden_by_configuration(tmp_path)
    assert sentence.isprintable()
