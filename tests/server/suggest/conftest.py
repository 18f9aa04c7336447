"""A suggester on one open document, and a model that answers when the test says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest_asyncio
from lsprotocol.types import Position, Range, TextDocumentContentChangePartial

from deltaloom_server.completion.cache import Suggestion
from deltaloom_server.suggest import Cursor, Suggester

URI = "file:///elsewhere/a.py"
TEXT = "import os\n\ntotal = \nprint(total)\n"
CURSOR = Cursor(URI, 2, 8)


@dataclass
class Desk:
    """A suggester, one open document, and what a test does to both."""

    server: Any
    suggester: Suggester
    events: Any
    asked: list[asyncio.Task[Any]] = field(default_factory=list)

    def open(self, text: str = TEXT, uri: str = URI) -> None:
        self.server.session.open_document(uri, "python", 1, text)

    def replace(self, line: int, start: int, end: int, text: str) -> None:
        """The person edits the open document."""
        version = self.server.session.documents[URI].version + 1
        place = Range(Position(line, start), Position(line, end))
        change = TextDocumentContentChangePartial(range=place, text=text)
        self.server.session.change_document(URI, version, [change])

    async def ask(self, cursor: Cursor = CURSOR) -> asyncio.Task[Any]:
        """Ask, and wait until the model has been asked."""
        calls = self.server.client.calls
        before = len(calls)
        task = asyncio.create_task(self.suggester.suggest(cursor))
        self.asked.append(task)
        task.add_done_callback(self.events.note)
        await self.events.until(lambda: len(calls) > before or task.done())
        return task

    async def answer(self, text: str, cursor: Cursor = CURSOR) -> Suggestion | None:
        """Ask, have the model say `text`, and give the suggestion."""
        task = await self.ask(cursor)
        if not task.done():
            self.server.client.calls[-1].give(text)
        found = await task
        return None if found is None else found[1]

    @property
    def last(self) -> Any:
        return self.suggester.last


@pytest_asyncio.fixture
async def desk(server: Any, events: Any) -> AsyncIterator[Desk]:
    made = Desk(server, Suggester(server), events)
    made.open()
    yield made
    for task in made.asked:
        task.cancel()
