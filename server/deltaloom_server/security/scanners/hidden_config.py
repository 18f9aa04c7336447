"""What a repository's own configuration of bandit and ruff would hide, which Deltaloom doesn't follow.

Invariant: reads at most `MOST_BYTES` of each of a few files in the folder itself, follows no link out of it,
runs nothing, and raises nothing whatever stands there.
"""

from __future__ import annotations

import configparser
import os
import re
import stat
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

MOST_BYTES = 1 << 20
_SHOWN = 6
_SECURITY = re.compile(r"(?:ALL|S\d{0,3})\Z")
_SEPARATORS = re.compile(r"[\s,]+")


class _Unreadable(Exception):
    """A file that can't be read or isn't what its name says: the end of a sentence."""


def hidden_by_configuration(root: Path) -> list[str]:
    """A sentence for each kind of thing that each file would hide; empty where none is. Blocking."""
    sentences = []
    for name, read in _READERS:
        try:
            text = _text(root, name)
            hidden = list(read(text)) if text is not None else []
        except _Unreadable as error:
            sentences.append(f"{name} {error}, so what it hides isn't known; Deltaloom doesn't follow it.")
            continue
        sentences += [f"{name} {what}; Deltaloom doesn't follow that." for what in hidden]
    return sentences


def _bandit_ini(text: str) -> Iterator[str]:
    """`[bandit]` of an INI file (bandit's documentation, "Configuration")."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(text)
        section = dict(parser.items("bandit")) if parser.has_section("bandit") else {}
    except configparser.Error:
        raise _Unreadable("doesn't parse") from None
    yield from _bandit({key: _SEPARATORS.split(value.strip()) for key, value in section.items()})


def _bandit(settings: Mapping[str, object]) -> Iterator[str]:
    if skipped := _strings(settings.get("skips")):
        yield f"has bandit skip {_listed(skipped)}"
    if tests := _strings(settings.get("tests")):
        yield f"has bandit run nothing but {_listed(tests)}"
    if excluded := [*_strings(settings.get("exclude")), *_strings(settings.get("exclude_dirs"))]:
        yield f"keeps bandit away from {_listed(excluded)}"
    if (level := _strings(settings.get("level"))) not in ([], ["1"]):
        yield f"has bandit leave out what is less severe than level {_listed(level)}"
    for key, value in settings.items():
        if isinstance(value, dict) and (files := _strings(value.get("skips"))):
            yield f"has bandit's {_quoted(key)} skip {_listed(files)}"


def _pyproject(text: str) -> Iterator[str]:
    tools = _table(_toml(text), "tool")
    yield from _bandit(_table(tools, "bandit"))
    yield from _ruff(_table(tools, "ruff"))


def _ruff_toml(text: str) -> Iterator[str]:
    yield from _ruff(_toml(text))


def _ruff(settings: Mapping[str, object]) -> Iterator[str]:
    """Ruff's settings ("Settings" in its documentation); the linter's may stand in `lint` or beside it."""
    for table in (settings, _table(settings, "lint")):
        for key in ("ignore", "extend-ignore"):
            if rules := _rules(table.get(key)):
                yield f"has ruff ignore {_listed(rules)}"
        for key in ("per-file-ignores", "extend-per-file-ignores"):
            for pattern, listed in _table(table, key).items():
                if rules := _rules(listed):
                    yield f"has ruff ignore {_listed(rules)} in {_quoted(pattern)}"
        for key in ("exclude", "extend-exclude"):
            if excluded := _strings(table.get(key)):
                yield f"keeps ruff away from {_listed(excluded)}"


_READERS: tuple[tuple[str, Callable[[str], Iterator[str]]], ...] = (
    (".bandit", _bandit_ini),
    ("setup.cfg", _bandit_ini),
    ("tox.ini", _bandit_ini),
    ("pyproject.toml", _pyproject),
    ("ruff.toml", _ruff_toml),
    (".ruff.toml", _ruff_toml),
)


def _text(root: Path, name: str) -> str | None:
    """A file's text, None where there is none. Raises `_Unreadable`."""
    path = root / name
    try:
        if not path.resolve().is_relative_to(root.resolve()):
            raise _Unreadable("leads out of the folder")
        # A pipe in the file's place must not be waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise _Unreadable("is no file")
            data = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        return None
    except (OSError, RuntimeError, ValueError):
        raise _Unreadable("can't be read") from None
    if len(data) > MOST_BYTES:
        raise _Unreadable("is over 1 MiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _Unreadable("isn't valid UTF-8") from None


def _toml(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError):
        raise _Unreadable("doesn't parse") from None


def _table(settings: Mapping[str, object], key: str) -> Mapping[str, object]:
    found = settings.get(key)
    return found if isinstance(found, dict) else {}


def _strings(value: object) -> list[str]:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        return []
    return [one for one in value if isinstance(one, str) and one]


def _rules(value: object) -> list[str]:
    """Those that are rules about security, or hold some."""
    return [one for one in _strings(value) if _SECURITY.match(one)]


def _listed(words: list[str]) -> str:
    shown = ", ".join(_quoted(word) for word in words[:_SHOWN])
    more = len(words) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def _quoted(word: str) -> str:
    """A word of the repository's, fit for one line."""
    if len(word) <= 60 and word.isprintable() and not any(mark in word for mark in " ;'\""):
        return word
    return repr(word[:60])
