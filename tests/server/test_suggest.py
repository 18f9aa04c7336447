"""From a cursor to a suggestion: what is asked, what is answered, and which request wins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import pytest_asyncio
from lsprotocol.types import Position, Range, TextDocumentContentChangePartial

from deltaloom_model.api import GenerateResult
from deltaloom_model.errors import RequestFailed, WorkerUnavailable
from deltaloom_server.completion.cache import Suggestion
from deltaloom_server.errors import InvalidPosition, UnknownDocument
from deltaloom_server.settings import CompletionSettings
from deltaloom_server.suggest import Cursor, Suggester

URI = "file:///elsewhere/a.py"
OTHER = "file:///elsewhere/b.py"
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


@dataclass
class ScriptedSync:
    """What a `Suggester` asks of a `WorkspaceSync`."""

    is_current: bool = True
    held_number: int = 1
    flushes: int = 0

    async def flush(self) -> None:
        self.flushes += 1


async def test_the_model_is_asked_for_the_text_around_the_cursor(desk: Desk) -> None:
    assert await desk.answer("0") == Suggestion(URI, TEXT[:19], TEXT[19:], "0")
    request = desk.server.client.calls[0].request
    assert (request.prefix, request.typed, request.suffix) == ("import os\n\n", "total = ", TEXT[19:])
    assert (request.session, request.path, request.explicit) == ("session", "a.py", False)
    assert request.stop.max_lines == 1
    assert desk.server.started == 1


async def test_a_document_outside_every_folder_has_a_context_of_its_own(desk: Desk) -> None:
    desk.server.sync = ScriptedSync()
    await desk.answer("0")
    request = desk.server.client.calls[0].request
    assert (request.workspace, request.repository) == ("session/alone", "a.py")
    assert desk.server.sync.flushes == 0


async def test_pending_changes_go_to_the_worker_before_the_question(desk: Desk, tmp_path: Any) -> None:
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


async def test_what_the_model_writes_twice_is_trimmed_before_it_is_shown(desk: Desk) -> None:
    desk.open("print(\n".replace("\n", ")\n"))
    suggestion = await desk.answer("name)", Cursor(URI, 0, 6))
    assert suggestion is not None
    assert (suggestion.text, suggestion.replaces) == ("name", 0)


# -- the newest request wins ---------------------------------------------------------------------------------


async def test_a_newer_request_ends_the_older_one_at_once_with_nothing(desk: Desk) -> None:
    older = await desk.ask()
    newer = await desk.ask(replace(CURSOR, character=7))
    assert await older is None
    assert "newer request" in desk.last.reason
    assert desk.server.client.calls[0].answer.cancelled()
    desk.server.client.calls[1].give(" 1")
    assert (await newer)[1].text == " 1"


async def test_requests_for_other_documents_go_on(desk: Desk) -> None:
    desk.open("y = \n", OTHER)
    first, second = await desk.ask(), await desk.ask(Cursor(OTHER, 0, 4))
    for call, text in zip(desk.server.client.calls, ("1", "2"), strict=True):
        call.give(text)
    assert ((await first)[1].text, (await second)[1].text) == ("1", "2")


async def test_a_request_answered_from_the_cache_is_the_newest_too(desk: Desk) -> None:
    await desk.answer("0")
    older = await desk.ask(replace(CURSOR, character=7))
    newer = await desk.ask()
    assert (await newer)[1].text == "0"
    assert await older is None


@pytest.mark.parametrize("newer", [Cursor(URI, -1, 0), Cursor(URI, 0, -1)])
async def test_a_request_that_fails_is_the_newest_too(desk: Desk, newer: Cursor) -> None:
    older = await desk.ask()
    with pytest.raises(InvalidPosition):
        await desk.suggester.suggest(newer)
    assert await older is None


async def test_a_finished_request_is_not_disturbed_by_the_next(desk: Desk) -> None:
    first = await desk.answer("0")
    second = await desk.answer("1", replace(CURSOR, character=7))
    assert first is not None
    assert second is not None


async def test_a_cancelled_request_stops_the_decoding(desk: Desk) -> None:
    task = await desk.ask()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait([desk.server.client.calls[0].answer])
    assert desk.server.client.calls[0].answer.cancelled()
    assert "cancelled" in desk.last.reason


async def test_after_a_cancelled_request_the_next_one_is_answered(desk: Desk) -> None:
    (await desk.ask()).cancel()
    assert (await desk.answer("0")) is not None


# -- answers without the model -------------------------------------------------------------------------------


async def test_typing_that_agrees_is_answered_from_the_cache(desk: Desk) -> None:
    await desk.answer("sum(x)")
    desk.replace(2, 8, 8, "su")
    suggestion = await desk.answer("!", replace(CURSOR, character=10))
    assert suggestion is not None
    assert suggestion.text == "m(x)"
    assert desk.last.source == "cache"
    assert len(desk.server.client.calls) == 1


async def _not_reused(desk: Desk) -> None:
    resolved = replace(desk.server.session.settings, completion=CompletionSettings(reuse=False))
    desk.server.session.settings = resolved


async def _forgotten(desk: Desk) -> None:
    desk.suggester.forget()


async def _typed_otherwise(desk: Desk) -> None:
    desk.replace(2, 7, 8, "\t")


async def _changed_below(desk: Desk) -> None:
    desk.replace(3, 0, 0, "#")


@pytest.mark.parametrize("change", [_not_reused, _forgotten, _typed_otherwise, _changed_below])
async def test_the_model_is_asked_again_where_the_old_answer_does_not_hold(desk: Desk, change: Any) -> None:
    await desk.answer("sum(x)")
    await change(desk)
    suggestion = await desk.answer("max(x)")
    assert suggestion is not None
    assert suggestion.text == "max(x)"


async def test_another_context_or_one_not_yet_in_place_asks_again(desk: Desk, tmp_path: Any) -> None:
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


async def test_an_answer_belongs_to_the_context_it_was_asked_on(desk: Desk) -> None:
    desk.server.sync = ScriptedSync()
    task = await desk.ask()
    desk.server.sync.held_number = 2
    desk.server.client.calls[-1].give("1")
    assert (await task)[1].context == 1


async def test_nothing_is_suggested_and_nothing_kept_where_the_model_has_nothing(desk: Desk) -> None:
    assert await desk.answer("  \n") is None
    assert desk.last.reason.endswith("nothing here.")
    assert await desk.answer("0") is not None


async def test_the_engines_reason_for_nothing_is_passed_on(desk: Desk) -> None:
    task = await desk.ask()
    desk.server.client.calls[-1].give("", "The file is too long.")
    assert await task is None
    assert desk.last.reason == "The file is too long."


@pytest.mark.parametrize("automatic", [True, False])
async def test_the_model_is_not_asked_where_suggestions_are_off(desk: Desk, automatic: bool) -> None:
    settings = replace(desk.server.session.settings, completion=CompletionSettings(enabled=False))
    desk.server.session.settings = settings
    assert await desk.answer("0", replace(CURSOR, automatic=automatic)) is None
    assert desk.server.client.calls == []
    assert "completion.enabled" in desk.last.reason


async def test_a_document_that_is_not_open_is_an_error(desk: Desk) -> None:
    with pytest.raises(UnknownDocument):
        await desk.suggester.suggest(Cursor(OTHER, 0, 0))


# -- the model is away ---------------------------------------------------------------------------------------


async def test_without_a_client_there_is_a_reason(desk: Desk) -> None:
    client, desk.server.client = desk.server.client, None
    assert await desk.suggester.suggest(CURSOR) is None
    assert desk.last.reason
    assert client.calls == []


@pytest.mark.parametrize("detail", ["", "The model is being loaded."])
async def test_a_keystroke_does_not_wait_for_a_worker_but_has_it_started(desk: Desk, detail: str) -> None:
    desk.server.client.state, desk.server.client.detail = "starting", detail
    assert await desk.answer("0", replace(CURSOR, automatic=True)) is None
    assert desk.last.reason == (detail or "The model isn't ready yet; suggestions come as soon as it is.")
    await desk.server.settle()
    assert (desk.server.client.starts, desk.server.client.calls) == (1, [])


async def test_a_worker_that_can_not_be_started_disturbs_no_one(desk: Desk) -> None:
    async def start() -> None:
        raise WorkerUnavailable("No room.")

    desk.server.client.state, desk.server.client.start = "stopped", start
    assert await desk.answer("0", replace(CURSOR, automatic=True)) is None
    await desk.server.settle()


async def test_who_asks_waits_for_the_worker(desk: Desk) -> None:
    desk.server.client.state = "starting"
    assert (await desk.answer("0", replace(CURSOR, explicit=True))) is not None
    assert desk.server.client.calls[0].request.explicit


async def test_a_failed_worker_is_tried_again_only_when_the_person_asks(desk: Desk) -> None:
    client = desk.server.client
    client.state, client.detail = "failed", "The model folder is gone."
    for automatic in (True, False):
        assert await desk.answer("0", replace(CURSOR, automatic=automatic)) is None
        assert desk.last.reason == "The model folder is gone."
    assert (client.restarts, client.calls) == (0, [])
    assert await desk.answer("0", replace(CURSOR, explicit=True)) is not None
    assert client.restarts == 1


async def test_a_request_that_the_worker_refuses_gives_its_sentence(desk: Desk) -> None:
    task = await desk.ask()
    desk.server.client.calls[-1].answer.set_exception(RequestFailed("Out of memory."))
    assert await task is None
    assert (desk.last.source, desk.last.reason) == ("none", "Out of memory.")


# -- the document moved on -----------------------------------------------------------------------------------


async def _moved(desk: Desk, move: Callable[[], None]) -> Any:
    task = await desk.ask()
    move()
    desk.server.client.calls[-1].give("sum(x)")
    return await task


@pytest.mark.parametrize("typed", ["s", "sum(x"])
async def test_typing_in_agreement_meanwhile_keeps_the_answer(desk: Desk, typed: str) -> None:
    found = await _moved(desk, lambda: desk.replace(2, 8, 8, typed))
    assert found is not None
    snapshot, suggestion = found
    assert (snapshot.document.text, suggestion.text) == (TEXT, "sum(x)")


@pytest.mark.parametrize(
    ("line", "start", "end", "text"),
    [
        (2, 8, 8, "t"),
        (2, 8, 8, "sum(x)"),
        (2, 8, 8, "sum(x) + 1"),
        (2, 7, 8, ""),
        (0, 0, 0, "#"),
        (0, 0, 1, "I"),
        (3, 0, 0, "s"),
        (3, 0, 1, "P"),
        (3, 0, 1, ""),
        (2, 7, 7, "s"),
    ],
)
async def test_any_other_change_meanwhile_drops_the_answer(
    desk: Desk, line: int, start: int, end: int, text: str
) -> None:
    assert await _moved(desk, lambda: desk.replace(line, start, end, text)) is None
    assert "changed while" in desk.last.reason


async def test_a_document_closed_meanwhile_drops_the_answer(desk: Desk) -> None:
    assert await _moved(desk, lambda: desk.server.session.close_document(URI) and None) is None


async def test_an_answer_dropped_is_still_found_by_going_back(desk: Desk) -> None:
    assert await _moved(desk, lambda: desk.replace(2, 8, 8, "t")) is None
    desk.replace(2, 8, 9, "")
    assert (await desk.answer("no")).text == "sum(x)"  # type: ignore[union-attr]
    assert len(desk.server.client.calls) == 1


# -- line ends and the editor's own list ---------------------------------------------------------------------


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n"])
async def test_the_model_reads_newlines_and_the_editor_gets_its_own_line_ends(desk: Desk, end: str) -> None:
    text = "import os\n\ndef f():\n    \nf()\n".replace("\n", end)
    desk.open(text)
    suggestion = await desk.answer("a = 1\n    return a", Cursor(URI, 3, 4))
    request = desk.server.client.calls[-1].request
    assert (request.prefix, request.typed) == ("import os\n\ndef f():\n", "    ")
    assert request.suffix == "\nf()\n"
    assert request.stop.max_lines > 1
    assert suggestion is not None
    assert suggestion.text == f"a = 1{end}    return a"
    assert suggestion.head + suggestion.suffix == text


@pytest.mark.parametrize("end", ["\r\n", "\r"])
async def test_a_carriage_return_is_no_code_after_the_cursor(desk: Desk, end: str) -> None:
    desk.open(TEXT.replace("\n", end))
    assert await desk.answer("0", replace(CURSOR, automatic=True)) is not None


async def test_an_answer_goes_on_from_the_entry_selected_in_the_editors_list(desk: Desk) -> None:
    desk.open("x = os.pa\n")
    selected = Cursor(URI, 0, 9, selected="path", selected_from=7)
    suggestion = await desk.answer(".join(a)", selected)
    assert desk.server.client.calls[-1].request.typed == "x = os.path"
    assert suggestion == Suggestion(URI, "x = os.path", "\n", ".join(a)")
    desk.replace(0, 7, 9, "path")
    taken = await desk.answer("no", Cursor(URI, 0, 11))
    assert taken is not None
    assert (taken.text, desk.last.source) == (".join(a)", "cache")


async def test_columns_are_the_editors_units(desk: Desk) -> None:
    desk.open('s = "😀" + \n')
    await desk.answer("s", Cursor(URI, 0, 11))
    assert desk.server.client.calls[-1].request.typed == 's = "😀" + '


# -- what is reported ----------------------------------------------------------------------------------------


async def test_the_report_tells_costs_and_never_text(desk: Desk) -> None:
    task = await desk.ask()
    result = GenerateResult(1, "secret_text", "stop", new_tokens=3, read={"decode": 3}, context_tokens=90)
    desk.server.client.calls[-1].answer.set_result(result)
    await task
    report = desk.last.report()
    assert (report["source"], report["new_tokens"], report["context_tokens"]) == ("model", 3, 90)
    assert report["read"] == {"decode": 3}
    assert "secret_text" not in repr(report)
    assert desk.server.reports == 1
