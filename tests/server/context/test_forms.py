"""Repositories larger than the room: in which form each file stands, and that small edits leave it so."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaloom_model.api import Segment, text_digest
from deltaloom_server.context import candidates
from deltaloom_server.context.layout import BaseFile, BasePlan, Budget, Evidence
from deltaloom_server.context.outline import outline
from deltaloom_server.context.planning import PlanRequest, plan_base
from deltaloom_server.context.reasons import Reason, ScanResult, WorkspaceFile
from deltaloom_server.context.roots import name_roots
from deltaloom_server.context.scan import scan_workspace
from deltaloom_server.settings import ContextSettings

Write = Callable[[Path, Mapping[str, str | bytes]], None]
SETTINGS = ContextSettings()


async def count(segments: Sequence[Segment], texts: Mapping[str, str]) -> list[int]:
    """About as many tokens as code has, and no more than a third of the bytes."""
    return [len(texts[segment.digest].encode()) // 4 + 3 for segment in segments]


def module(name: str, functions: int, body: int, imports: str = "") -> str:
    head = f'"""Module {name}."""\n{imports}\n'
    lines = "".join(f"    total += value * {i}\n" for i in range(body))
    parts = (
        f'def {name}_{i}(value: int) -> int:\n    """Adds {i}."""\n    total = 0\n{lines}    return total\n\n'
        for i in range(functions)
    )
    return head + "\n".join(parts)


def scan_of(folder: Path) -> ScanResult:
    return scan_workspace(name_roots([str(folder)]), SETTINGS)


def plan(folder: Path, total: int, evidence: Evidence | None = None) -> BasePlan:
    request = PlanRequest(Budget(total), 0, SETTINGS.max_file_bytes, evidence or Evidence())
    return asyncio.run(plan_base(scan_of(folder), request, count))


def after(plan: BasePlan, **more: object) -> Evidence:
    order = tuple(file.path for file in plan.files)
    return Evidence(previous=order, previous_forms=plan.forms, **more)  # type: ignore[arg-type]


def forms_of(plan: BasePlan) -> dict[str, str]:
    return {file.path: file.form for file in plan.files if file.form != "names"}


def room(total: int) -> int:
    return Budget(total).base()


def used(plan: BasePlan) -> int:
    return sum(file.tokens for file in plan.files)


def listed(plan: BasePlan) -> BaseFile:
    return next(file for file in plan.files if file.form == "names")


@pytest.fixture
def shop(tmp_path: Path, write: Write) -> Path:
    """60 modules of about 400 tokens, and 10 documents."""
    files = {f"pack{i % 6}/m{i:02}.py": module(f"m{i:02}", 4, 12) for i in range(60)}
    write(tmp_path, files | {f"docs/d{i}.md": f"# {i}\n" + "prose " * 200 for i in range(10)})
    return tmp_path


def test_full_texts_then_outlines_then_names(shop: Path) -> None:
    made = plan(shop, 16_000)
    forms = list(forms_of(made).values())
    assert used(made) <= room(16_000)
    assert used(made) >= 0.9 * room(16_000)
    assert forms.count("full") >= 10
    assert forms.count("outline") >= 10
    reasons = {entry.path: entry.reason for entry in made.left_out}
    inside = set(forms_of(made))
    assert inside | set(reasons) == {file.path for file in scan_of(shop).files}
    names = listed(made)
    assert made.files[-1] is names
    assert names.path == "FILES"
    assert names.absolute == ""
    assert names.tokens <= room(16_000) // 50
    by_name = {path for path, reason in reasons.items() if reason is Reason.NAME_ONLY}
    assert by_name
    assert all(path.rpartition("/")[2] in names.text for path in by_name)
    assert not any(path.rpartition("/")[2] in names.text for path in inside)


def test_an_outline_says_what_it_was_taken_from(shop: Path) -> None:
    for file in plan(shop, 16_000).files:
        if file.form == "outline":
            text = (shop / file.path).read_text()
            assert file.text == outline(file.path, text)
            assert file.digest == text_digest(file.text)
            assert file.source_digest == text_digest(text)
            break
    else:
        pytest.fail("no outline")


def test_with_room_for_all_nothing_is_outlined_or_listed(shop: Path) -> None:
    total = 200_000
    while len(plan(shop, total).files) == 70:
        made, total = plan(shop, total), total * 19 // 20
    assert set(forms_of(made).values()) == {"full"}
    assert len(made.files) == 70
    assert used(made) >= 0.85 * room(total * 20 // 19)


def test_a_file_called_files_keeps_its_name(shop: Path, write: Write) -> None:
    write(shop, {"FILES": "a list of ours"})
    made = plan(shop, 16_000)
    assert listed(made).path == "FILES+"


def test_an_open_file_and_what_it_imports_stand_in_full(shop: Path) -> None:
    made = plan(shop, 16_000)
    outlined = [path for path, form in forms_of(made).items() if form == "outline"]
    imported = outlined[-1].rpartition("/")[2].removesuffix(".py")
    again = plan(shop, 16_000, after(made, open_texts={outlined[0]: f"import {imported}\n"}))
    assert forms_of(again)[outlined[0]] == forms_of(again)[outlined[-1]] == "full"
    assert {file.path for file in again.files[-3:-1]} == {outlined[0], outlined[-1]}  # the list stands last
    closed = plan(shop, 16_000, after(again))
    assert forms_of(closed) == forms_of(again)
    assert [file.path for file in closed.files] == [file.path for file in again.files]


def test_what_an_import_imports_comes_before_what_nothing_imports(tmp_path: Path, write: Write) -> None:
    files = {f"a{i:02}.py": module(f"a{i:02}", 4, 12) for i in range(40)}
    files["near.py"] = module("near", 2, 10, "from zz_far import thing\n")
    files["zz_far.py"] = module("zz_far", 2, 10)
    write(tmp_path, files)
    opened = Evidence(open_texts={"a00.py": "import near\n"})
    assert forms_of(plan(tmp_path, 8000, opened))["zz_far.py"] == "full"
    assert forms_of(plan(tmp_path, 8000)).get("zz_far.py") != "full"


def test_a_file_that_comes_back_comes_back_as_it_was(shop: Path) -> None:
    made = plan(shop, 16_000)
    outlined = next(path for path, form in forms_of(made).items() if form == "outline")
    text = (shop / outlined).read_text()
    (shop / outlined).unlink()
    without = plan(shop, 16_000, after(made))
    assert outlined not in forms_of(without)
    (shop / outlined).write_text(text)
    order = tuple(file.path for file in without.files)
    remembered = Evidence(previous=order, previous_forms={**made.forms, **without.forms})
    assert forms_of(plan(shop, 16_000, remembered)) == forms_of(made)


def test_much_new_room_is_used(shop: Path) -> None:
    small = plan(shop, 8_000)
    large = plan(shop, 16_000, after(small))
    assert used(large) >= 0.9 * room(16_000)
    kept = [file.path for file in small.files if forms_of(large).get(file.path) == file.form]
    assert kept == [path for path in (file.path for file in large.files) if path in kept]


def test_weights_tell_the_cold_from_the_hot(shop: Path) -> None:
    made = plan(shop, 16_000)
    edited = made.files[3].path
    again = plan(shop, 16_000, after(made, changed=(edited,)))
    assert [file.path for file in again.files if file.form != "names"][-1] == edited
    weights = {file.path: file.weight for file in again.files}
    assert weights[edited] == 1.0
    assert min(weights.values()) <= 0.04


EDITS = st.lists(st.tuples(st.integers(0, 10_000), st.sampled_from([0.97, 0.99, 1.01, 1.03])), max_size=4)


@settings(max_examples=40, deadline=None)
@given(EDITS, st.integers(0, 10_000), st.booleans(), st.booleans(), st.integers(5_000, 12_000))
def test_small_edits_leave_all_other_files_as_they_stand(
    edits: list[tuple[int, float]], gone: int, known: bool, deletes: bool, total: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rnd = random.Random(7)
        for i in range(80):
            path = folder / f"p{i % 5}" / f"m{i:02}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(module(path.stem, rnd.randint(1, 3), rnd.randint(4, 10)))
        before = plan(folder, total)
        paths = sorted(before.forms)
        touched, changed = {"p0/new.py", "FILES"}, []
        for index, factor in edits:
            path = paths[index % len(paths)]
            text = (folder / path).read_text()
            (folder / path).write_text(
                text + "# more\n" * max(1, int(len(text) * (factor - 1) / 7))
                if factor > 1
                else text[: int(len(text) * factor)]
            )
            touched.add(path)
            changed.append(path)
        if deletes:
            (folder / paths[gone % len(paths)]).unlink()
            touched.add(paths[gone % len(paths)])
        (folder / "p0" / "new.py").write_text(module("new", 1, 4))
        changed = [path for path in dict.fromkeys(changed) if (folder / path).exists()]
        made = plan(folder, total, after(before, changed=tuple(changed) if known else ()))
    assert used(made) <= room(total)
    _holds_what_stood(before, made, touched, room(total))


def _holds_what_stood(before: BasePlan, made: BasePlan, touched: set[str], room: int) -> None:
    rank = {"full": 0, "outline": 1, "names": 2}
    cost = {file.path: file.tokens for file in before.files}
    forced = {path for path in made.forms if made.forms[path] != before.forms.get(path)} - touched
    for path in forced:
        assert rank[made.forms[path]] > rank[before.forms[path]]
        held = next((file.tokens for file in made.files if file.path == path), 0)
        assert used(made) - held + cost[path] > room - room // 50
    moved = touched | forced
    standing = [(f.path, f.digest, f.form) for f in before.files if f.path not in moved]
    assert [(f.path, f.digest, f.form) for f in made.files if f.path not in moved] == standing
    old = [(f.path, f.digest, f.form) for f in before.files]
    new = [(f.path, f.digest, f.form) for f in made.files]
    pairs = zip(old, new, strict=False)
    first = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(old), len(new)))
    assert first >= next((i for i, entry in enumerate(old) if entry[0] in moved), len(old))


def test_three_thousand_files_are_not_all_read(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = {size: module("part", 3, size) for size in range(8, 24)}
    write(tmp_path, {f"d{i % 50}/e{i % 7}/m{i:04}.py": text[8 + i % 16] for i in range(3000)})
    read: list[str] = []
    real = candidates.load_text

    def watched(absolute: str, max_bytes: int) -> str | Reason | None:
        read.append(absolute)
        return real(absolute, max_bytes)

    monkeypatch.setattr(candidates, "load_text", watched)
    made = plan(tmp_path, 65_536)
    forms = list(forms_of(made).values())
    assert len(read) == len(set(read))
    assert len(read) < 600
    assert forms.count("full") > 40
    assert forms.count("outline") > 40
    assert 0.95 * room(65_536) <= used(made) <= room(65_536)
    assert listed(made).tokens <= room(65_536) // 50
    assert len([entry for entry in made.left_out if entry.reason is Reason.NAME_ONLY]) > 50
    assert f"and {sum(e.reason is Reason.OVER_BUDGET for e in made.left_out)} more" in listed(made).text
    read.clear()
    again = plan(tmp_path, 65_536, after(made))
    assert again.files == made.files
    assert len(read) <= len(made.files)


def test_a_file_whose_text_may_not_be_shown_is_neither_outlined_nor_named(shop: Path, write: Write) -> None:
    key = "-----BEGIN RSA PRIVATE " + "KEY-----\n" + "MIIE" * 20 + "\n-----END RSA PRIVATE " + "KEY-----\n"
    write(shop, {"aaa.py": module("aaa", 3, 10) + f'KEY = """{key}"""\n'})
    made = plan(shop, 16_000)
    reasons = {entry.path: entry.reason for entry in made.left_out}
    assert reasons["aaa.py"] is Reason.SECRET
    assert "aaa.py" not in listed(made).text


def test_without_a_grammar_a_file_goes_from_text_to_name(tmp_path: Path) -> None:
    files = tuple(WorkspaceFile(f"n{i}.md", str(tmp_path / f"n{i}.md"), 2400, 0) for i in range(30))
    for file in files:
        Path(file.absolute).write_text(f"{file.path} " + "prose " * 399)
    request = PlanRequest(Budget(8000), 0, SETTINGS.max_file_bytes)
    made = asyncio.run(plan_base(ScanResult(files), request, count))
    assert set(forms_of(made).values()) == {"full"}
    assert used(made) >= 0.85 * room(8000)
