"""Inspecting texts and files: which scanners look at what, in what order, and what is remembered of it.

Invariant: equal texts of one kind of file give equal inspections, whether they come from a buffer, from disk
or from the cache; what no scanner could look at is said, never passed over.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from deltaloom_server.security import scanner_versions
from deltaloom_server.security.analysis.messages import (
    Assemble,
    Assembled,
    Failed,
    ScanResult,
    ScanText,
)
from deltaloom_server.security.analysis.pool import AnalysisPool
from deltaloom_server.security.assemble import assemble
from deltaloom_server.security.finding import Finding, Inspection, Scanner, Unscanned
from deltaloom_server.security.finding_cache import FindingCache, Remembered
from deltaloom_server.security.languages import scanners_for
from deltaloom_server.security.scanners import ruff, semgrep
from deltaloom_server.security.source_text import read_source
from deltaloom_server.security.suppressions import may_have_comments
from deltaloom_server.security.targets import Target

_SLICE = 400
"""Files whose texts are held at one time."""

_QUICK: tuple[Scanner, ...] = ("ruff", "deltaloom")
_QUICK_SECONDS = 2.0
_FULL_SECONDS = 20.0
_WHOLE_SECONDS = 120.0

Lines = tuple[tuple[int, int], ...]
"""First and last numbers (from 0) of runs of lines."""

Progress = Callable[[int, int], None]
"""Called with (files done, files in all)."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _File:
    """A file on its way through the scanners. `key` is what its results are remembered under."""

    target: Target
    text: str
    key: bytes
    scanners: tuple[Scanner, ...]
    stamp: tuple[int, int]
    """Of the file on disk before it was read: time of change in ns, bytes."""
    utf8: bool
    """Is it written so? Programs take all files for that; a text in another encoding is handed to them."""


@dataclass(frozen=True, slots=True)
class Inspected:
    """A file as it was on disk, and what was found in it."""

    target: Target
    text: str
    inspection: Inspection
    result: ScanResult | None = None
    """What the scanners said, for who adds to it."""


