"""Ruff's S rules: for a buffer while a person types, for one text, and for many files on disk.

Invariant: the ruff that runs is the one installed with this Python, without configuration, cache or
suppression comments; a file that makes it fail costs no other file its findings.
"""

from __future__ import annotations

import asyncio
import os
import stat
import sys
import sysconfig
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import msgspec

from deltaloom_server.security.analysis.limits import MEBIBYTE, READ_BYTES, oversize, too_large
from deltaloom_server.security.analysis.messages import ScanResult
from deltaloom_server.security.finding import Unscanned
from deltaloom_server.security.scanners import ruff_report, running
from deltaloom_server.security.scanners.batches import batches, why_unreadable

_BUFFER_SECONDS = 10.0
_FILES_SECONDS = 120.0
_BATCH_FILES = 512
_BATCH_BYTES = 96 * 1024
"""Of arguments in one command; every platform takes that much."""
_PARTS = 8
"""A run that is brought down takes much longer than one that isn't: better more parts than more rounds."""

_OPTIONS = (
    "check", "--isolated", "--no-cache", "--select", "S", "--ignore-noqa",
    "--output-format", "json", "--target-version", "py314",
)  # fmt: skip
# The newest version's grammar: what an older Python would refuse is no reason not to look at a text.

_SKIPPED = "Failed to lint"
"""Ruff's warning for a file that it can't read; its exit status doesn't tell."""
_TOO_DEEP = "The file is nested too deeply for ruff."
_NOT_UNICODE = "The text has half characters (lone surrogates), which no file can hold."
_MARK = "\ufeff"


class RuffNotFound(Exception):
    """There is no ruff beside this Python; one sentence."""


@cache
def find_ruff() -> str:
    """The path of the ruff that was installed with this Python. Raises `RuffNotFound`.

    Never the first on PATH: a workspace's own environment may come first there.
    """
    name = "ruff" + (sysconfig.get_config_var("EXE") or "")
    schemes = (
        sysconfig.get_path("scripts"),
        sysconfig.get_path("scripts", sysconfig.get_preferred_scheme("user")),
    )
    beside = os.path.join(os.path.dirname(sys.executable), name)
    for candidate in (*(os.path.join(folder, name) for folder in schemes), beside):
        if os.path.isabs(candidate) and os.access(candidate, os.X_OK):
            return candidate
    raise RuffNotFound("Ruff isn't installed beside this Python; reinstall deltaloom.")


async def scan_buffer(path: str, text: str, *, seconds: float = _BUFFER_SECONDS) -> ScanResult:
    """What ruff says of a text. For the event loop; ruff ends when the caller is cancelled."""
    if (unfit := _unfit(text)) is not None:
        return _unscanned(path, unfit)
    try:
        finished = await running.run(_stdin_command(path), text.encode(), seconds=seconds)
        entries = await _read(finished)
    except Exception as error:
        return _refused(path, error, seconds)
    return _one(path, text, finished, entries)


def scan_text(path: str, text: str, *, seconds: float = _BUFFER_SECONDS) -> ScanResult:
    """The same, blocking: for the analysis process."""
    if (unfit := _unfit(text)) is not None:
        return _unscanned(path, unfit)
    try:
        finished = running.run_blocking(_stdin_command(path), text.encode(), seconds=seconds)
        entries = ruff_report.read(finished.output) if finished.status in (0, 1) else {}
    except Exception as error:
        return _refused(path, error, seconds)
    return _one(path, text, finished, entries)


async def scan_files(
    paths: Sequence[Path], *, root: Path | None = None, seconds: float = _FILES_SECONDS
) -> dict[Path, ScanResult]:
    """What ruff says of files as they are on disk, many in one run of it.

    Findings name files relative to `root` with forward slashes, or as they were given. `seconds` are for
    all of them together; what isn't done by then is told as failed.
    """
    deadline = asyncio.get_running_loop().time() + seconds
    results: dict[Path, ScanResult] = {}
    for batch in batches(
        list(dict.fromkeys(paths)), _argument_bytes, most_files=_BATCH_FILES, most_bytes=_BATCH_BYTES
    ):
        refused = await asyncio.to_thread(_refused_files, batch)
        results |= {path: _unscanned(_shown(path, root), why) for path, why in refused.items()}
        fit = [path for path in batch if path not in refused]
        results |= await _scan_batch(fit, root, deadline, seconds)
    return results


