"""What the model is asked, which request wins, and what is answered without it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any

import pytest

from deltaloom_server.completion.cache import Suggestion
from deltaloom_server.errors import InvalidPosition, UnknownDocument
from deltaloom_server.settings import CompletionSettings
from deltaloom_server.suggest import Cursor

URI = "file:///elsewhere/a.py"
OTHER = "file:///elsewhere/b.py"
TEXT = "import os\n\ntotal = \nprint(total)\n"
CURSOR = Cursor(URI, 2, 8)


@dataclass
class ScriptedSync:
    """What a `Suggester` asks of a `WorkspaceSync`."""

    is_current: bool = True
    held_number: int = 1
    flushes: int = 0

    async def flush(self) -> None:
        self.flushes += 1


async def test_the_model_is_asked_for_the_text_around_the_cursor(desk: Any) -> None:
    assert await desk.answer("0") == Suggestion(URI, TEXT[:19], TEXT[19:], "0")
    request = desk.server.client.calls[0].request
    assert (request.prefix, request.typed, request.suffix) == ("import os\n\n", "total = ", TEXT[19:])
    assert (request.session, request.path, request.explicit) == ("session", "a.py", False)
    assert request.stop.max_lines == 1
    assert desk.server.started == 1


async def test_a_document_outside_every_folder_has_a_context_of_its_own(desk: Any) -> None:
    desk.server.sync = ScriptedSync()
    await desk.answer("0")
    request = desk.server.client.calls[0].request
    assert (request.workspace, request.repository) == ("session/alone", "a.py")
    assert desk.server.sync.flushes == 0


async def test_pending_changes_go_to_the_worker_before_the_question(desk: Any, tmp_path: Any) -> None:
    desk.server.sync = ScriptedSync()
    session = desk.server.session
    session.configure(None, [str(tmp_path)])
    session.begin_context()
    uri = (tmp_path / "pkg" / "c.py").as_uri()
    desk.open("x = \n", uri)
    await desk.answer("1", Cursor(uri, 0, 4))
    request = desk.server.client.calls[0].request
    assert desk.server.sync.flushes == 1
    assert (request.workspace, request.repository) == (session.workspace, tmp_path.name)
    assert (request.path, request.revision) == ("pkg/c.py", session.context.revision)


async def test_what_the_model_writes_twice_is_trimmed_before_it_is_shown(desk: Any) -> None:
    desk.open("print(\n".replace("\n", ")\n"))
    suggestion = await desk.answer("name)", Cursor(URI, 0, 6))
    assert suggestion is not None
    assert (suggestion.text, suggestion.replaces) == ("name", 0)


# -- the newest request wins ---------------------------------------------------------------------------------


async def test_a_newer_request_ends_the_older_one_at_once_with_nothing(desk: Any) -> None:
    older = await desk.ask()
    newer = await desk.ask(replace(CURSOR, character=7))
    assert await older is None
    assert "newer request" in desk.last.reason
    assert desk.server.client.calls[0].answer.cancelled()
    desk.server.client.calls[1].give(" 1")
    assert (await newer)[1].text == " 1"


async def test_requests_for_other_documents_go_on(desk: Any) -> None:
    desk.open("y = \n", OTHER)
    first, second = await desk.ask(), await desk.ask(Cursor(OTHER, 0, 4))
    for call, text in zip(desk.server.client.calls, ("1", "2"), strict=True):
        call.give(text)
    assert ((await first)[1].text, (await second)[1].text) == ("1", "2")


async def test_a_request_answered_from_the_cache_is_the_newest_too(desk: Any) -> None:
    await desk.answer("0")
    older = await desk.ask(replace(CURSOR, character=7))
    newer = await desk.ask()
    assert (await newer)[1].text == "0"
    assert await older is None


@pytest.mark.parametrize("newer", [Cursor(URI, -1, 0), Cursor(URI, 0, -1)])
async def test_a_request_that_fails_is_the_newest_too(desk: Any, newer: Cursor) -> None:
    older = await desk.ask()
    with pytest.raises(InvalidPosition):
        await desk.suggester.suggest(newer)
    assert await older is None


async def test_a_finished_request_is_not_disturbed_by_the_next(desk: Any) -> None:
    first = await desk.answer("0")
    second = await desk.answer("1", replace(CURSOR, character=7))
    assert first is not None
    assert second is not None


async def test_a_cancelled_request_stops_the_decoding(desk: Any) -> None:
    task = await desk.ask()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait([desk.server.client.calls[0].answer])
    assert desk.server.client.calls[0].answer.cancelled()
    assert "cancelled" in desk.last.reason


async def test_after_a_cancelled_request_the_next_one_is_answered(desk: Any) -> None:
    (await desk.ask()).cancel()
    assert (await desk.answer("0")) is not None


# -- answers without the model -------------------------------------------------------------------------------


async def test_typing_that_agrees_is_answered_from_the_cache(desk: Any) -> None:
    await desk.answer("sum(x)")
    desk.replace(2, 8, 8, "su")
    suggestion = await desk.answer("!", replace(CURSOR, character=10))
    assert suggestion is not None
    assert suggestion.text == "m(x)"
    assert desk.last.source == "cache"
    assert len(desk.server.client.calls) == 1


async def _not_reused(desk: Any) -> None:
    resolved = replace(desk.server.session.settings, completion=CompletionSettings(reuse=False))
    desk.server.session.settings = resolved


async def _forgotten(desk: Any) -> None:
    desk.suggester.forget()


async def _typed_otherwise(desk: Any) -> None:
    desk.replace(2, 7, 8, "\t")


async def _changed_below(desk: Any) -> None:
    desk.replace(3, 0, 0, "#")


@pytest.mark.parametrize("change", [_not_reused, _forgotten, _typed_otherwise, _changed_below])
async def test_the_model_is_asked_again_where_the_old_answer_does_not_hold(desk: Any, change: Any) -> None:
    await desk.answer("sum(x)")
    await change(desk)
    suggestion = await desk.answer("max(x)")
    assert suggestion is not None
    assert suggestion.text == "max(x)"


async def test_another_context_or_one_not_yet_in_place_asks_again(desk: Any, tmp_path: Any) -> None:
    sync = desk.server.sync = ScriptedSync()
    desk.server.session.configure(None, [str(tmp_path)])
    desk.server.session.begin_context()
    uri = (tmp_path / "c.py").as_uri()
    desk.open("x = \n", uri)
    cursor = Cursor(uri, 0, 4)
    await desk.answer("1", cursor)
    assert (await desk.answer("no", cursor)).text == "1"  # type: ignore[union-attr]
    sync.is_current = False
    assert (await desk.answer("2", cursor)).text == "2"  # type: ignore[union-attr]
    sync.is_current, sync.held_number = True, 2
    assert (await desk.answer("3", cursor)).text == "3"  # type: ignore[union-attr]
    sync.held_number = 1
    assert (await desk.answer("no", cursor)).text == "2"  # type: ignore[union-attr]


async def test_an_answer_belongs_to_the_context_it_was_asked_on(desk: Any) -> None:
    desk.server.sync = ScriptedSync()
    task = await desk.ask()
    desk.server.sync.held_number = 2
    desk.server.client.calls[-1].give("1")
    assert (await task)[1].context == 1


async def test_nothing_is_suggested_and_nothing_kept_where_the_model_has_nothing(desk: Any) -> None:
    assert await desk.answer("  \n") is None
    assert desk.last.reason.endswith("nothing here.")
    assert await desk.answer("0") is not None


async def test_the_engines_reason_for_nothing_is_passed_on(desk: Any) -> None:
    task = await desk.ask()
    desk.server.client.calls[-1].give("", "The file is too long.")
    assert await task is None
    assert desk.last.reason == "The file is too long."


@pytest.mark.parametrize("automatic", [True, False])
async def test_the_model_is_not_asked_where_suggestions_are_off(desk: Any, automatic: bool) -> None:
    settings = replace(desk.server.session.settings, completion=CompletionSettings(enabled=False))
    desk.server.session.settings = settings
    assert await desk.answer("0", replace(CURSOR, automatic=automatic)) is None
    assert desk.server.client.calls == []
    assert "completion.enabled" in desk.last.reason


async def test_a_document_that_is_not_open_is_an_error(desk: Any) -> None:
    with pytest.raises(UnknownDocument):
        await desk.suggester.suggest(Cursor(OTHER, 0, 0))
