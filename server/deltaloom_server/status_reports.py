"""Writes the report that `deltaloom status` shows, soon after something changed.

Invariant: at most one write an interval, in a thread of its own, and never an error for the editor.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from .logs import describe, get_logger

if TYPE_CHECKING:
    from .language_server import DeltaloomServer
    from .status_file import StatusFile

INTERVAL_SECONDS = 1.0

_LOG = get_logger("status")


class StatusReports:
    """The status file of one server. All methods belong to the event loop."""

    def __init__(self, server: DeltaloomServer) -> None:
        self._server = server
        self._file: StatusFile | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def note_change(self) -> None:
        """There is news."""
        if self._timer is None and not self._closed:
            self._timer = asyncio.get_running_loop().call_later(INTERVAL_SECONDS, self._write)

    def close(self) -> None:
        """Take the file away: this server leaves."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._file is not None:
            self._file.remove()

    def _write(self) -> None:
        from .handlers.status import server_report

        self._timer = None
        report = server_report(self._server)
        asyncio.get_running_loop().run_in_executor(None, self._write_file, report)

    def _write_file(self, report: dict[str, Any]) -> None:
        try:
            if self._file is None:
                from deltaloom_model.runtime_folder import runtime_folder

                from .status_file import StatusFile

                self._file = StatusFile(runtime_folder())
            if not self._closed:
                self._file.write(report)
            if self._closed:
                self._file.remove()
        except Exception as error:
            _LOG.warning("The status file can't be written: %s", describe(error))
