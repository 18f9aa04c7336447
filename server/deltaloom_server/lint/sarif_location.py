"""Where a SARIF result points: the file in this workspace, and the place in its text.

Invariant: a path is given only for a regular file that really lies in the root, symbolic links followed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from deltaloom_server.positions import PositionEncoding, column_of_units, content_length, split_lines
from deltaloom_server.security.finding import Span

_BASES = 8


def place(root: str, run: Mapping[str, Any], location: Mapping[str, Any]) -> str | None:
    """The path, relative to the root, of an artifactLocation; None where it is outside or no file."""
    number = location.get("index")
    artifacts = run.get("artifacts")
    if "uri" not in location and isinstance(number, int) and isinstance(artifacts, list):
        entry = artifacts[number] if 0 <= number < len(artifacts) else None
        location = entry.get("location", {}) if isinstance(entry, dict) else {}
    uri = location.get("uri") if isinstance(location, dict) else None
    if not isinstance(uri, str):
        return None
    based = _resolved(uri, location.get("uriBaseId"), run)
    # A report made elsewhere names that machine's folders: what is relative there is relative here.
    for candidate in dict.fromkeys((based, uri)):
        if (path := _inside(root, candidate)) is not None:
            return path
    return None


def _resolved(uri: str, base: object, run: Mapping[str, Any]) -> str:
    """With the bases in front of it that its `uriBaseId` names (SARIF 2.1.0, 3.14.14)."""
    bases = run.get("originalUriBaseIds")
    for _ in range(_BASES):
        if urlsplit(uri).scheme or not isinstance(bases, dict) or not isinstance(base, str):
            break
        entry = bases.get(base)
        if not isinstance(entry, dict) or not isinstance(entry.get("uri"), str):
            break
        front = entry["uri"]
        uri = front + ("" if front.endswith("/") else "/") + uri
        base = entry.get("uriBaseId")
    return uri


def _inside(root: str, uri: str) -> str | None:
    try:
        parts = urlsplit(uri)
        if parts.scheme not in ("", "file") or parts.netloc not in ("", "localhost"):
            return None
        path = unquote(
            parts.path if parts.scheme else uri.partition("#")[0].partition("?")[0], errors="surrogateescape"
        )
        real_root = os.path.realpath(root)
        real = os.path.realpath(os.path.join(real_root, path))
        if not real.startswith(real_root.rstrip(os.sep) + os.sep) or not stat.S_ISREG(os.stat(real).st_mode):
            return None
    except (OSError, ValueError):
        return None
    return os.path.relpath(real, real_root).replace(os.sep, "/")


def span_of(region: object, text: str, column_kind: object) -> Span | None:
    """A region's place in a text; None where the text has no such place. Without a region: its first line."""
    lines = split_lines(text)
    if not isinstance(region, dict) or not region:
        return Span(0, 0, 0, content_length(lines[0]))
    if "startLine" not in region and isinstance(region.get("charOffset"), int):
        return _by_offset(region, lines)
    first = _number(region, "startLine", 1) - 1
    last = _number(region, "endLine", first + 1) - 1
    if not 0 <= first <= last < len(lines):
        return None
    encoding = PositionEncoding.UTF16 if column_kind == "utf16CodeUnits" else PositionEncoding.UTF32
    start = column_of_units(lines[first], max(_number(region, "startColumn", 1) - 1, 0), encoding)
    past = _number(region, "endColumn", 0)
    end = column_of_units(lines[last], past - 1, encoding) if past > 0 else content_length(lines[last])
    return Span(first, start, last, max(end, start) if first == last else end)


def _by_offset(region: Mapping[str, Any], lines: list[str]) -> Span | None:
    start = region["charOffset"]
    end = start + _number(region, "charLength", 0)
    if not 0 <= start <= end <= sum(map(len, lines)):
        return None
    return Span(*_position(lines, start), *_position(lines, end))


def _position(lines: list[str], offset: int) -> tuple[int, int]:
    for number, line in enumerate(lines):
        if offset < len(line) or number == len(lines) - 1:
            return number, min(offset, content_length(line))
        offset -= len(line)
    raise AssertionError("a text has at least one line")


def _number(region: Mapping[str, Any], name: str, default: int) -> int:
    value = region.get(name, default)
    return value if isinstance(value, int) and not isinstance(value, bool) else default
