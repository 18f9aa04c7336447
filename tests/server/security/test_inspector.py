"""Inspections of texts and files by real scanners: equal texts are told alike, wherever they come from."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from deltaloom_server.security import inspector as module
from deltaloom_server.security import scanner_versions
from deltaloom_server.security.analysis.messages import ScanResult
from deltaloom_server.security.analysis.pool import AnalysisPool
from deltaloom_server.security.finding import Inspection
from deltaloom_server.security.finding_cache import FindingCache
from deltaloom_server.security.inspector import Inspected, Inspector
from deltaloom_server.security.scanners import ruff
from deltaloom_server.security.targets import Target

SHELL = 'import subprocess\n\n\ndef run(name):\n    return subprocess.run(f"ls {name}", shell=True)\n'
KEY = "AKIA" + "IOSFODNN7" + "EXAMPLQ"

Make = Callable[..., Inspector]


@pytest_asyncio.fixture
async def make(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Make]:
    """Inspectors on one cache, each as of a process of its own."""
    path = tmp_path_factory.mktemp("cache") / "findings.sqlite"
    pool, caches = AnalysisPool(size=1), []
    with ThreadPoolExecutor(max_workers=3) as executor:

        def made(cached: bool = True) -> Inspector:
            caches.append(FindingCache(path if cached else None))
            return Inspector(pool, caches[-1], executor)

        yield made
        await pool.close()
        for cache in caches:
            cache.close()


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was given to ruff: paths, or texts."""
    asked: list[str] = []
    scan_buffer, scan_files = ruff.scan_buffer, ruff.scan_files

    async def buffer(path: str, text: str, **more: Any) -> ScanResult:
        asked.append(path)
        return await scan_buffer(path, text, **more)

    async def files(paths: list[Path], **more: Any) -> dict[Path, ScanResult]:
        asked.extend(path.name for path in paths)
        return await scan_files(paths, **more)

    monkeypatch.setattr(ruff, "scan_buffer", buffer)
    monkeypatch.setattr(ruff, "scan_files", files)
    return asked


async def _files(inspector: Inspector, *paths: Path, max_bytes: int = 1 << 20) -> dict[str, Inspected]:
    targets = [Target(path.name, os.fspath(path)) for path in paths]
    return {one.target.path: one async for one in inspector.files(targets, max_bytes)}


def _without_place(inspection: Inspection) -> Inspection:
    findings = tuple(msgspec.structs.replace(one, path="") for one in inspection.findings)
    return msgspec.structs.replace(inspection, path="", findings=findings)


