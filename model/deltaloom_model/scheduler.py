"""Who takes the next step on the model: decode > anchor > conversation > log > base > compaction, the newest
first. A completion is waited for at every keystroke, an answer in words for seconds, whatever it decodes.

Invariant: only the forward thread touches the engine; it takes one bounded step at a time and looks at what
has arrived before each; every request gets exactly one final reply, unless its connection was dropped or the
worker ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import IntEnum
from functools import partial

from deltaloom_model.api import (
    CountRequest,
    Decoding,
    Engine,
    EngineStatus,
    ErrorReply,
    GenerateRequest,
    GenerateResult,
    GenerateSteps,
    GenerateUpdate,
    PurgeRequest,
    SyncProgress,
    SyncRequest,
    SyncResult,
    SyncSteps,
)
from deltaloom_model.framing import FinalReply
from deltaloom_model.inbox import Cancel, Drop, Inbox, Stop, Submit, Ticket
from deltaloom_model.worker_log import failure_sentence, log_failure

STARVATION_STEPS = 16
"""A waiting task gets a step at the latest after this many steps of others."""
SNAPSHOT_SECONDS = 0.25
"""While a task runs, the engine's status is taken no more often than this."""
IDLE_SECONDS = 1.0
"""After so long without a message or a task, the engine may tidy up."""
_QUIET_TURNS = 10
"""So many times in a row, for what a slow disk didn't take the first time."""

Base = tuple[tuple[str, str], ...]
"""(path, digest) of the base segments in order: a sync that leaves it as it was reads only the log."""

Emit = Callable[[Ticket, FinalReply | SyncProgress | GenerateUpdate], None]


class Urgency(IntEnum):
    """The lower goes first."""

    DECODE = 0
    ANCHOR = 1
    CONVERSATION = 2
    LOG_SYNC = 3
    BASE_SYNC = 4
    COMPACTION = 5


@dataclass(eq=False)
class _Task:
    """A running request. `passed_over` counts the steps that others took since its own last one."""

    ticket: Ticket
    request: SyncRequest | GenerateRequest
    steps: SyncSteps | GenerateSteps
    urgency: Urgency
    passed_over: int = 0


