"""Whether an answer still fits when it comes, and what is said where there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from deltaloom_model.api import GenerateResult
from deltaloom_model.errors import RequestFailed, WorkerUnavailable
from deltaloom_server.completion.cache import Suggestion
from deltaloom_server.suggest import Cursor

URI = "file:///elsewhere/a.py"
TEXT = "import os\n\ntotal = \nprint(total)\n"
CURSOR = Cursor(URI, 2, 8)


# -- the model is away ---------------------------------------------------------------------------------------


async def test_without_a_client_there_is_a_reason(desk: Any) -> None:
    client, desk.server.client = desk.server.client, None
    assert await desk.suggester.suggest(CURSOR) is None
    assert desk.last.reason
    assert client.calls == []


@pytest.mark.parametrize("detail", ["", "The model is being loaded."])
async def test_a_keystroke_does_not_wait_for_a_worker_but_has_it_started(desk: Any, detail: str) -> None:
    desk.server.client.state, desk.server.client.detail = "starting", detail
    assert await desk.answer("0", replace(CURSOR, automatic=True)) is None
    assert desk.last.reason == (detail or "The model isn't ready yet; suggestions come as soon as it is.")
    await desk.server.settle()
    assert (desk.server.client.starts, desk.server.client.calls) == (1, [])


async def test_a_worker_that_can_not_be_started_disturbs_no_one(desk: Any) -> None:
    async def start() -> None:
        raise WorkerUnavailable("No room.")

    desk.server.client.state, desk.server.client.start = "stopped", start
    assert await desk.answer("0", replace(CURSOR, automatic=True)) is None
    await desk.server.settle()


async def test_who_asks_waits_for_the_worker(desk: Any) -> None:
    desk.server.client.state = "starting"
    assert (await desk.answer("0", replace(CURSOR, explicit=True))) is not None
    assert desk.server.client.calls[0].request.explicit


async def test_a_failed_worker_is_tried_again_only_when_the_person_asks(desk: Any) -> None:
    client = desk.server.client
    client.state, client.detail = "failed", "The model folder is gone."
    for automatic in (True, False):
        assert await desk.answer("0", replace(CURSOR, automatic=automatic)) is None
        assert desk.last.reason == "The model folder is gone."
    assert (client.restarts, client.calls) == (0, [])
    assert await desk.answer("0", replace(CURSOR, explicit=True)) is not None
    assert client.restarts == 1


async def test_a_request_that_the_worker_refuses_gives_its_sentence(desk: Any) -> None:
    task = await desk.ask()
    desk.server.client.calls[-1].answer.set_exception(RequestFailed("Out of memory."))
    assert await task is None
    assert (desk.last.source, desk.last.reason) == ("none", "Out of memory.")


# -- the document moved on -----------------------------------------------------------------------------------


async def _moved(desk: Any, move: Callable[[], None]) -> Any:
    task = await desk.ask()
    move()
    desk.server.client.calls[-1].give("sum(x)")
    return await task


@pytest.mark.parametrize("typed", ["s", "sum(x"])
async def test_typing_in_agreement_meanwhile_keeps_the_answer(desk: Any, typed: str) -> None:
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
    desk: Any, line: int, start: int, end: int, text: str
) -> None:
    assert await _moved(desk, lambda: desk.replace(line, start, end, text)) is None
    assert "changed while" in desk.last.reason


async def test_a_document_closed_meanwhile_drops_the_answer(desk: Any) -> None:
    assert await _moved(desk, lambda: desk.server.session.close_document(URI) and None) is None


async def test_an_answer_dropped_is_still_found_by_going_back(desk: Any) -> None:
    assert await _moved(desk, lambda: desk.replace(2, 8, 8, "t")) is None
    desk.replace(2, 8, 9, "")
    assert (await desk.answer("no")).text == "sum(x)"  # type: ignore[union-attr]
    assert len(desk.server.client.calls) == 1


# -- line ends and the editor's own list ---------------------------------------------------------------------


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n"])
async def test_the_model_reads_newlines_and_the_editor_gets_its_own_line_ends(desk: Any, end: str) -> None:
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
async def test_a_carriage_return_is_no_code_after_the_cursor(desk: Any, end: str) -> None:
    desk.open(TEXT.replace("\n", end))
    assert await desk.answer("0", replace(CURSOR, automatic=True)) is not None


async def test_an_answer_goes_on_from_the_entry_selected_in_the_editors_list(desk: Any) -> None:
    desk.open("x = os.pa\n")
    selected = Cursor(URI, 0, 9, selected="path", selected_from=7)
    suggestion = await desk.answer(".join(a)", selected)
    assert desk.server.client.calls[-1].request.typed == "x = os.path"
    assert suggestion == Suggestion(URI, "x = os.path", "\n", ".join(a)")
    desk.replace(0, 7, 9, "path")
    taken = await desk.answer("no", Cursor(URI, 0, 11))
    assert taken is not None
    assert (taken.text, desk.last.source) == (".join(a)", "cache")


async def test_columns_are_the_editors_units(desk: Any) -> None:
    desk.open('s = "😀" + \n')
    await desk.answer("s", Cursor(URI, 0, 11))
    assert desk.server.client.calls[-1].request.typed == 's = "😀" + '


# -- what is reported ----------------------------------------------------------------------------------------


async def test_the_report_tells_costs_and_never_text(desk: Any) -> None:
    task = await desk.ask()
    result = GenerateResult(1, "secret_text", "stop", new_tokens=3, read={"decode": 3}, context_tokens=90)
    desk.server.client.calls[-1].answer.set_result(result)
    await task
    report = desk.last.report()
    assert (report["source"], report["new_tokens"], report["context_tokens"]) == ("model", 3, 90)
    assert report["read"] == {"decode": 3}
    assert "secret_text" not in repr(report)
    assert desk.server.reports == 1
