"""`deltaloom/status`: what this server is, holds and last did, as JSON.

Invariant: paths, counts, times and sentences only, never text of a document; asking changes nothing and
starts nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from deltaloom_model._version import __version__

if TYPE_CHECKING:
    from ..language_server import DeltaloomServer

STATUS = "deltaloom/status"


def register(server: DeltaloomServer) -> None:
    """`deltaloom/status` (a request without parameters)."""
    server.feature(STATUS)(_status)


async def _status(ls: DeltaloomServer, _params: object) -> dict[str, Any]:
    report = server_report(ls)
    report["worker"] = await _worker_status(ls)
    return report


def server_report(ls: DeltaloomServer) -> dict[str, Any]:
    """All that is known without asking the worker.

    `context.state` is idle, scanning, indexing, ready, cancelled or unavailable; `done` of `total` tokens are
    in place. A file of it has the `form` full, outline or names (a list of files that are in by name only).
    `last_completion` has `source` model, cache or none, with `reason` where nothing was suggested, and for
    the model what `GenerateResult` says about cost. `security` counts what was looked at, shown and not
    scanned; `last_fix` says what the last code action came to.
    """
    session = ls.session
    return {
        "version": __version__,
        "pid": os.getpid(),
        "session": session.id,
        "roots": [root.folder for root in session.roots],
        "position_encoding": session.encoding,
        "documents": len(session.documents),
        "engine": ls.engine_report(),
        "context": _context(ls),
        "last_sync": _last_sync(ls),
        "last_completion": ls.last_completion.report() if ls.last_completion else None,
        "security": ls.security_report(),
        "messages": list(ls.notices.told),
        "log": str(ls.log_file) if ls.log_file else None,
        "worker": None,
    }


def _context(ls: DeltaloomServer) -> dict[str, Any]:
    sync, context = ls.sync, ls.session.context
    report: dict[str, Any] = {
        "state": sync.state if sync else "idle",
        "detail": sync.detail if sync else "",
        "done": sync.done if sync else 0,
        "total": sync.total if sync else 0,
        "budget": sync.budget if sync else 0,
    }
    if context is None:
        return report | {"revision": 0, "base_tokens": 0, "log_tokens": 0, "files": [], "left_out": [],
                         "left_out_by_reason": {}, "notes": []}  # fmt: skip
    ls.session.publish_text()
    found = context.report()
    return report | {
        "revision": found.revision,
        "base_tokens": found.base_tokens,
        "log_tokens": found.log_tokens,
        "files": [
            {
                "path": file.path,
                "region": file.region,
                "form": file.form,
                "tokens": file.tokens,
                "current": file.current,
            }
            for file in found.files
        ],
        "left_out": [{"path": entry.path, "reason": entry.reason.value} for entry in found.left_out],
        "left_out_by_reason": found.left_out_by_reason(),
        "notes": list(found.notes),
    }


def _last_sync(ls: DeltaloomServer) -> dict[str, Any] | None:
    if ls.sync is None or ls.sync.last is None:
        return None
    import msgspec

    result: dict[str, Any] = msgspec.to_builtins(ls.sync.last)
    return result


async def _worker_status(ls: DeltaloomServer) -> dict[str, Any] | None:
    """The worker's own status, where one is attached: asking must not start one."""
    if ls.client is None or ls.client.state not in ("loading", "ready"):
        return None
    import msgspec

    from deltaloom_model.errors import DeltaloomModelError

    try:
        status: dict[str, Any] = msgspec.to_builtins(await ls.client.status())
    except DeltaloomModelError:
        return None
    return status