async def test_a_buffer_a_file_and_the_cache_tell_the_same(make: Make, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(SHELL)
    from_buffer = await make(cached=False).full("a.py", SHELL)
    assert [one.rule for one in from_buffer.findings][-1] == "S602"
    assert from_buffer.findings[-1].scanners == ("bandit", "ruff")
    on_disk = (await _files(make(), tmp_path / "a.py"))["a.py"]
    assert (on_disk.inspection, on_disk.text) == (from_buffer, SHELL)
    remembering = make()
    assert (await _files(remembering, tmp_path / "a.py"))["a.py"].inspection == from_buffer
    assert remembering.cached == 1
    assert await remembering.full("a.py", SHELL) == from_buffer


@pytest.mark.parametrize(
    "data",
    [
        "# -*- coding: latin-1 -*-\nname = 'é'; eval(name)\n".encode("latin-1"),
        b"\xef\xbb\xbfeval(name)\n",
        "x = '😀'; eval(x)\r\n".encode(),
    ],
    ids=["latin-1", "mark", "crlf"],
)
async def test_how_a_file_is_encoded_makes_no_difference(make: Make, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.py").write_bytes(data)
    on_disk = (await _files(make(), tmp_path / "a.py"))["a.py"]
    assert on_disk.inspection == await make(cached=False).full("a.py", on_disk.text)
    assert on_disk.inspection == await make().full("a.py", on_disk.text)
    (found,) = on_disk.inspection.findings
    assert found.scanners == ("bandit", "ruff")


async def test_an_equal_text_elsewhere_is_not_scanned_again_and_has_its_own_path(
    make: Make, tmp_path: Path, scans: list[str]
) -> None:
    inspector = make()
    here = await inspector.full("a.py", SHELL + "x = (\n")
    there = await inspector.full("other/b.py", SHELL + "x = (\n")
    assert scans == ["a.py"]
    told = [*(one.path for one in there.findings), *(one.path for one in there.unscanned)]
    assert set(told) == {"other/b.py"}
    assert here.unscanned
    assert [one.reason for one in there.unscanned] == [one.reason for one in here.unscanned]
    first = await inspector.full("a.py", SHELL)
    assert _without_place(await inspector.full("b.py", SHELL)) == _without_place(first)
    for name in ("c.py", "d.py"):
        (tmp_path / name).write_text(SHELL)
    found = await _files(inspector, tmp_path / "c.py", tmp_path / "d.py")
    assert inspector.cached == 2
    for name, one in found.items():
        assert {finding.path for finding in one.inspection.findings} == {name}


async def test_another_kind_of_file_is_another_matter(make: Make, scans: list[str]) -> None:
    inspector = make()
    assert (await inspector.full("a.py", SHELL)).findings
    assert (await inspector.full("a.txt", SHELL)).findings == ()
    assert await inspector.full("a.pyi", SHELL) is not None
    assert scans == ["a.py", "a.pyi"]


async def test_other_scanners_or_rules_make_what_was_remembered_unknown(
    make: Make, scans: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await make().full("a.py", SHELL)
    await make().full("a.py", SHELL)
    assert len(scans) == 1
    monkeypatch.setattr(scanner_versions, "fingerprint", lambda: "other")
    await make().full("a.py", SHELL)
    assert len(scans) == 2


def test_the_fingerprint_changes_with_versions_and_with_our_own_rules(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def now() -> str:
        scanner_versions.fingerprint.cache_clear()
        return scanner_versions.fingerprint()

    before = now()
    assert now() == before
    monkeypatch.setattr(scanner_versions, "versions", lambda: {"ruff": "99"})
    assert now() != before
    monkeypatch.undo()
    (tmp_path / "rules").mkdir()
    monkeypatch.setattr(scanner_versions, "__file__", os.fspath(tmp_path / "scanner_versions.py"))
    empty = now()
    (tmp_path / "rules" / "new.py").write_text("x = 1\n")
    with_rule = now()
    (tmp_path / "rules" / "new.py").write_text("x = 2\n")
    assert len({before, empty, with_rule, now()}) == 4
    monkeypatch.undo()
    assert now() == before


async def test_what_a_scanner_failed_at_is_tried_again(
    make: Make, monkeypatch: pytest.MonkeyPatch, scans: list[str]
) -> None:
    def missing() -> str:
        raise ruff.RuffNotFound("Ruff isn't installed beside this Python; reinstall deltaloom.")

    monkeypatch.setattr(ruff, "find_ruff", missing)
    failed = await make().full("a.py", SHELL)
    assert [(one.scanner, one.failed) for one in failed.unscanned] == [("ruff", True)]
    assert [one.scanners for one in failed.findings if one.rule == "S602"] == [("bandit",)]
    monkeypatch.undo()
    assert (await make().full("a.py", SHELL)).unscanned == ()


async def test_what_was_not_fit_to_be_scanned_is_remembered_as_that(make: Make, scans: list[str]) -> None:
    first = await make().full("a.py", "def broken(:\n")
    assert first.unscanned
    assert await make().full("a.py", "def broken(:\n") == first
    assert len(scans) == 1


async def test_credentials_are_looked_for_in_the_named_lines_and_never_remembered(make: Make) -> None:
    text = f"a = 1\nkey = '{KEY}'\nb = '{KEY}'\n"
    inspector = make()
    assert (await inspector.full("a.cfg", text)).findings == ()
    found = await inspector.full("a.cfg", text, ((1, 1),))
    assert [one.span.start_line for one in found.findings] == [1]
    assert found.findings[0].rule.startswith("secret/")
    assert "secrets" in found.scanners
    assert (await inspector.full("a.cfg", text)).findings == ()
    assert (await inspector.full("b.cfg", text, ((2, 2),))).findings[0].path == "b.cfg"


async def test_while_a_person_types_only_quick_scanners_are_asked(make: Make) -> None:
    text = SHELL + "import torch\ntorch.load('x')\n"
    inspector = make()
    quick = await inspector.quick("a.py", text)
    assert quick.scanners == ("deltaloom", "ruff")
    assert not any("bandit" in one.scanners for one in quick.findings)
    full = await inspector.full("a.py", text)
    both = {one.identity for one in full.findings} & {one.identity for one in quick.findings}
    assert both == {one.identity for one in quick.findings}


async def test_every_file_is_told_of_once_whatever_it_is(make: Make, tmp_path: Path) -> None:
    names = [f"m{number}.py" for number in range(5)]
    for name in names:
        (tmp_path / name).write_text(SHELL + f"# {name}\n")
    (tmp_path / "binary.py").write_bytes(b"\0")
    (tmp_path / "large.py").write_text("x = 1\n" * 500)
    (tmp_path / "link.py").symlink_to(tmp_path / "m0.py")
    paths = [tmp_path / name for name in (*names, "binary.py", "large.py", "link.py", "gone.py")]
    told: list[tuple[int, int]] = []
    inspector = make()
    targets = [Target(path.name, os.fspath(path)) for path in paths]
    found = [one async for one in inspector.files(targets, 1000, lambda *done: told.append(done))]
    assert sorted(one.target.path for one in found) == sorted(path.name for path in paths)
    assert told[-1] == (9, 9)
    assert told == sorted(told)
    why = {one.target.path: one.inspection.unscanned[0].reason for one in found if one.inspection.unscanned}
    assert set(why) == {"binary.py", "large.py", "link.py", "gone.py"}
    assert why["large.py"] == "the file is over 1,000 bytes."


async def test_a_large_workspace_is_read_in_slices(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SLICE", 2)
    for number in range(5):
        (tmp_path / f"m{number}.py").write_text(f"x = eval('{number}')\n")
    paths = [tmp_path / f"m{number}.py" for number in range(5)]
    found = await _files(make(), *paths)
    assert [len(one.inspection.findings) for one in found.values()] == [1] * 5
    again = make()
    await _files(again, *paths)
    assert again.cached == 5


async def test_a_file_that_changes_while_it_is_scanned_is_told_by_the_text_that_was_read(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.py"
    path.write_text(SHELL)
    scan_files = ruff.scan_files

    async def late(paths: list[Path], **more: Any) -> dict[Path, ScanResult]:
        path.write_text("x = 1\n")
        return await scan_files(paths, **more)

    monkeypatch.setattr(ruff, "scan_files", late)
    found = (await _files(make(), path))["a.py"]
    assert found.text == SHELL
    assert found.inspection == await make(cached=False).full("a.py", SHELL)
    assert (await make().full("a.py", "x = 1\n")).findings == ()


async def test_breaking_off_leaves_nothing_running(make: Make, tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"m{number}.py").write_text(SHELL * 3 + f"x = {number}\n")
    paths = [tmp_path / f"m{number}.py" for number in range(30)]
    before = asyncio.all_tasks()
    inspector = make()
    targets = [Target(path.name, os.fspath(path)) for path in paths]
    passing = inspector.files(targets, 1 << 20)
    await anext(passing)
    await passing.aclose()
    # What the pool goes on with is bounded by its own grace; nothing of the pass is waited for.
    assert not {task for task in asyncio.all_tasks() - before if "_scan_inside" in repr(task)}
    assert len(await _files(inspector, *paths)) == 30
