"""Which files of a package are worth training on.

Invariant: a decision needs only the file's path and bytes, and says its reason in one word.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Literal

Kind = Literal["python", "other"]

_PYTHON = frozenset({".py", ".pyi"})
_OTHER = frozenset({".md", ".json", ".yaml", ".yml", ".toml", ".js", ".ts", ".jsx", ".tsx"})
_VENDORED = re.compile(
    r"(^|/)(_?vendor(ed|ized)?|third[-_]?party|_?extern(al|als)?|node_modules|_distutils_hack)(/|$)"
)
_GENERATED_PATH = re.compile(r"(_pb2(_grpc)?\.pyi?|\.min\.js|\.bundle\.js|-lock\.json|\.lock)$")
_GENERATED_TEXT = re.compile(
    r"\b(auto-?generated|automatically generated|generated (automatically |file|by|from|with)|do not edit|"
    r"don't edit|@generated|machine generated)\b",
    re.IGNORECASE,
)
_SECRET_PATH = re.compile(r"(^|/)(\.env.*|.*\.(pem|key|p12)|id_[rd]sa.*|\.netrc|\.npmrc|\.pypirc)$")
_SECRET_TEXT = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}|\bxox[abp]-[0-9]{8,}|"
    r"\bAIza[0-9A-Za-z_-]{35}\b|\bsk-[A-Za-z0-9]{40,}"
)
_TESTS = re.compile(r"(^|/)(tests?|testing|_tests?)(/|$)|(^|/)(test_[^/]*|[^/]*_test|conftest)\.py$")

_MIN_BYTES, _MAX_BYTES, _MAX_LINE = 100, 200_000, 1_000
_MAX_NON_ASCII = 0.2
_HEAD = 1_500


def kind_of(path: str) -> Kind | None:
    """By suffix; None for what is no source here."""
    suffix = PurePosixPath(path).suffix.lower()
    return "python" if suffix in _PYTHON else "other" if suffix in _OTHER else None


def is_test(path: str) -> bool:
    """Whether the file belongs to a package's tests."""
    return _TESTS.search(path) is not None


def refuse(path: str, data: bytes) -> tuple[str, str]:
    """(text, "") for a file to keep, else ("", reason). Line ends become `\\n`."""
    if kind_of(path) is None:
        return "", "kind"
    if _VENDORED.search(path.lower()):
        return "", "vendored"
    if not _MIN_BYTES <= len(data) <= _MAX_BYTES:
        return "", "size"
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError:
        return "", "encoding"
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\0" in text:
        return "", "encoding"
    if max(map(len, text.split("\n"))) > _MAX_LINE:
        return "", "long line"
    if sum(map(len, re.findall(r"[^\x00-\x7f]+", text))) > _MAX_NON_ASCII * len(text):
        return "", "non-ascii"
    if _GENERATED_PATH.search(path) or _GENERATED_TEXT.search(text[:_HEAD]):
        return "", "generated"
    if _SECRET_PATH.search(path) or _SECRET_TEXT.search(text):
        return "", "secret"
    if path.endswith(".json") and text.count("\n") * 200 < len(text):
        return "", "data"
    return text, ""
