"""Findings in other languages than Python: semgrep-core, run with rules of our own.

Invariant: a file that semgrep can't bear costs no other file its findings, and is told.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from deltaloom_server.security.analysis.limits import MEBIBYTE, PARSED_BYTES, oversize, too_large
from deltaloom_server.security.analysis.messages import ScanResult
from deltaloom_server.security.finding import Unscanned
from deltaloom_server.security.scanners import running, semgrep_program, semgrep_report
from deltaloom_server.security.scanners.batches import batches, why_unreadable

_BUFFER_SECONDS = 10.0
_FILES_SECONDS = 120.0
_BATCH_SECONDS = 60.0
_BATCH_FILES = 256
_BATCH_BYTES = 8 * MEBIBYTE
_JOBS = max(1, min(4, os.cpu_count() or 1))

_NO_RULES = "There are no rules for files of this kind."
_NOT_UNICODE = "The text has half characters (lone surrogates), which no file can hold."
_MARK = b"\xef\xbb\xbf"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Text:
    """A text on its way through semgrep. `shown` is its name in findings."""

    path: Path
    shown: str
    text: str


async def scan_buffer(path: str, text: str, *, seconds: float = _BUFFER_SECONDS) -> ScanResult:
    """What semgrep says of a text. For the event loop; semgrep ends when the caller is cancelled."""
    if (unfit := _unfit(path, text)) is not None:
        return _unscanned(path, unfit)
    try:
        program = semgrep_program.find_core()
        with semgrep_program.private_folder() as folder:
            (name,) = semgrep_program.write(folder, [(path, text.encode())])
            finished = await running.run(
                semgrep_program.command(program, folder, 1),
                seconds=seconds,
                memory=semgrep_program.memory(1),
            )
        return _one(path, text, name, finished)
    except Exception as error:
        return _refused(path, error, seconds)


def scan(path: str, text: str, *, seconds: float = _BUFFER_SECONDS) -> ScanResult:
    """The same, blocking: for the analysis process."""
    if (unfit := _unfit(path, text)) is not None:
        return _unscanned(path, unfit)
    try:
        program = semgrep_program.find_core()
        with semgrep_program.private_folder() as folder:
            (name,) = semgrep_program.write(folder, [(path, text.encode())])
            finished = running.run_blocking(semgrep_program.command(program, folder, 1), seconds=seconds)
        return _one(path, text, name, finished)
    except Exception as error:
        return _refused(path, error, seconds)


async def scan_files(paths: Sequence[Path], *, seconds: float = _FILES_SECONDS) -> dict[Path, ScanResult]:
    """What semgrep says of files as they are on disk, many in one run of it.

    A byte order mark is no part of a file's text. `seconds` are for all of them together; what isn't done by
    then is told as failed.
    """
    deadline = asyncio.get_running_loop().time() + seconds
    results: dict[Path, ScanResult] = {}
    for batch in batches(
        list(dict.fromkeys(paths)), _text_bytes, most_files=_BATCH_FILES, most_bytes=_BATCH_BYTES
    ):
        texts, refused = await _in_thread(lambda batch=batch: _read_all(batch))  # type: ignore[misc]
        results |= {path: _unscanned(path.as_posix(), why) for path, why in refused.items()}
        results |= await _scan_batch(texts, deadline, seconds)
    return results


async def _scan_batch(texts: Sequence[_Text], deadline: float, seconds: float) -> dict[Path, ScanResult]:
    """One run; where a text brings semgrep down, halves of the batch, until it is found."""
    if not texts:
        return {}
    left = deadline - asyncio.get_running_loop().time()
    try:
        if left <= 0:
            raise running.TookTooLong
        return await _run_batch(texts, min(left, _BATCH_SECONDS))
    except (running.TooMuchOutput, running.TookTooLong, msgspec.DecodeError, _Ended) as error:
        if len(texts) == 1 or (isinstance(error, running.TookTooLong) and left <= _BATCH_SECONDS):
            return {one.path: _refused(one.shown, error, min(seconds, _BATCH_SECONDS)) for one in texts}
    except Exception as error:
        return {one.path: _refused(one.shown, error, seconds) for one in texts}
    middle = len(texts) // 2
    first = await _scan_batch(texts[:middle], deadline, seconds)
    return first | await _scan_batch(texts[middle:], deadline, seconds)


async def _run_batch(texts: Sequence[_Text], seconds: float) -> dict[Path, ScanResult]:
    """Raises what `running.run` does, `SemgrepUnusable`, `msgspec.DecodeError` and `_Ended`."""
    program = semgrep_program.find_core()
    jobs = min(_JOBS, len(texts))
    with semgrep_program.private_folder() as folder:
        names = await _in_thread(
            lambda: semgrep_program.write(folder, [(one.shown, one.text.encode()) for one in texts])
        )
        command = semgrep_program.command(program, folder, jobs)
        finished = await running.run(command, seconds=seconds, memory=semgrep_program.memory(jobs))

    def read() -> dict[Path, ScanResult]:
        report = _report(finished)
        return {
            one.path: semgrep_report.result(one.shown, one.text, name, report)
            for one, name in zip(texts, names, strict=True)
        }

    return await asyncio.to_thread(read)


class _Ended(Exception):
    """semgrep ended before it was done; its last words."""


async def _in_thread(work: Callable[[], T]) -> T:
    """Blocking work that has ended when this has, cancelled or not: a folder that it writes to can go."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _text_bytes(path: Path) -> int:
    try:
        return min(os.stat(path).st_size, PARSED_BYTES)
    except (OSError, ValueError):
        return 0  # reading it says why


