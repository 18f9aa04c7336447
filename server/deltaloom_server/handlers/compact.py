"""`deltaloom/compact`: lay the context out anew now, without waiting for an idle moment.

Invariant: answers when it is done, with whether anything was done and, where not, why in one sentence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..language_server import DeltaloomServer

COMPACT = "deltaloom/compact"


def register(server: DeltaloomServer) -> None:
    """`deltaloom/compact` (a request without parameters)."""
    server.feature(COMPACT)(_compact)


async def _compact(ls: DeltaloomServer, _params: object) -> dict[str, Any]:
    if ls.sync is None:
        return {"compacted": False, "reason": "There is no workspace."}
    ls.session.publish_text()
    compacted, reason = await ls.sync.compact()
    return {"compacted": compacted, "reason": reason}