async def _scan_batch(
    paths: Sequence[Path], root: Path | None, deadline: float, seconds: float
) -> dict[Path, ScanResult]:
    """One run; where a file brings ruff down, parts of the batch, until it is found."""
    if not paths:
        return {}
    names = {os.path.abspath(path): path for path in paths}
    left = deadline - asyncio.get_running_loop().time()
    try:
        if left <= 0:
            raise running.TookTooLong
        finished = await running.run((find_ruff(), *_OPTIONS, "--", *names), seconds=left)
        entries = await _read(finished)
    except (running.TooMuchOutput, msgspec.DecodeError) as error:
        if len(paths) == 1:
            return {paths[0]: _refused(_shown(paths[0], root), error, seconds)}
        return await _scan_parts(paths, root, deadline, seconds)
    except Exception as error:
        return {path: _refused(_shown(path, root), error, seconds) for path in paths}
    if finished.status in (0, 1) and _SKIPPED not in finished.errors:
        shown = {name: _shown(path, root) for name, path in names.items()}
        found = await asyncio.to_thread(ruff_report.results, shown, entries)
        return {path: found[name] for name, path in names.items()}
    if len(paths) == 1:
        return {paths[0]: _ended_badly(_shown(paths[0], root), finished)}
    return await _scan_parts(paths, root, deadline, seconds)


async def _scan_parts(
    paths: Sequence[Path], root: Path | None, deadline: float, seconds: float
) -> dict[Path, ScanResult]:
    size = -(-len(paths) // _PARTS)
    found: dict[Path, ScanResult] = {}
    for start in range(0, len(paths), size):
        found |= await _scan_batch(paths[start : start + size], root, deadline, seconds)
    return found


def _argument_bytes(path: Path) -> int:
    return len(os.fsencode(os.path.abspath(path))) + 1


def _refused_files(paths: Sequence[Path]) -> dict[Path, str]:
    """Those that ruff needn't see, and why: it only warns of them, or waits for them for ever. Blocking."""
    refused = {}
    for path in paths:
        try:
            refused[path] = _why_unfit(path)
        except (OSError, ValueError) as error:
            refused[path] = why_unreadable(error)
    return {path: why for path, why in refused.items() if why}


def _why_unfit(path: Path) -> str:
    if path.suffix == ".ipynb":
        return "Notebooks are not looked into."
    try:
        os.path.abspath(path).encode()
    except UnicodeEncodeError:
        return "The file's name isn't valid UTF-8."
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return "It is not a regular file."
        if status.st_size > READ_BYTES:
            return f"The file is over {READ_BYTES // MEBIBYTE} MiB."
        try:
            file.read(READ_BYTES).decode()
        except UnicodeDecodeError:
            return "The file isn't valid UTF-8, which ruff needs."
    return ""


def _stdin_command(path: str) -> tuple[str, ...]:
    # Of the name, ruff's rules look at the ending only; the workspace's own name could be an option to it.
    name = "stub.pyi" if path.endswith(".pyi") else "text.py"
    return (find_ruff(), *_OPTIONS, "--stdin-filename", name, "-")


async def _read(finished: running.Finished) -> dict[str, list[ruff_report.Entry]]:
    if finished.status not in (0, 1):
        return {}
    if len(finished.output) < MEBIBYTE:
        return ruff_report.read(finished.output)
    return await asyncio.to_thread(ruff_report.read, finished.output)


def _one(
    path: str, text: str, finished: running.Finished, entries: dict[str, list[ruff_report.Entry]]
) -> ScanResult:
    if finished.status not in (0, 1):
        return _ended_badly(path, finished)
    mine = [entry for some in entries.values() for entry in some]
    return ruff_report.result(path, mine, marked=text.startswith(_MARK))


def _ended_badly(path: str, finished: running.Finished) -> ScanResult:
    if finished.status < 0 and "overflowed its stack" in finished.errors:
        return _unscanned(path, _TOO_DEEP)
    return _unscanned(path, f"Ruff failed ({finished.last_words().rstrip('.')}).", failed=True)


def _refused(path: str, error: Exception, seconds: float) -> ScanResult:
    match error:
        case RuffNotFound():
            why = str(error)
        case running.TookTooLong():
            why = f"Ruff took longer than {seconds:g} s."
        case running.TooMuchOutput():
            return _unscanned(path, f"Ruff has over {running.OUTPUT_BYTES // MEBIBYTE} MiB to say of it.")
        case msgspec.DecodeError():
            why = "Ruff said something that is no report; reinstall deltaloom."
        case OSError():
            why = f"Ruff can't be run ({error.strerror or error})."
        case _:
            raise error
    return _unscanned(path, why, failed=True)


def _unfit(text: str) -> str | None:
    if oversize(text, READ_BYTES):
        return too_large(READ_BYTES)
    try:
        text.encode()
    except UnicodeEncodeError:
        return _NOT_UNICODE
    return None


def _shown(path: Path, root: Path | None) -> str:
    if root is not None and path.is_relative_to(root):
        path = path.relative_to(root)
    return path.as_posix()


def _unscanned(path: str, why: str, *, failed: bool = False) -> ScanResult:
    return ScanResult((), (Unscanned(path, "ruff", why, failed),))
