"""The data a model is measured on: held-out files, and single-line completions drawn from them.

Invariant: a case is fixed by the corpus and the seed; prefix + typed + expected + suffix is the file's text.
"""

from __future__ import annotations

import io
import random
import tokenize
from pathlib import Path

import msgspec

from deltaloom_model.training.corpus import SourceFile
from deltaloom_model.training.objectives import related_files

_SHORTEST, _LONGEST = 4, 60


class HeldOutFile(msgspec.Struct, frozen=True):
    """One whole file, for bits per byte."""

    package: str
    path: str
    kind: str
    text: str


class FimCase(msgspec.Struct, frozen=True):
    """Complete `typed` to the end of its line. `context` names the package's other files by path, the least
    related first; their texts stand in `files.jsonl`."""

    package: str
    path: str
    prefix: str
    typed: str
    suffix: str
    expected: str
    context: list[str]


def write(
    packages: list[tuple[str, list[SourceFile]]], out: Path, seed: int, cases: int = 400
) -> dict[str, int]:
    """Write `files.jsonl` and `fim-cases.jsonl` under `out`; returns how many rows each has."""
    files = [HeldOutFile(package, f.path, f.kind, f.text) for package, rows in packages for f in rows]
    drawn = draw_cases(packages, cases, random.Random(seed))
    out.mkdir(parents=True, exist_ok=True)
    for name, rows in (("files.jsonl", files), ("fim-cases.jsonl", drawn)):
        (out / name).write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    return {"files": len(files), "cases": len(drawn)}


def draw_cases(
    packages: list[tuple[str, list[SourceFile]]], count: int, draw: random.Random
) -> list[FimCase]:
    """Equally many cases from every package, files drawn by size, no line twice."""
    cases: list[FimCase] = []
    for index, (package, files) in enumerate(packages):
        wanted = count * (index + 1) // len(packages) - len(cases)
        python = [f for f in files if f.kind == "python" and f.path.endswith(".py")]
        rows = {f.path: code_rows(f.text) for f in python}
        seen: set[tuple[str, int]] = set()
        for _ in range(200 * wanted):
            if len(cases) >= count * (index + 1) // len(packages):
                break
            file = draw.choices(python, [len(rows[f.path]) for f in python])[0]
            row = draw.choice(rows[file.path])
            case = _case(package, file, row, files, draw)
            if case is not None and (file.path, row) not in seen:
                seen.add((file.path, row))
                cases.append(case)
    return cases


def code_rows(text: str) -> list[int]:
    """Rows (from 0) that hold code: no blank ones, no comments alone, none inside a string of many lines."""
    lines = text.split("\n")
    outside = [bool(line.strip()) and not line.lstrip().startswith("#") for line in lines]
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.STRING and token.start[0] != token.end[0]:
                outside[token.start[0] - 1 : token.end[0]] = [False] * (token.end[0] - token.start[0] + 1)
    except (tokenize.TokenError, SyntaxError):
        return []
    return [row for row, code in enumerate(outside) if code]


def _case(
    package: str, file: SourceFile, row: int, files: list[SourceFile], draw: random.Random
) -> FimCase | None:
    lines = file.text.split("\n")
    line = lines[row]
    first = len(line) - len(line.lstrip())
    column = first if draw.random() < 0.25 else draw.randint(first, max(first, len(line) - _SHORTEST))
    expected = line[column:]
    if not _SHORTEST <= len(expected) <= _LONGEST or line != line.rstrip() or not expected.strip("()[]{},: "):
        return None
    start = sum(len(before) + 1 for before in lines[:row])
    return FimCase(
        package,
        file.path,
        prefix=file.text[:start],
        typed=line[:column],
        suffix=file.text[start + len(line) :],
        expected=expected,
        context=[f.path for f in related_files(file, files)],
    )