class Scheduler:
    """Serves what `inbox` holds on `engine`.

    `emit(ticket, reply)` and `on_snapshot(status)` are called on the thread that calls `run` or `turn`.
    """

    def __init__(
        self, engine: Engine, inbox: Inbox, emit: Emit, on_snapshot: Callable[[EngineStatus], None]
    ) -> None:
        self._engine = engine
        self._inbox = inbox
        self._emit = emit
        self._on_snapshot = on_snapshot
        self._snapshot_at = 0.0
        self._tasks: list[_Task] = []  # in the order in which they came
        self._bases: dict[tuple[str, str], Base] = {}
        self._gave_way = False
        self._quiet = _QUIET_TURNS

    def run(self) -> None:
        """Serve until told to stop; what is running then is closed without a reply."""
        self._take_snapshot()
        while self.turn(wait=True):
            pass
        for task in list(self._tasks):
            self._close(task)
        self._tidy(self._engine.close)

    def turn(self, wait: bool = False) -> bool:
        """Take in what has arrived, then do one step; False once told to stop.

        With `wait` it blocks until something arrives when nothing is running, but for one tidying up.
        """
        seconds = IDLE_SECONDS if self._quiet < _QUIET_TURNS else None
        messages = self._inbox.take(wait and not self._tasks, seconds)
        if not messages and not self._tasks:
            if wait:
                self._be_quiet()
            return True
        self._quiet = 0
        for message in messages:
            match message:
                case Submit(ticket, CountRequest() as request):
                    self._answer(ticket, "counting tokens", partial(self._engine.count, request))
                case Submit(ticket, PurgeRequest() as request):
                    self._purge(ticket, request)
                case Submit(ticket, GenerateRequest() as request):
                    self._begin(ticket, request, Urgency.CONVERSATION if request.messages else Urgency.ANCHOR)
                case Submit(ticket, SyncRequest() as request):
                    if self._supersede(ticket, request):
                        self._begin(ticket, request, self._urgency(request))
                case Cancel(ticket):
                    self._cancel(ticket)
                case Drop(connection, sessions):
                    self._drop(connection, sessions)
                case Stop():
                    return False
        if self._tasks:
            self._step(self._choose())
        return True

    def _answer(self, ticket: Ticket, deed: str, call: Callable[[], FinalReply]) -> None:
        try:
            reply = call()
        except Exception as error:
            reply = _error_reply(deed, error)
        self._emit(ticket, reply)

    def _purge(self, ticket: Ticket, request: PurgeRequest) -> None:
        # What is being read may hold the very text that has to go, and would keep it again.
        for task in [task for task in self._tasks if task.request.workspace == request.workspace]:
            self._finish(task, _given_up(task.request))
        for key in [key for key in self._bases if key[1] == request.workspace]:
            del self._bases[key]
        self._answer(ticket, "forgetting files", partial(self._engine.purge, request))
        self._take_snapshot()

    def _be_quiet(self) -> None:
        self._quiet += 1
        self._tidy(self._engine.idle)
        self._take_snapshot()  # the second time, what was begun the first time shows

    def _tidy(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:
            log_failure("tidying up", error)

    def _begin(self, ticket: Ticket, request: SyncRequest | GenerateRequest, urgency: Urgency) -> None:
        try:
            steps: SyncSteps | GenerateSteps
            if isinstance(request, SyncRequest):
                steps = self._engine.sync(request)
            else:
                steps = self._engine.generate(request)
        except Exception as error:
            self._emit(ticket, _error_reply(_deed(request), error))
            return
        self._tasks.append(_Task(ticket, request, steps, urgency))

    def _urgency(self, request: SyncRequest) -> Urgency:
        if request.compaction:
            return Urgency.COMPACTION
        held = self._bases.get((request.session, request.workspace))
        return Urgency.LOG_SYNC if held == _base(request) else Urgency.BASE_SYNC

    def _supersede(self, ticket: Ticket, request: SyncRequest) -> bool:
        # Whether `request` is to be read: older syncs of its context give way to it, as it does to a newer.
        # A compaction stands beside the syncs: it switches nothing.
        rivals = [
            (task, task.request)
            for task in self._tasks
            if isinstance(task.request, SyncRequest)
            and (task.request.session, task.request.workspace) == (request.session, request.workspace)
            and task.request.compaction == request.compaction
        ]
        if any(rival.revision > request.revision for _, rival in rivals):
            self._emit(ticket, _given_up(request))
            return False
        for task, rival in rivals:
            self._finish(task, _given_up(rival))
        return True

    def _cancel(self, ticket: Ticket) -> None:
        for task in [task for task in self._tasks if task.ticket == ticket]:
            self._finish(task, _given_up(task.request))

    def _drop(self, connection: Hashable, sessions: tuple[str, ...]) -> None:
        for task in [task for task in self._tasks if task.ticket.connection == connection]:
            self._close(task)
        for session in sessions:
            for key in [key for key in self._bases if key[0] == session]:
                del self._bases[key]
            try:
                self._engine.forget(session)
            except Exception as error:
                log_failure("forgetting an editor session", error)
        self._take_snapshot()

    def _choose(self) -> _Task:
        # Starving tasks get every other step at most, so that many of them can't displace decoding.
        starving = [task for task in self._tasks if task.passed_over >= STARVATION_STEPS]
        self._gave_way = bool(starving) and not self._gave_way
        if self._gave_way:
            return max(starving, key=lambda task: task.passed_over)
        most_urgent = min(task.urgency for task in self._tasks)
        return [task for task in self._tasks if task.urgency == most_urgent][-1]

    def _step(self, task: _Task) -> None:
        for other in self._tasks:
            other.passed_over += 1
        task.passed_over = 0
        try:
            progress = next(task.steps)
        except StopIteration as end:
            result: SyncResult | GenerateResult = end.value
            if (
                isinstance(task.request, SyncRequest)
                and isinstance(result, SyncResult)
                and not (result.missing or task.request.compaction)
            ):
                self._bases[task.request.session, task.request.workspace] = _base(task.request)
            self._finish(task, result)
        except Exception as error:
            self._finish(task, _error_reply(_deed(task.request), error))
        else:
            if isinstance(progress, Decoding):
                if task.urgency is Urgency.ANCHOR:
                    task.urgency = Urgency.DECODE
            elif progress is not None:
                self._emit(task.ticket, progress)
            if time.monotonic() - self._snapshot_at >= SNAPSHOT_SECONDS:
                self._take_snapshot()

    def _finish(self, task: _Task, reply: FinalReply) -> None:
        self._close(task)
        self._take_snapshot()  # first, so that who has the reply sees its traces in the status
        self._emit(task.ticket, reply)

    def _close(self, task: _Task) -> None:
        self._tasks.remove(task)
        try:
            task.steps.close()
        except Exception as error:
            log_failure(f"closing {_deed(task.request)}", error)

    def _take_snapshot(self) -> None:
        self._snapshot_at = time.monotonic()
        try:
            self._on_snapshot(self._engine.status())
        except Exception as error:
            log_failure("taking the engine's status", error)


def _base(request: SyncRequest) -> Base:
    return tuple((segment.path, segment.digest) for segment in request.segments if segment.kind == "base")


def _deed(request: SyncRequest | GenerateRequest) -> str:
    return "reading the repository" if isinstance(request, SyncRequest) else "completing"


def _given_up(request: SyncRequest | GenerateRequest) -> FinalReply:
    if isinstance(request, SyncRequest):
        return SyncResult(request.revision, superseded=True)
    return GenerateResult(request.revision, "", "cancelled", reason="The request was cancelled.")


def _error_reply(deed: str, error: Exception) -> ErrorReply:
    log_failure(deed, error)
    return ErrorReply(failure_sentence(deed, error))
