"""The README's table of settings says what settings.py says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from deltaloom_server.settings import PROJECT_KEYS, Settings, known_keys

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
ROWS = {
    name: (bool(mark), default)
    for name, mark, default in re.findall(r"^\| `(\w+\.\w+)`( ●)? \| ([^|]*) \|", README, re.MULTILINE)
}
UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def read(written: str) -> object:
    """A default as the table writes it."""
    number, _, unit = written.partition(" ")
    return int(number) * UNITS[unit] if unit else json.loads(written.strip("`"))


def test_every_setting_is_in_the_readme_and_no_other() -> None:
    assert sorted(ROWS) == sorted(known_keys())


@pytest.mark.parametrize("key", sorted(known_keys()))
def test_the_readme_has_the_default_and_marks_what_a_project_file_may_set(key: str) -> None:
    mark, written = ROWS[key]
    section, name = key.split(".")
    default = getattr(getattr(Settings(), section), name)
    assert read(written) == (list(default) if isinstance(default, tuple) else default)
    assert mark == (key in PROJECT_KEYS)
