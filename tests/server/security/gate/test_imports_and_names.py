"""Rule 7: imports resolve without importing anything, and names exist."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deltaloom_server.security.gate.standard import is_standard, missing_attribute
from deltaloom_server.security.gate.workspace import Workspace

Bench = Callable[..., Any]

TEXT = (
    "import random\nimport os\n\n\ndef token(n):\n    return random.randint(0, n)\n\n"
    "\ndef home():\n    return os.getcwd()\n"
)
OLD = "random.randint(0, n)"


def _with_import(bench: Bench, line: str, new: str, **options: Any) -> Any:
    return bench("S311", TEXT, **options).put(OLD, new, ("import os\n", f"import os\n{line}\n"))


def test_a_module_of_the_standard_library_resolves(bench: Bench) -> None:
    verdict = _with_import(bench, "import secrets", "secrets.randbelow(n + 1)")
    assert verdict.objections == ()
    assert verdict.imports_resolve is True


@pytest.mark.parametrize(
    ("line", "new"),
    [
        ("import securerandom", "securerandom.randbelow(n)"),
        ("from secrets import choose", "choose(range(n))"),
        ("import secrets", "secrets.choose(range(n))"),
        ("import secrets", "secrets.SystemRandom.between(0, n)"),
        ("import secrets.better", "secrets.randbelow(n)"),
        ("from secrets import *", "randbelow(n)"),
        ("from . import secrets", "secrets.randbelow(n)"),
        ("from ..lib import secrets", "secrets.randbelow(n)"),
        ("import secrets as random", "random.randbelow(n)"),
        ("import secrets as os", "os.randbelow(n)"),
        ("from secrets import randbelow as home", "home(n)"),
        ("from secrets import randbelow as randint", "randint(n)"),
        ("from __future__ import annotations", "secrets.randbelow(n)"),
        ("import importlib", "importlib.import_module('secrets').randbelow(n)"),
        ("import ctypes, secrets", "secrets.randbelow(n)"),
        ("import imp, secrets", "secrets.randbelow(n)"),
        ("import telnetlib, secrets", "secrets.randbelow(n)"),
        ("import antigravity, secrets", "secrets.randbelow(n)"),
        ("import numpy.random, secrets", "secrets.randbelow(n)"),
    ],
)
def test_an_import_that_does_not_resolve_or_misleads_is_refused(bench: Bench, line: str, new: str) -> None:
    assert _with_import(bench, line, new).objections


def test_an_import_that_is_still_used_is_not_removed(bench: Bench) -> None:
    one = bench("S311", TEXT)
    verdict = one.put(OLD, "secrets.randbelow(n)", ("import random\nimport os\n", "import secrets\n"))
    assert any("os" in objection and "removes" in objection for objection in verdict.objections)


def test_an_import_that_is_unused_afterwards_may_go(bench: Bench) -> None:
    assert (
        bench("S311", TEXT)
        .put(OLD, "secrets.randbelow(n)", ("import random\n", "import secrets\n"))
        .objections
        == ()
    )


def test_an_import_that_a_string_names_is_still_used(bench: Bench) -> None:
    text = TEXT + "\n\n__all__ = ['random']\n"
    verdict = bench("S311", text).put(OLD, "secrets.randbelow(n)", ("import random\n", "import secrets\n"))
    assert any("random" in objection for objection in verdict.objections)


def test_from_a_package_others_may_take_an_import(bench: Bench) -> None:
    one = bench("S311", TEXT, path="app/__init__.py")
    assert one.put(OLD, "secrets.randbelow(n)", ("import random\n", "import secrets\n")).objections


def test_a_name_is_not_made_to_stand_for_something_else(bench: Bench) -> None:
    one = bench("S311", TEXT)
    for line in ("import posixpath as os", "from shutil import os", "os = None"):
        assert one.put(OLD, "secrets.randbelow(n)", ("import os\n", f"import secrets\n{line}\n")).objections


def test_the_workspace_own_modules_resolve(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "tokens.py").write_text("def draw(n):\n    return n\n")
    (tmp_path / "app" / "views.py").write_text(TEXT)
    roots = (str(tmp_path),)
    workspace = Workspace(roots)
    assert workspace.has_module("app.tokens", "draw")
    assert workspace.has_relative("app/views.py", ".tokens", "draw")
    assert workspace.has_relative("app/views.py", ".", "tokens")
    assert not workspace.has_module("app.tokens", "drawn")
    assert not workspace.has_module("app.secrets")
    assert not workspace.has_relative("app/views.py", "..tokens", "draw")
    assert not workspace.has_relative("app/views.py", "...", "tokens")
    assert any(
        "draw2" in o
        for o in _with_import(bench, "from app.tokens import draw2", "draw2(n)", roots=roots).objections
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("requirements.txt", "# ours\nPyJWT[crypto]>=2 ; python_version > '3'\n"),
        ("requirements-dev.txt", "pyjwt\n"),
        ("pyproject.toml", "[project]\nname = 'a'\ndependencies = ['PyJWT>=2']\n"),
        ("pyproject.toml", "[project]\nname = 'a'\n[project.optional-dependencies]\nx = ['pyjwt']\n"),
        ("pyproject.toml", "[tool.poetry.dependencies]\npyjwt = '^2'\n"),
        ("pyproject.toml", "[dependency-groups]\ndev = ['PyJWT', {include-group = 'x'}]\n"),
        ("setup.cfg", "[options]\ninstall_requires =\n    pyjwt>=2\n"),
        ("setup.py", "from setuptools import setup\nsetup(install_requires=['pyjwt>=2'])\n"),
        ("Pipfile", "[packages]\npyjwt = '*'\n"),
        ("deep/er/module.py", "import os, jwt\n"),
        ("deep/er/module.py", "def f():\n    from jwt.api import x\n"),
    ],
)
def test_what_a_workspace_declares_or_imports_resolves(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(text)
    assert Workspace((str(tmp_path),)).has_module("jwt")
    assert not Workspace((str(tmp_path),)).has_module("jose")


def test_bad_declarations_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project\n")
    (tmp_path / "setup.cfg").write_text("no section\n")
    (tmp_path / "setup.py").write_text("def (:\n")
    (tmp_path / "requirements.txt").write_bytes(b"\xff\xfe\x00\n")
    (tmp_path / "link.py").symlink_to("/etc/passwd")
    assert not Workspace((str(tmp_path), "/does/not/exist")).has_module("jwt")


def test_no_module_of_the_workspace_ever_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc.py").write_text("raise SystemExit('ran')\n")
    (tmp_path / "evil.py").write_text("raise SystemExit('ran')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "netrc", raising=False)
    missing_attribute.__globals__["_load"].cache_clear()
    assert missing_attribute("netrc.netrc") in ("", "netrc.netrc")
    assert Workspace((str(tmp_path),)).has_module("evil")
    assert "evil" not in sys.modules
    assert "netrc" not in sys.modules


def test_what_the_standard_library_has_is_known() -> None:
    assert is_standard("secrets")
    assert is_standard("xml.sax.saxutils")
    assert not is_standard("telnetlib")
    assert not is_standard("requests")
    for there in (
        "secrets.choice",
        "os.path.join",
        "xml.etree.ElementTree.parse",
        "hashlib.scrypt",
        "ssl.TLSVersion.TLSv1_2",
        "urllib.parse.quote",
        "concurrent.futures",
        "subprocess.run",
        "tempfile.NamedTemporaryFile",
    ):
        assert missing_attribute(there) == "", there
    for absent in (
        "secrets.choose",
        "os.path.joined",
        "hashlib.sha257",
        "subprocess.runs",
        "tempfile.mkfile",
        "os.enviro",
    ):
        assert missing_attribute(absent) == absent


UNDEFINED = [
    "secrets.randbelow(m)",
    "secrets.randbelow(limit)",
    "secrets.randbelow(self.n)",
    "secrets.randbelow([x for x in range(n)][y])",
]


@pytest.mark.parametrize("new", UNDEFINED)
def test_a_name_that_nothing_defines_is_refused(bench: Bench, new: str) -> None:
    verdict = _with_import(bench, "import secrets", new)
    assert any("not defined" in objection for objection in verdict.objections)


def test_without_the_import_the_module_is_undefined(bench: Bench) -> None:
    verdict = bench("S311", TEXT).put(OLD, "secrets.randbelow(n)")
    assert any("secrets" in objection for objection in verdict.objections)


def test_a_name_that_was_undefined_before_is_not_this_changes_fault(bench: Bench) -> None:
    text = TEXT.replace("random.randint(0, n)", "random.randint(0, n) + undefined_before")
    verdict = bench("S311", text).put(
        "random.randint(0, n)", "secrets.randbelow(n)", ("import os\n", "import os\nimport secrets\n")
    )
    assert verdict.objections == ()


def test_reading_a_local_before_it_is_assigned_is_refused(bench: Bench) -> None:
    verdict = _with_import(bench, "import secrets", "secrets.randbelow(n + k) + (k := 1)")
    assert any("before" in objection for objection in verdict.objections)


def test_names_bound_in_every_way_are_known(bench: Bench) -> None:
    new = (
        "[secrets.randbelow(n) for i, (j, *k) in [(n, (n, n))] if i or j or k][0] if (m := n) and m else "
        "max((lambda q: q)(1), *[len(w) for w in [str(n)]])"
    )
    verdict = _with_import(bench, "import secrets", new)
    assert not any("not defined" in objection for objection in verdict.objections)