class Inspector:
    """All inspections of one session. Its methods belong to the event loop."""

    def __init__(self, pool: AnalysisPool, cache: FindingCache, executor: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._cache = cache
        self._executor = executor
        self.cached = 0
        """Files of the last `files` that the cache knew."""

    async def quick(self, path: str, text: str) -> Inspection:
        """What can be told while a person types: ruff and our own checks."""
        chosen = tuple(scanner for scanner in scanners_for(path) if scanner in _QUICK)
        result = await self._scan_text(path, text, chosen, _QUICK_SECONDS)
        return await self.assembled(path, text, result, chosen)

    async def full(self, path: str, text: str, lines: Lines = ()) -> Inspection:
        """All scanners; credentials are looked for in `lines`."""
        chosen = _without_secrets(path)
        key = _key(path, text, chosen)
        secrets = asyncio.create_task(self.secrets(path, text, lines))
        known = (await self._run(lambda: self._cache.find([key]))).get(key)
        if known is None:
            result = await self._scan_text(path, text, chosen, _FULL_SECONDS)
            known = Remembered(result, await self.assembled(path, text, result, chosen))
            await self._keep({key: known})
        found = await secrets
        if not found.findings and not found.unscanned:
            return _moved(known.inspection, path)
        both = _joined([_at(known.result, path), found])
        return await self.assembled(path, text, both, (*chosen, "secrets"))

    async def files(
        self, targets: Sequence[Target], max_bytes: int, progress: Progress = lambda done, total: None
    ) -> AsyncGenerator[Inspected, None]:
        """Inspect files as they are on disk, in slices. Credentials are another matter (`secrets`)."""
        self.cached = done = 0
        for start in range(0, len(targets), _SLICE):
            part = targets[start : start + _SLICE]
            files, refused = await self._run(lambda part=part: _read_all(part, max_bytes))  # type: ignore[misc]
            for target, reason in refused:
                done += 1
                yield Inspected(target, "", _refused(target, reason))
            known = await self._run(lambda files=files: self._cache.find([f.key for f in files]))  # type: ignore[misc]
            self.cached += sum(file.key in known for file in files)
            fresh: dict[bytes, Remembered] = {}
            for file in files:
                if (hit := known.get(file.key)) is not None:
                    done += 1
                    inspection = _moved(hit.inspection, file.target.path)
                    yield Inspected(file.target, file.text, inspection, hit.result)
            progress(done, len(targets))
            rest = [file for file in files if file.key not in known]
            async with aclosing(self._scan_files(rest)) as scanned:
                async for file, result in scanned:
                    done += 1
                    inspection = await self.assembled(file.target.path, file.text, result, file.scanners)
                    fresh[file.key] = Remembered(result, inspection)
                    progress(done, len(targets))
                    yield Inspected(file.target, file.text, inspection, result)
            await self._keep(fresh)

    async def with_secrets(self, inspected: Inspected, lines: Lines) -> Inspection:
        """A file's inspection with credentials looked for in these lines; the others aren't asked again."""
        path, text = inspected.target.path, inspected.text
        found = await self.secrets(path, text, lines)
        if inspected.result is None or (not found.findings and not found.unscanned):
            return inspected.inspection
        both = _joined([_at(inspected.result, path), found])
        return await self.assembled(path, text, both, (*_without_secrets(path), "secrets"))

    async def secrets(self, path: str, text: str, lines: Lines) -> ScanResult:
        """Credentials in these lines."""
        if not lines or "secrets" not in scanners_for(path):
            return ScanResult(())
        return await self._pool.scan(ScanText(path, text, ("secrets",), lines), seconds=_FULL_SECONDS)

    async def _scan_text(self, path: str, text: str, chosen: Sequence[Scanner], seconds: float) -> ScanResult:
        scans: list[Coroutine[Any, Any, ScanResult]] = []
        if "ruff" in chosen:
            scans.append(ruff.scan_buffer(path, text, seconds=seconds))
        if "semgrep" in chosen:
            scans.append(semgrep.scan_buffer(path, text, seconds=seconds))
        if inside := _inside(chosen):
            scans.append(self._pool.scan(ScanText(path, text, inside), seconds=seconds))
        return _joined(await asyncio.gather(*scans))

    async def _scan_files(self, files: Sequence[_File]) -> AsyncGenerator[tuple[_File, ScanResult], None]:
        """ruff and semgrep take all files at once, the analysis processes one after another."""
        whole: list[asyncio.Task[dict[Path, ScanResult]]] = []
        for scanner, scan in (("ruff", ruff.scan_files), ("semgrep", semgrep.scan_files)):
            paths = [Path(file.target.absolute) for file in files if file.utf8 and scanner in file.scanners]
            if paths:
                whole.append(asyncio.create_task(scan(paths, seconds=_WHOLE_SECONDS + 2 * len(paths))))
        single: dict[asyncio.Task[ScanResult], _File] = {
            asyncio.create_task(self._scan_inside(file)): file for file in files
        }
        try:
            others = await asyncio.gather(*whole)
            waiting = set(single)
            while waiting:
                finished, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in finished:
                    file = single[task]
                    path = Path(file.target.absolute)
                    results = [task.result(), *(other[path] for other in others if path in other)]
                    result = _at(_joined(results), file.target.path)
                    if others and _stamp(file.target.absolute) != file.stamp:
                        # ruff and semgrep have read another text than this one.
                        result = await self._scan_text(
                            file.target.path, file.text, file.scanners, _FULL_SECONDS
                        )
                    yield file, result
        finally:
            for running in (*whole, *single):
                running.cancel()
            await asyncio.gather(*whole, *single, return_exceptions=True)

    async def _scan_inside(self, file: _File) -> ScanResult:
        if not file.utf8:
            return await self._scan_text(file.target.path, file.text, file.scanners, _FULL_SECONDS)
        if not (inside := _inside(file.scanners)):
            return ScanResult(())
        return await self._pool.scan(ScanText(file.target.path, file.text, inside), seconds=_FULL_SECONDS)

    async def assembled(
        self, path: str, text: str, result: ScanResult, scanners: tuple[Scanner, ...]
    ) -> Inspection:
        """One inspection of what was said. Comments are read in the analysis process, as everything of a
        workspace that is parsed; where that fails, nothing is suppressed, and that is said."""
        if not may_have_comments(text):
            return assemble(path, text, [result], scanners, comments=False)
        reply = await self._pool.ask(Assemble(path, text, result, scanners), seconds=_FULL_SECONDS)
        if isinstance(reply, Assembled):
            return reply.inspection
        why = reply.reason if isinstance(reply, Failed) else "The comments can't be read."
        failed = Unscanned(path, "deltaloom", f"Suppression comments aren't known: {why}", failed=True)
        told = ScanResult(result.findings, (*result.unscanned, failed))
        return assemble(path, text, [told], scanners, comments=False)

    async def _keep(self, results: dict[bytes, Remembered]) -> None:
        """What a scanner failed at is tried again the next time."""
        sound = {key: one for key, one in results.items() if not any(u.failed for u in one.result.unscanned)}
        if sound:
            await self._run(lambda: self._cache.keep(sound))

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


def _read_all(targets: Iterable[Target], max_bytes: int) -> tuple[list[_File], list[tuple[Target, str]]]:
    files, refused = [], []
    for target in targets:
        stamp = _stamp(target.absolute)
        source = read_source(target.absolute, max_bytes)
        if isinstance(source, str):
            refused.append((target, source))
            continue
        chosen = _without_secrets(target.path)
        key = _key(target.path, source.text, chosen)
        utf8 = source.encoding.replace("-", "").lower().startswith("utf8")
        files.append(_File(target, source.text, key, chosen, stamp, utf8))
    return files, refused


def _stamp(absolute: str) -> tuple[int, int]:
    try:
        status = os.stat(absolute)
    except OSError:
        return 0, -1
    return status.st_mtime_ns, status.st_size


def _without_secrets(path: str) -> tuple[Scanner, ...]:
    """The scanners whose results depend on nothing but the text."""
    return tuple(scanner for scanner in scanners_for(path) if scanner != "secrets")


def _inside(scanners: Iterable[Scanner]) -> tuple[Scanner, ...]:
    """Those that run in the analysis process."""
    return tuple(scanner for scanner in scanners if scanner in ("bandit", "deltaloom"))


def _key(path: str, text: str, scanners: Sequence[Scanner]) -> bytes:
    """What a result depends on: the text, the kind of file, the scanners, their versions and rules."""
    kind = path.rpartition("/")[2].rpartition(".")[2]
    parts = (kind, ",".join(scanners), scanner_versions.fingerprint(), text)
    digest = blake2b(digest_size=16)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.digest()


def _joined(results: Iterable[ScanResult]) -> ScanResult:
    findings: list[Finding] = []
    unscanned: list[Unscanned] = []
    for result in results:
        findings += result.findings
        unscanned += result.unscanned
    return ScanResult(tuple(findings), tuple(unscanned))


def _at(result: ScanResult, path: str) -> ScanResult:
    """A result as that of the file at `path`: a remembered one may come from an equal file elsewhere."""
    replace = msgspec.structs.replace
    return ScanResult(
        tuple(one if one.path == path else replace(one, path=path) for one in result.findings),
        tuple(one if one.path == path else replace(one, path=path) for one in result.unscanned),
    )


def _moved(inspection: Inspection, path: str) -> Inspection:
    """An inspection as that of the file at `path`: a remembered one may come from an equal file elsewhere."""
    if inspection.path == path:
        return inspection
    there = _at(ScanResult(inspection.findings, inspection.unscanned), path)
    return msgspec.structs.replace(inspection, path=path, findings=there.findings, unscanned=there.unscanned)


def _refused(target: Target, reason: str) -> Inspection:
    chosen = _without_secrets(target.path)
    unscanned = tuple(Unscanned(target.path, scanner, f"{reason}.") for scanner in chosen)
    return Inspection(target.path, "", (), unscanned, ())
