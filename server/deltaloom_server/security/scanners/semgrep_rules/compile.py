"""Compile the rules' sources into the two files that are read at run time.

Invariant: the result depends on the sources alone, so that a test can hold the committed files to them.

A source has `title`, `cwe`, `severity`, `confidence`, `message`, `rule` (semgrep's own keys: `pattern`,
`patterns`, `mode`, …), optionally `languages` (semgrep's words; otherwise its folder's), and `cases`: texts
that the rule must `hit` and texts that it must `miss`, and as which kind of file (`as`, an ending).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import yaml  # type: ignore[import-untyped]

from deltaloom_server.security.finding import Confidence, Severity
from deltaloom_server.security.scanners.semgrep_rules import CATALOGUE, COMPILED, FOLDER

FOLDERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "c": ("c", "cpp"),
        "go": ("go",),
        "java": ("java",),
        "js": ("javascript", "typescript"),
        "php": ("php",),
    }
)
"""semgrep's languages by the folder of the sources."""

_EDITORS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "javascript": ("javascript", "javascriptreact"),
        "typescript": ("typescript", "typescriptreact"),
    }
)
_ENDINGS: Mapping[str, str] = MappingProxyType(
    {
        "c": ".c", "cpp": ".cpp", "go": ".go", "java": ".java", "javascript": ".js", "typescript": ".ts",
        "php": ".php",
    }
)  # fmt: skip
_SEMGREP_SEVERITY: Mapping[Severity, str] = MappingProxyType(
    {"critical": "ERROR", "high": "ERROR", "medium": "WARNING", "low": "INFO"}
)
_NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_METAVARIABLE = re.compile(r"\$[A-Z{.]")
_OURS = frozenset({"id", "languages", "message", "severity", "metadata", "paths"})


class Cases(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Texts beside a rule. `kinds` are endings of files, in addition to what the rule's languages say."""

    hit: tuple[str, ...]
    miss: tuple[str, ...]
    kinds: tuple[str, ...] = msgspec.field(default=(), name="as")


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One rule as it is written down."""

    title: str
    cwe: int
    severity: Severity
    confidence: Confidence
    message: str
    rule: dict[str, Any]
    cases: Cases
    languages: tuple[str, ...] = ()


class BadRule(Exception):
    """A source that can't be compiled; one sentence with its name."""


def sources(folder: Path = FOLDER) -> Iterator[tuple[str, Source]]:
    """("js/eval", source) in the order of the names. Raises `BadRule`."""
    for file in sorted(folder.glob("*/*.yaml")):
        name = f"{file.parent.name}/{file.stem}"
        try:
            source = msgspec.convert(yaml.safe_load(file.read_text("utf-8")), Source)
        except (yaml.YAMLError, msgspec.ValidationError) as error:
            raise BadRule(f"{name}: {error}") from error
        if why := _fault(name, source):
            raise BadRule(f"{name}: {why}")
        yield name, source


def languages_of(name: str, source: Source) -> tuple[str, ...]:
    """semgrep's words for the languages of a rule."""
    return source.languages or FOLDERS[name.partition("/")[0]]


def endings_of(name: str, source: Source) -> tuple[str, ...]:
    """As which kinds of file its cases are scanned."""
    return source.cases.kinds or tuple(_ENDINGS[one] for one in languages_of(name, source))


def compiled(folder: Path = FOLDER) -> tuple[str, str]:
    """The texts of `compiled.json` and `catalogue.json`. Raises `BadRule`."""
    rules: list[dict[str, Any]] = []
    catalogue: dict[str, dict[str, Any]] = {}
    for name, source in sources(folder):
        words = languages_of(name, source)
        rules.append(
            {
                "id": name.replace("/", "."),
                "languages": list(words),
                "severity": _SEMGREP_SEVERITY[source.severity],
                "message": " ".join(source.message.split()),
                **source.rule,
            }
        )
        catalogue[name] = {
            "title": source.title,
            "severity": source.severity,
            "confidence": source.confidence,
            "cwe": source.cwe,
            "languages": [editor for word in words for editor in _EDITORS.get(word, (word,))],
        }
    compact = json.dumps({"rules": rules}, ensure_ascii=False, separators=(",", ":"))
    return compact + "\n", json.dumps(catalogue, ensure_ascii=False, indent=1) + "\n"


def _fault(name: str, source: Source) -> str:
    folder, _, stem = name.partition("/")
    if folder not in FOLDERS or _NAME.fullmatch(stem) is None:
        return "a rule is called by letters and dashes, in the folder of a language."
    if not set(source.languages) <= set(FOLDERS[folder]):
        return f"the languages of this folder are {', '.join(FOLDERS[folder])}."
    if _METAVARIABLE.search(source.message):
        return "a message can't name a metavariable: it would repeat what stands in the text."
    if _OURS & set(source.rule):
        return f"`rule` can't have {', '.join(sorted(_OURS & set(source.rule)))}."
    if not source.cases.hit or not source.cases.miss:
        return "it needs a text to hit and one to miss."
    return ""


def main() -> int:
    """Write both files; 2 with a sentence on stderr where a source is no good."""
    try:
        rules, catalogue = compiled()
    except BadRule as error:
        print(error, file=sys.stderr)
        return 2
    COMPILED.write_text(rules, "utf-8")
    CATALOGUE.write_text(catalogue, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
