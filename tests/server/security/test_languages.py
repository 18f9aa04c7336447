"""Which scanners look at which file."""

from __future__ import annotations

import pytest

from deltaloom_server.security.languages import has_semgrep, language_id, scanners_for


@pytest.mark.parametrize("path", ["a.py", "src/pkg/types.pyi", "tool.pyw", "UPPER.PY"])
def test_python_is_looked_at_by_all_of_its_scanners(path: str) -> None:
    assert scanners_for(path) == ("ruff", "bandit", "deltaloom", "secrets")


@pytest.mark.parametrize(
    "path", ["a.js", "b/c.jsx", "a.ts", "a.tsx", "A.java", "a.c", "a.h", "a.cpp", "a.go", "a.php"]
)
def test_other_languages_are_semgreps_where_it_is_installed(path: str) -> None:
    assert ("semgrep" in scanners_for(path)) == has_semgrep()
    assert {"deltaloom", "secrets"} <= set(scanners_for(path))
    assert not {"ruff", "bandit"} & set(scanners_for(path))


@pytest.mark.parametrize("path", ["README", "notes.txt", ".env", "data.json", "folder.py/data", "py"])
def test_everything_else_is_looked_at_for_secrets_alone(path: str) -> None:
    assert scanners_for(path) == ("secrets",)


def test_languages_have_the_names_that_editors_use() -> None:
    names = {
        "a.tsx": "typescriptreact",
        "x/Dockerfile": "dockerfile",
        "Dockerfile.dev": "dockerfile",
        "a.h": "c",
    }
    assert {path: language_id(path) for path in names} == names
    assert language_id("a.unknown") == language_id(".py") == "plaintext"
