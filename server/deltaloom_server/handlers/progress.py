"""`window/workDoneProgress/cancel`.

Invariant: a cancel ends the work that its token names, and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lsprotocol import types

if TYPE_CHECKING:
    from ..language_server import DeltaloomServer


def register(server: DeltaloomServer) -> None:
    """The cancel notification; the work itself is shown by `ProgressBoard`."""
    server.feature(types.WINDOW_WORK_DONE_PROGRESS_CANCEL)(_cancel)


def _cancel(ls: DeltaloomServer, params: types.WorkDoneProgressCancelParams) -> None:
    ls.board.cancel(params.token)
