"""A whole run: prepare, measure each size, compare.

Invariant: everything written lies in one temporary folder, which is gone afterwards, whatever ended the run.
"""

from __future__ import annotations

import asyncio
import os
import platform
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from deltaloom_model._version import __version__
from deltaloom_server.cli.lsp_client import NotificationHandler

from .bounds import embedded_fim_order, growth
from .counting import token_counter
from .drive import drive
from .git import make_repository
from .llama_drive import Order, drive_llama
from .llama_server import LlamaCommand
from .prepare import Prepared, prepare
from .processes import end_all_of
from .result import Result, SizeRun
from .session import MeasuredSession

_WORKSPACE = "sample"
_ORDERS: tuple[Order, ...] = ("in_place", "log")


@dataclass(frozen=True)
class RunOptions:
    """What to measure: sizes in tokens, and beside ours, where it is given, a `llama-server`."""

    contexts: Sequence[int]
    threads: int = 0
    llama: LlamaCommand | None = None
    llama_patience_seconds: float = 600.0


def measure(options: RunOptions, say: Callable[[str], None], on_notification: NotificationHandler) -> Result:
    """Measure everything. Raises DeltaloomError where a part of it can't be run."""
    if options.llama is not None:
        options.llama.require_files()
    # A short name: the path of a Unix socket has room for about a hundred characters.
    with tempfile.TemporaryDirectory(prefix="dl-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        try:
            runs = asyncio.run(_measure(options, folder, say, on_notification))
        finally:
            # A worker that was only being started when the run was broken off is known to nobody else.
            end_all_of(folder)
    return Result(__version__, _machine(), runs, growth(runs))


async def _measure(
    options: RunOptions, folder: Path, say: Callable[[str], None], on_notification: NotificationHandler
) -> list[SizeRun]:
    say("choosing the files")
    async with token_counter(folder) as counter:
        prepared = await prepare(options.contexts, counter, embedded_fim_order())
    runs: list[SizeRun] = []
    for size in prepared:
        place = folder / str(size.context)
        runs.append(await _measure_size(size, place, options, say, on_notification))
        if (llama := options.llama) is None:
            continue
        for order in _ORDERS:
            seconds = options.llama_patience_seconds
            runs.append(await drive_llama(llama, size.context, size.day, order, say, health_seconds=seconds))
    return runs


async def _measure_size(
    size: Prepared,
    folder: Path,
    options: RunOptions,
    say: Callable[[str], None],
    on_notification: NotificationHandler,
) -> SizeRun:
    root = folder / _WORKSPACE
    root.mkdir(parents=True)
    await make_repository(root, size.day.files, size.day.branch)
    settings = {
        "context": {"max_tokens": size.context},
        "model": {"threads": options.threads},
        # One new token, and every answer the model's own.
        "completion": {"multiline": False, "max_new_tokens": 1, "reuse": False},
    }
    say(f"{size.context:,} tokens: first reading")
    async with MeasuredSession(root, folder, settings, on_notification) as session:
        return await drive(session, root, size.context, size.day, size.bounds, say)


def _machine() -> str:
    memory = psutil.virtual_memory().total / (1 << 30)
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()}"
    )
