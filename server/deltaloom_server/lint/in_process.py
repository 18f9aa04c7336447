"""The language server in the command line's own process, spoken to as an editor speaks to it.

Invariant: everything that is asked goes through the server's message handling, as JSON; when the block is
left nothing of the server runs any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from deltaloom_server.cli.lsp_client import Json, LspConversation, NotificationHandler
from deltaloom_server.language_server import DeltaloomServer

CAPABILITIES: Mapping[str, Json] = {
    "textDocument": {
        "diagnostic": {"relatedDocumentSupport": False},
        "codeAction": {
            "dataSupport": True,
            "resolveSupport": {"properties": ["edit"]},
            "codeActionLiteralSupport": {"codeActionKind": {"valueSet": ["quickfix", "source"]}},
        },
    },
    "workspace": {
        "diagnostics": {"refreshSupport": False},
        "workspaceEdit": {"documentChanges": True},
    },
}
"""What a client must be able to do to show and apply fixes."""


class InProcessClient(LspConversation):
    """A client of a server in the same process."""

    def __init__(self, server: DeltaloomServer, on_notification: NotificationHandler) -> None:
        super().__init__(on_notification)
        self._server = server
        self._loop = asyncio.get_running_loop()
        server.attach(self)

    def write(self, data: bytes) -> None:
        """A message body from the server. As over a pipe, it is handled once this call is over."""
        self._loop.call_soon(self._take, json.loads(data))

    async def end(self) -> None:
        """End the server."""
        self._ended = True
        await self._server.detach()
        for future in self._pending.values():
            future.cancel()

    def _send_body(self, body: bytes) -> None:
        # As over a pipe, it is handled once this call is over.
        self._loop.call_soon(self._server.protocol.receive, body)

    def close(self) -> None:
        """As a writer: there is nothing to close."""


@contextlib.asynccontextmanager
async def connect(
    server: DeltaloomServer,
    roots: Sequence[Path],
    options: dict[str, Json],
    on_notification: NotificationHandler = lambda _method, _params: None,
) -> AsyncIterator[InProcessClient]:
    """An initialized conversation with `server`, until the block is left."""
    client = InProcessClient(server, on_notification)
    try:
        await client.initialize(roots, options, CAPABILITIES)
        yield client
    finally:
        await client.end()
