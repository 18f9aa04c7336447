"""Whatever was before and whatever is open: the room holds, every file has one form, none is read twice."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaloom_model.api import Segment, text_digest
from deltaloom_server.context import candidates
from deltaloom_server.context.layout import BasePlan, Budget, Evidence
from deltaloom_server.context.outline import outline
from deltaloom_server.context.planning import PlanRequest, plan_base
from deltaloom_server.context.reasons import Reason, ScanResult, WorkspaceFile

PATHS = [
    f"{folder}m{i}.{suffix}"
    for i, suffix in enumerate(["py", "go", "md", "json"] * 6)
    for folder in ("", "a/")
]
FORMS = st.sampled_from(["full", "outline", "names"])


async def count(segments: Sequence[Segment], texts: Mapping[str, str]) -> list[int]:
    return [len(texts[segment.digest].encode()) // 4 + 3 for segment in segments]


def text_of(path: str, size: int) -> str:
    if path.endswith(".py"):
        return f'def f{size}(a: int) -> int:\n    """Doc {size}."""\n' + "    a += 1\n" * size
    if path.endswith(".go"):
        return f"package a\n\n// F{size} does.\nfunc F{size}(a int) int {{\n" + "\ta++\n" * size + "}\n"
    return f"{path} " + "words " * size


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "a").mkdir()
        yield Path(name)


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 400), min_size=len(PATHS), max_size=len(PATHS)),
    total=st.integers(0, 20_000),
    previous=st.lists(st.sampled_from([*PATHS, "gone.py", "FILES"]), unique=True),
    forms=st.dictionaries(st.sampled_from([*PATHS, "gone.py", "FILES"]), FORMS),
    opened=st.lists(st.sampled_from(PATHS), unique=True, max_size=3),
    changed=st.lists(st.sampled_from(PATHS), unique=True, max_size=4),
)
def test_every_layout_is_within_its_room_and_says_where_everything_is(
    folder: Path,
    sizes: list[int],
    total: int,
    previous: list[str],
    forms: dict[str, str],
    opened: list[str],
    changed: list[str],
) -> None:
    texts = {path: text_of(path, size) for path, size in zip(PATHS, sizes, strict=True)}
    for path, text in texts.items():
        (folder / path).write_text(text)
    scan = ScanResult(
        tuple(
            WorkspaceFile(path, str(folder / path), len(text), 0, len(text) % 5)
            for path, text in sorted(texts.items())
        )
    )
    evidence = Evidence(
        {path: f"import {PATHS[len(path)].partition('.')[0]}\n" for path in opened},
        tuple(changed),
        tuple(previous),
        forms,  # type: ignore[arg-type]
    )
    request = PlanRequest(Budget(total), 0, 1 << 20, evidence)
    with pytest.MonkeyPatch.context() as patch:
        read: list[str] = []
        real = candidates.load_text

        def watched(absolute: str, max_bytes: int) -> str | Reason | None:
            read.append(absolute)
            return real(absolute, max_bytes)

        patch.setattr(candidates, "load_text", watched)
        made = asyncio.run(plan_base(scan, request, count))
    assert len(read) == len(set(read))
    _is_whole(made, texts, Budget(total).base())
    assert asyncio.run(plan_base(scan, request, count)) == made


def _is_whole(made: BasePlan, texts: Mapping[str, str], room: int) -> None:
    assert sum(file.tokens for file in made.files) <= room
    standing = [file.path for file in made.files]
    assert len(set(standing)) == len(standing)
    assert set(made.forms) == set(texts)
    left_out = {entry.path for entry in made.left_out}
    for file in made.files:
        assert 0.02 <= file.weight <= 1.0
        if file.form == "names":
            assert file is made.files[-1]
            assert file.digest == text_digest(file.text)
            continue
        assert file.form == made.forms[file.path]
        assert file.source_digest == text_digest(texts[file.path])
        shown = texts[file.path] if file.form == "full" else outline(file.path, texts[file.path])
        assert shown is not None
        assert file.digest == text_digest(shown)
        assert file.tokens == len(shown.encode()) // 4 + 3
    inside = {path for path, form in made.forms.items() if form != "names"}
    assert inside == set(standing) - {"FILES"}
    assert inside | left_out == set(texts)
    assert not inside & left_out
