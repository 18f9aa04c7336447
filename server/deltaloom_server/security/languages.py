"""Which scanners look at which file, by its name alone.

Invariant: the answer depends on the path and on whether semgrep is installed, and on nothing else: a file
that isn't there gets the same answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from types import MappingProxyType

from deltaloom_server.security.finding import Scanner

_PYTHON: tuple[Scanner, ...] = ("ruff", "bandit", "deltaloom", "secrets")
_SEMGREP: tuple[Scanner, ...] = ("semgrep", "deltaloom", "secrets")
_TEXT: tuple[Scanner, ...] = ("deltaloom", "secrets")
_OTHER: tuple[Scanner, ...] = ("secrets",)

_LANGUAGES: Mapping[str, str] = MappingProxyType(
    {
        "bash": "shellscript",
        "c": "c",
        "cc": "cpp",
        "cjs": "javascript",
        "cpp": "cpp",
        "cs": "csharp",
        "css": "css",
        "cts": "typescript",
        "cxx": "cpp",
        "go": "go",
        "h": "c",
        "hh": "cpp",
        "hpp": "cpp",
        "htm": "html",
        "html": "html",
        "java": "java",
        "js": "javascript",
        "json": "json",
        "jsonc": "jsonc",
        "jsx": "javascriptreact",
        "kt": "kotlin",
        "kts": "kotlin",
        "less": "less",
        "lua": "lua",
        "md": "markdown",
        "mjs": "javascript",
        "mts": "typescript",
        "php": "php",
        "phtml": "php",
        "pl": "perl",
        "ps1": "powershell",
        "py": "python",
        "pyi": "python",
        "pyw": "python",
        "r": "r",
        "rb": "ruby",
        "rs": "rust",
        "scala": "scala",
        "scss": "scss",
        "sh": "shellscript",
        "sql": "sql",
        "svelte": "svelte",
        "swift": "swift",
        "tf": "terraform",
        "toml": "toml",
        "ts": "typescript",
        "tsx": "typescriptreact",
        "vue": "vue",
        "xml": "xml",
        "yaml": "yaml",
        "yml": "yaml",
        "zsh": "shellscript",
    }
)
"""LSP's language identifiers by the name's ending (LSP 3.17, "Text Documents")."""

_BY_NAME: Mapping[str, str] = MappingProxyType(
    {
        "dockerfile": "dockerfile",
        "containerfile": "dockerfile",
        "makefile": "makefile",
        "gnumakefile": "makefile",
    }
)

_SEMGREP_LANGUAGES = frozenset(
    {"c", "cpp", "go", "java", "javascript", "javascriptreact", "php", "typescript", "typescriptreact"}
)
"""Those that we have rules for."""

_DATA = frozenset({"css", "html", "json", "jsonc", "less", "markdown", "scss", "xml"})
"""Text in foreign scripts, with the marks that it needs, is at home there; and it doesn't run."""


def language_id(path: str) -> str:
    """LSP's identifier of a file's language; "plaintext" where the name doesn't tell."""
    name = path.rpartition("/")[2].lower()
    stem, dot, ending = name.rpartition(".")
    if not dot or not stem:
        return _BY_NAME.get(name, "plaintext")
    return _LANGUAGES.get(ending, _BY_NAME.get(stem, "plaintext"))


def is_python(path: str) -> bool:
    """Is it Python, by its name?"""
    return language_id(path) == "python"


@cache
def has_semgrep() -> bool:
    """Is the optional extra for other languages installed?"""
    return find_spec("semgrep") is not None


def scanners_for(path: str) -> tuple[Scanner, ...]:
    """The scanners that look at a file of this name, in the order in which they are told."""
    language = language_id(path)
    if language == "python":
        return _PYTHON
    if language in _SEMGREP_LANGUAGES:
        return _SEMGREP if has_semgrep() else _TEXT
    return _OTHER if language == "plaintext" or language in _DATA else _TEXT
