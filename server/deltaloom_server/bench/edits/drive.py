"""Drives a day's script through a real server, and counts what each step reads.

Invariant: a row holds what the worker's own counters rose by between the edit and the answer, whatever read
it (syncs, compaction, the request itself); only newly produced tokens are left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deltaloom_server.cli.lsp_client import MethodMissing
from deltaloom_server.cli.server_report import ServerReport
from deltaloom_server.errors import DeltaloomError

from .git import checkout
from .result import OURS, Cold, Row, SizeRun
from .scenarios import Day
from .script import Action, Checkout, Compact, Edit, RestartEditor, RestartWorker, Save, Step
from .session import MeasuredSession

COMPACT = "deltaloom/compact"
_NO_COMPACTION = "This server can't be asked for a compaction."


class _Skipped(Exception):
    """The step can't be measured here, for this reason."""


async def drive(
    session: MeasuredSession,
    root: Path,
    context: int,
    day: Day,
    bounds: Mapping[int, dict[str, int]],
    say: Callable[[str], None],
) -> SizeRun:
    """Make all of a day's edits, and measure each. `bounds` has the parts of each step's bound, by its index.

    Raises DeltaloomError where the server fails, or the files don't all stand in its context.
    """
    driver = _Driver(session, root)
    first = await session.ready()
    reading = await session.reading_milliseconds()
    _require_whole(first, day)
    rows: list[Row] = []
    cold = Cold(0, 0.0)
    for index, step in enumerate(day.steps):
        say(f"{context:,} tokens: {step.name}")
        if index == 0:
            row = await driver.measure(step, None)
            cold = Cold(row.tokens, round(reading + row.milliseconds, 1))
        else:
            row = await driver.measure(step, bounds.get(index))
        if step.measured and index:
            rows.append(row)
    return SizeRun(OURS, context, cold, rows, first.files, first.model)


def _require_whole(report: ServerReport, day: Day) -> None:
    held = {file.path for file in report.context.files if file.region == "base"}
    if missing := sorted(set(day.files) - held):
        raise DeltaloomError(
            f"{len(missing)} of the {len(day.files)} files found no room in the context ({missing[0]}, …); "
            "the benchmark and the server disagree about its budget."
        )


class _Driver:
    def __init__(self, session: MeasuredSession, root: Path) -> None:
        self._session = session
        self._root = root
        self._compacts = True
        # Before the first step nothing is counted: what the first reading cost is that step's.
        self._counted: Mapping[str, int] = {}
        self._worker = 0
        self._asked: tuple[Path, int, int] = (root, 0, 0)

    async def measure(self, step: Step, parts: dict[str, int] | None) -> Row:
        """Do a step's actions, ask, and see what both cost."""
        if step.after_compaction and not self._compacts:
            await self._measured(step, None)
            return _skipped(step, _NO_COMPACTION)
        try:
            return await self._measured(step, parts)
        except _Skipped as skipped:
            self._compacts = False
            return _skipped(step, str(skipped))

    async def _measured(self, step: Step, parts: dict[str, int] | None) -> Row:
        counted, pid = self._counted, self._worker
        began = time.perf_counter()
        for action in step.actions:
            await self._do(action)
        path = self._root / step.ask.path
        if not self._session.editor.is_open(path):
            self._session.editor.open(path)
        if self._session.editor.text(path) != step.ask.text:
            raise DeltaloomError(f"{step.ask.path} isn't as the script has it (at: {step.name}).")
        self._asked = (path, *step.ask.position)
        answer = await self._session.editor.ghost_text(*self._asked)
        edit_milliseconds = (time.perf_counter() - began) * 1000
        after = await self._session.report()
        now = after.worker.pid if after.worker is not None else 0
        # A worker that was started meanwhile has counted from nothing.
        read = _risen(counted if now == pid else {}, after.counters)
        later = await self._session.quiet()
        self._counted, self._worker = later.counters, later.worker.pid if later.worker is not None else 0
        last = after.last_completion
        return Row(
            scenario=step.name,
            group=step.group,
            rule=step.rule,
            tokens=sum(read.values()),
            read=read,
            read_afterwards=_risen(after.counters, later.counters),
            context_tokens=last.context_tokens if last else 0,
            restored_at=last.restored_at if last else 0,
            milliseconds=round(answer.milliseconds, 1),
            edit_milliseconds=round(edit_milliseconds, 1),
            first_token_milliseconds=last.first_token_milliseconds if last else 0.0,
            repository_context=last.repository_context if last else False,
            bound=sum(parts.values()) if parts is not None else None,
            bound_parts=parts or {},
            same_everywhere=step.same_everywhere,
        )

    async def _do(self, action: Action) -> None:
        session, editor = self._session, self._session.editor
        match action:
            case Edit(path, text):
                file = self._root / path
                if not editor.is_open(file):
                    editor.open(file)
                editor.change_to(file, text)
            case Save(path):
                editor.save(self._root / path)
            case Checkout(branch, changed):
                revision = (await session.report()).context.revision
                await checkout(self._root, branch)
                editor.tell_changed(self._root / path for path in changed)
                await session.noticed(revision)
            case Compact():
                await self._compact()
            case RestartWorker():
                asked = self._asked
                await session.kill_worker(lambda: editor.ghost_text(*asked, automatic=True))
            case RestartEditor():
                await session.stop()
                await session.start()
                await session.ready()

    async def _compact(self) -> None:
        try:
            answer: Any = await self._session.client.request(COMPACT, None)
        except MethodMissing:
            raise _Skipped(_NO_COMPACTION) from None
        if isinstance(answer, dict) and answer.get("reason"):
            raise _Skipped(str(answer["reason"]))
        await self._session.quiet()


def _skipped(step: Step, reason: str) -> Row:
    return Row(scenario=step.name, group=step.group, rule=step.rule, skipped=reason)


def _risen(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """By how much each cause's counter rose; new tokens and what didn't rise are left out."""
    risen = {cause: count - before.get(cause, 0) for cause, count in after.items() if cause != "decode"}
    return {cause: count for cause, count in risen.items() if count}
