"""The one thread that owns the engine: it loads the model, then serves the inbox.

Invariant: whatever happens to the model, the inbox is served: while it can't be loaded, every request is
answered with the sentence that says why.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from deltaloom_model.api import Engine, EngineStatus, ErrorReply
from deltaloom_model.inbox import Inbox, LoadAgain, Stop, Submit
from deltaloom_model.scheduler import Emit, Scheduler
from deltaloom_model.worker_log import failure_sentence, log_failure


class ForwardThread:
    """`emit` and `on_status` are called on the forward thread; `on_end` last, with True when told to stop."""

    def __init__(
        self,
        load: Callable[[], Engine],
        inbox: Inbox,
        *,
        name: str,
        emit: Emit,
        on_status: Callable[[EngineStatus], None],
        on_end: Callable[[bool], None],
    ) -> None:
        self._load = load
        self._inbox = inbox
        self._name = name
        self._emit = emit
        self._on_status = on_status
        self._on_end = on_end
        self._reason = ""
        # A daemon: a load that hangs must not keep a worker alive that was told to end.
        self._thread = threading.Thread(target=self._serve, name="deltaloom-forward", daemon=True)

    def start(self) -> None:
        """Begin to load the model."""
        self._thread.start()

    def join(self, seconds: float) -> None:
        """Wait for the thread's end, at most so long."""
        self._thread.join(seconds)

    def _serve(self) -> None:
        stopped = False
        try:
            while (engine := self._try_load()) is None:
                if not self._refuse_until_asked_again():
                    stopped = True
                    return
            Scheduler(engine, self._inbox, self._emit, self._on_status).run()
            stopped = True
        except BaseException as error:
            log_failure("the forward thread", error)
        finally:
            self._on_end(stopped)

    def _try_load(self) -> Engine | None:
        self._on_status(EngineStatus("loading", f"Loading the model {self._name}."))
        try:
            return self._load()
        except Exception as error:
            what = f"loading the model {self._name}"
            log_failure(what, error)
            self._reason = failure_sentence(what, error)
            self._on_status(EngineStatus("failed", self._reason))
            return None

    def _refuse_until_asked_again(self) -> bool:
        """True when the model is to be loaded again, False when the thread is to end."""
        while True:
            match self._inbox.take_one():  # one by one: what follows a LoadAgain is the engine's
                case Submit(ticket, _):
                    self._emit(ticket, ErrorReply(self._reason))
                case LoadAgain():
                    return True
                case Stop():
                    return False
