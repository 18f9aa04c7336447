"""The worker's log: rotating, private to the user, and without source code.

Invariant: no text of a request reaches the log. Of an exception it shows the type and the frames; its message
only where it is one of our own sentences.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import traceback
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType

from deltaloom_model.errors import DeltaloomModelError

LOG_BYTES = 1 << 20
LOG_GENERATIONS = 3

_log = logging.getLogger(__name__)


class _Frames(logging.Formatter):
    """Writes an exception as its type and frames, as nested causes don't matter to who reads it."""

    def formatException(
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None],
    ) -> str:
        _, error, trace = ei
        if error is None:
            return ""
        said = f": {error}" if isinstance(error, DeltaloomModelError) else ""
        frames = [f"  {f.filename}:{f.lineno} in {f.name}" for f in traceback.extract_tb(trace)]
        return "\n".join([f"{type(error).__module__}.{type(error).__qualname__}{said}", *frames])


class _StandardStreams(RotatingFileHandler):
    """Keeps file descriptors 1 and 2 on the current log, so that a stray print goes there as well."""

    def _open(self):  # type: ignore[no-untyped-def]  # its type is private to the standard library
        stream = super()._open()
        for descriptor in (1, 2):
            os.dup2(stream.fileno(), descriptor)
        return stream


def open_log(path: Path) -> None:
    """Send logging, standard output, standard error and crash traces to `path`."""
    handler = _StandardStreams(path, maxBytes=LOG_BYTES, backupCount=LOG_GENERATIONS, encoding="utf-8")
    handler.setFormatter(_Frames("%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    faulthandler.enable(2)


def log_failure(what: str, error: BaseException) -> None:
    """Log that `what` failed, with the frames it failed in."""
    _log.error("%s failed", what, exc_info=error)


def failure_sentence(what: str, error: BaseException) -> str:
    """One sentence for the user about an exception; our own errors are one already."""
    if isinstance(error, DeltaloomModelError):
        return str(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return f"There was not enough memory for {what}; lower context.max_tokens or use a smaller model."
    return f"The model worker failed at {what} ({type(error).__name__}); `deltaloom logs` has the details."
