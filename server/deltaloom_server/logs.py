"""The server's log file.

Invariant: a log holds what happened, where and how long it took, never text of a document: no message body,
no exception's own words that may quote one. Only this user can read it, and it can't grow without bound.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from pathlib import Path

LOGGER_NAME = "deltaloom"
LOG_FILE = "server.log"
MAX_BYTES = 1 << 20
KEPT_FILES = 3

# They log message bodies, even at ERROR; what they would report is reported by our own protocol class.
_TALKATIVE = ("pygls", "cattrs", "asyncio", "watchdog")


def get_logger(name: str = "") -> logging.Logger:
    """The logger of one part of the server."""
    return logging.getLogger(f"{LOGGER_NAME}.{name}" if name else LOGGER_NAME)


def start_logging(folder: Path | None = None) -> Path | None:
    """Send this process's log to a rotating file in `folder` (the user's log folder) and warnings to stderr.

    Returns the file, or None where it can't be written: then stderr is all there is.
    """
    logger = logging.getLogger(LOGGER_NAME)
    logger.propagate = False
    logger.setLevel(logging.INFO)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        logging.getLogger(name).propagate = False
    shown = logging.StreamHandler(sys.stderr)
    shown.setLevel(logging.WARNING)
    shown.setFormatter(logging.Formatter("deltaloom: %(message)s"))
    logger.addHandler(shown)
    try:
        handler = _file_handler(folder)
    except OSError as error:
        logger.warning("The log can't be written (%s).", error.strerror)
        return None
    logger.addHandler(handler)
    return Path(handler.baseFilename)


def set_level(level: str) -> None:
    """Keep messages from this level on ("debug", "info", "warning", "error")."""
    logging.getLogger(LOGGER_NAME).setLevel(level.upper())


def describe(error: BaseException) -> str:
    """An exception without its words: its type and where it was raised, innermost frame last."""
    frames = traceback.extract_tb(error.__traceback__)
    where = " > ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames[-6:])
    return f"{type(error).__name__} at {where or 'an unknown place'}"


def _file_handler(folder: Path | None) -> logging.FileHandler:
    from logging.handlers import RotatingFileHandler

    if folder is None:
        import platformdirs

        folder = platformdirs.user_log_path("deltaloom")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    class PrivateFile(RotatingFileHandler):
        def _open(self):  # type: ignore[no-untyped-def]
            # Created with its mode, not changed to it afterwards: nobody can open it in between.
            opener = lambda path, flags: os.open(path, flags | os.O_NOFOLLOW, 0o600)  # noqa: E731
            return open(self.baseFilename, self.mode, encoding=self.encoding, opener=opener)

    handler = PrivateFile(folder / LOG_FILE, maxBytes=MAX_BYTES, backupCount=KEPT_FILES, encoding="utf-8")
    os.chmod(handler.baseFilename, 0o600)
    handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"))
    return handler
