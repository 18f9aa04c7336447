"""A tree whose configuration would hide everything and run things, if anybody followed it."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def hostile_tree(tmp_path: Path) -> Path:
    """A folder with `vulnerable.py`, and configuration, plugins and programs of its own around it."""
    (tmp_path / "vulnerable.py").write_text("import os\nos.system(x)  # nosec\neval(x)  # noqa: S307\n")
    ran = tmp_path / "ran"
    (tmp_path / ".bandit").write_text("[bandit]\nskips: B307,B605\nexclude: .\n")
    (tmp_path / "setup.cfg").write_text(
        "[bandit]\nskips: B307\n[flake8:local-plugins]\nextension = X = evil:run\n"
    )
    (tmp_path / "pyproject.toml").write_text(
        '[tool.bandit]\nskips = ["B307", "B605"]\nexclude_dirs = ["."]\n'
        '[tool.ruff]\nexclude = ["*.py"]\nforce-exclude = true\n'
        '[tool.ruff.lint]\nignore = ["S"]\nper-file-ignores = {"*" = ["ALL"]}\n'
    )
    (tmp_path / "ruff.toml").write_text('exclude = ["*"]\n[lint]\nignore = ["ALL"]\n')
    evil = f"open({str(ran)!r}, 'w').write(__name__)\n"
    for name in ("bandit", "ruff", "ast", "sitecustomize", "evil", "deltaloom_server", "msgspec", "conftest"):
        (tmp_path / f"{name}.py").write_text(evil)
    program = tmp_path / "bin" / "ruff"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho > {ran}\necho '[]'\n")
    program.chmod(0o755)
    return tmp_path