def _read_all(paths: Sequence[Path]) -> tuple[list[_Text], dict[Path, str]]:
    """The texts, and why there is none. Blocking."""
    texts: list[_Text] = []
    refused: dict[Path, str] = {}
    for path in paths:
        try:
            shown = path.as_posix()
            text, why = _read(path)
            if not why and (unfit := _unfit(shown, text)) is not None:
                why = unfit
            if why:
                refused[path] = why
            else:
                texts.append(_Text(path, shown, text))
        except (OSError, ValueError) as error:
            refused[path] = why_unreadable(error)
    return texts, refused


def _read(path: Path) -> tuple[str, str]:
    """A file's text, or why it isn't looked at."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return "", "It is not a regular file."
        if status.st_size > PARSED_BYTES:
            return "", f"The file is over {PARSED_BYTES // MEBIBYTE} MiB."
        try:
            return file.read(PARSED_BYTES + 1).removeprefix(_MARK).decode(), ""
        except UnicodeDecodeError:
            return "", "The file isn't valid UTF-8."


def _unfit(path: str, text: str) -> str | None:
    if semgrep_program.analyzer_of(path) is None:
        return _NO_RULES
    if oversize(text, PARSED_BYTES):
        return too_large(PARSED_BYTES)
    try:
        text.encode()
    except UnicodeEncodeError:
        return _NOT_UNICODE
    return None


def _report(finished: running.Finished) -> semgrep_report.Report:
    if finished.status != 0:
        # What it writes to stderr may quote the text that it looks at.
        how = f"signal {-finished.status}" if finished.status < 0 else f"exit status {finished.status}"
        raise _Ended(how)
    return semgrep_report.read(finished.output)


def _one(path: str, text: str, name: str, finished: running.Finished) -> ScanResult:
    return semgrep_report.result(path, text, name, _report(finished))


def _refused(path: str, error: Exception, seconds: float) -> ScanResult:
    match error:
        case semgrep_program.SemgrepUnusable():
            why = str(error)
        case running.TookTooLong():
            why = f"semgrep took longer than {seconds:g} s."
        case running.TooMuchOutput():
            return _unscanned(path, f"semgrep has over {running.OUTPUT_BYTES // MEBIBYTE} MiB to say of it.")
        case msgspec.DecodeError():
            why = "semgrep said something that is no report; reinstall deltaloom[semgrep]."
        case semgrep_report.RulesRefused():
            why = f"semgrep doesn't understand our rule {error}; reinstall deltaloom[semgrep]."
        case _Ended():
            why = f"semgrep failed ({error})."
        case OSError():
            why = f"semgrep can't be run ({error.strerror or error})."
        case _:
            raise error
    return _unscanned(path, why, failed=True)


def _unscanned(path: str, why: str, *, failed: bool = False) -> ScanResult:
    return ScanResult((), (Unscanned(path, "semgrep", why, failed),))
