"""Every request gets exactly one answer; an error's is one sentence, and neither it nor the log quotes."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsprotocol import types
from pygls.exceptions import JsonRpcException

from deltaloom_model.errors import RequestFailed
from deltaloom_server.errors import ContentModified, UnknownDocument
from deltaloom_server.language_server import DeltaloomServer, create_server
from deltaloom_server.protocol import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    REQUEST_CANCELLED,
    SERVER_NOT_INITIALIZED,
)
from deltaloom_server.stdio import FrameParser

URI = "file:///nowhere/a.py"
SECRET = "do_not_quote_me"


class Line:
    """A server without a transport: what is said to it, and what it says."""

    def __init__(self) -> None:
        self.server: DeltaloomServer = create_server()
        self.sent: list[dict[str, Any]] = []
        self.left: list[int] = []
        self._parser = FrameParser()
        self._news = asyncio.Event()
        self.server.protocol.set_writer(self)
        self.server.protocol.on_exit = self.left.append

    def write(self, data: bytes) -> None:
        for body in self._parser.feed(data):
            self.sent.append(json.loads(body))
        self._news.set()

    def say(self, message: dict[str, Any]) -> None:
        self.server.protocol.receive(json.dumps({"jsonrpc": "2.0", **message}).encode())

    def notify(self, method: str, params: object) -> None:
        self.say({"method": method, "params": params})

    async def ask(self, method: str, params: object = None, identifier: int | str = "ask") -> dict[str, Any]:
        """The answer to one request."""
        self.say({"id": identifier, "method": method, "params": params})
        return await self.answer(identifier)

    async def answer(self, identifier: object) -> dict[str, Any]:
        await self.until(lambda: bool(self.answers(identifier)))
        (found,) = self.answers(identifier)
        return found

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not holds():
                self._news.clear()
                await self._news.wait()

    def answers(self, identifier: object) -> list[dict[str, Any]]:
        return [message for message in self.sent if "method" not in message and message["id"] == identifier]

    async def initialize(self) -> dict[str, Any]:
        return await self.ask("initialize", {"capabilities": {}, "processId": None, "rootUri": None}, "init")

    def open(self, text: str) -> None:
        document = {"uri": URI, "languageId": "python", "version": 1, "text": text}
        self.notify("textDocument/didOpen", {"textDocument": document})

    def serve(self, handler: Callable[..., Any]) -> None:
        """Answer `deltaloom/test` with this."""
        self.server.feature("deltaloom/test")(handler)


@pytest.fixture
async def line() -> Line:
    made = Line()
    await made.initialize()
    return made


def _code(answer: dict[str, Any]) -> int:
    code: int = answer["error"]["code"]
    return code


# -- in which order ------------------------------------------------------------------------------------------


async def test_before_initialize_requests_are_refused_and_notifications_dropped() -> None:
    line = Line()
    assert _code(await line.ask("textDocument/hover", {})) == SERVER_NOT_INITIALIZED
    line.open("a = 1\n")
    assert line.server.session.documents == {}
    assert "result" in await line.initialize()
    assert len(line.sent) == 2


async def test_initialize_is_answered_once(line: Line) -> None:
    assert _code(await line.ask("initialize", {"capabilities": {}})) == INVALID_REQUEST


async def test_an_initialize_that_can_not_be_read_may_be_sent_again() -> None:
    line = Line()
    assert _code(await line.ask("initialize", {"capabilities": 3})) == INVALID_PARAMS
    assert "result" in await line.initialize()


async def test_after_shutdown_requests_are_refused_and_exit_leaves_with_0(line: Line) -> None:
    assert (await line.ask("shutdown"))["result"] is None
    assert _code(await line.ask("shutdown", None, 2)) == INVALID_REQUEST
    line.open("a = 1\n")
    assert line.server.session.documents == {}
    line.notify("exit", None)
    assert line.left == [0]


@pytest.mark.parametrize("initialized", [True, False])
async def test_exit_without_shutdown_leaves_with_1(initialized: bool) -> None:
    line = Line()
    if initialized:
        await line.initialize()
    line.notify("exit", None)
    assert line.left == [1]


# -- what is no request --------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'"' + SECRET.encode(), b"[" * 100_000])
async def test_what_is_no_json_is_a_parse_error(line: Line, body: bytes) -> None:
    line.sent.clear()
    line.server.protocol.receive(body)
    (answer,) = line.sent
    assert (answer["id"], _code(answer)) == (None, PARSE_ERROR)
    assert SECRET not in json.dumps(answer)


@pytest.mark.parametrize(
    ("message", "identifier"),
    [
        ([], None),
        ("x", None),
        ({"jsonrpc": "1.0", "id": 4, "method": "shutdown"}, 4),
        ({"jsonrpc": "2.0"}, None),
        ({"jsonrpc": "2.0", "id": None, "method": "shutdown"}, None),
        ({"jsonrpc": "2.0", "id": True, "method": "shutdown"}, None),
        ({"jsonrpc": "2.0", "id": 1.5, "method": "shutdown"}, None),
        ({"jsonrpc": "2.0", "id": "a", "method": None}, "a"),
    ],
)
async def test_json_that_is_no_message_is_an_invalid_request(
    line: Line, message: object, identifier: object
) -> None:
    line.sent.clear()
    line.server.protocol.receive(json.dumps(message).encode())
    (answer,) = line.sent
    assert (answer["id"], _code(answer)) == (identifier, INVALID_REQUEST)
    assert not line.server.protocol.is_shut_down


async def test_an_unknown_method_is_named_and_an_unknown_notification_passed_over(line: Line) -> None:
    answer = await line.ask("textDocument/unheardOf" + "x" * 200, {"text": SECRET})
    assert _code(answer) == METHOD_NOT_FOUND
    assert "textDocument/unheardOf" in answer["error"]["message"]
    assert len(answer["error"]["message"]) < 200
    before = len(line.sent)
    line.notify("$/unheardOf", {"text": SECRET})
    assert len(line.sent) == before


async def test_parameters_of_the_wrong_shape_are_refused_without_quoting_them(
    line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "deltaloom")
    params = {"textDocument": {"uri": URI}, "position": SECRET}
    answer = await line.ask("textDocument/inlineCompletion", params)
    assert _code(answer) == INVALID_PARAMS
    assert SECRET not in json.dumps(answer)
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("deltaloom")]
    assert ours
    assert SECRET not in "".join(ours)


# -- handlers that fail --------------------------------------------------------------------------------------


@pytest.mark.parametrize("asynchronous", [True, False])
@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (UnknownDocument("a.py isn't open here."), -32602, "a.py isn't open here."),
        (ContentModified("Ask again."), -32801, "Ask again."),
        (RequestFailed("Out of memory."), -32803, "Out of memory."),
        (JsonRpcException("No.", code=-32001), -32001, "No."),
        (ValueError(SECRET), INTERNAL_ERROR, "Deltaloom failed to answer; see `deltaloom logs`."),
        (RuntimeError(SECRET), INTERNAL_ERROR, "Deltaloom failed to answer; see `deltaloom logs`."),
    ],
)
async def test_an_error_is_answered_with_its_code_and_one_sentence(
    line: Line,
    caplog: pytest.LogCaptureFixture,
    asynchronous: bool,
    error: Exception,
    code: int,
    sentence: str,
) -> None:
    caplog.set_level(logging.DEBUG, "deltaloom")

    def fail(*_: object) -> None:
        raise error

    async def fail_later(*_: object) -> None:
        fail()

    line.serve(fail_later if asynchronous else fail)
    answer = await line.ask("deltaloom/test", {})
    assert answer["error"] == {"code": code, "message": sentence}
    assert SECRET not in caplog.text


async def test_a_cancelled_request_is_answered_as_cancelled_and_its_handler_stopped(line: Line) -> None:
    begun, stopped = asyncio.Event(), asyncio.Event()

    async def wait(*_: object) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    line.serve(wait)
    line.say({"id": 7, "method": "deltaloom/test", "params": {}})
    await begun.wait()
    line.notify("$/cancelRequest", {"id": 7})
    assert _code(await line.answer(7)) == REQUEST_CANCELLED
    await stopped.wait()
    line.notify("$/cancelRequest", {"id": 7})
    line.notify("$/cancelRequest", {"id": "never asked"})
    assert len(line.answers(7)) == 1


async def test_an_answer_that_comes_before_its_cancellation_stands(line: Line) -> None:
    line.serve(lambda *_: {"x": 1})
    answer = await line.ask("deltaloom/test", {}, 3)
    line.notify("$/cancelRequest", {"id": 3})
    assert answer["result"] == {"x": 1}
    assert len(line.answers(3)) == 1


# -- documents -----------------------------------------------------------------------------------------------


def _change(changes: object) -> dict[str, Any]:
    return {"textDocument": {"uri": URI, "version": 2}, "contentChanges": changes}


async def test_our_own_buffers_take_the_text_and_pyglss_are_never_built(line: Line) -> None:
    line.open("a\x0cb\u2028c\n" * 2)
    place = {"line": 1, "character": 0}
    line.notify("textDocument/didChange", _change([{"range": {"start": place, "end": place}, "text": "x"}]))
    assert line.server.session.documents[URI].text == "a\x0cb\u2028c\nxa\x0cb\u2028c\n"
    assert line.server.workspace.text_documents == {}


@pytest.mark.parametrize(
    "params",
    [
        _change([{"range": {"start": 3}, "text": SECRET}]),
        _change([{"text": None}]),
        {"textDocument": {"uri": URI}, "contentChanges": [{"text": SECRET}]},
        {"contentChanges": [{"text": SECRET}]},
        None,
    ],
)
async def test_a_change_that_can_not_be_read_costs_the_document_and_is_told(
    line: Line, params: object
) -> None:
    line.open("a = 1\n")
    line.notify("textDocument/didChange", params)
    assert line.server.session.documents == {}
    (told,) = [message["params"] for message in line.sent if message.get("method") == "window/showMessage"]
    assert "a.py got out of step" in told["message"]
    assert SECRET not in json.dumps(line.sent)


# -- answers to us -------------------------------------------------------------------------------------------


async def _waiting(line: Line) -> tuple[asyncio.Task[Any], object]:
    """A question of ours that the client hasn't answered yet, and its id."""
    params = types.ConfigurationParams(items=[types.ConfigurationItem(section="deltaloom")])
    task = asyncio.create_task(line.server.workspace_configuration_async(params))
    await line.until(lambda: line.sent[-1].get("method") == "workspace/configuration")
    return task, line.sent[-1]["id"]


async def test_answers_to_nothing_that_was_asked_are_passed_over(line: Line) -> None:
    task, identifier = await _waiting(line)
    before = len(line.sent)
    for other in ("stranger", 3, [], {}, None, True, 1.5):
        line.say({"id": other, "result": {}})
        line.say({"id": other, "error": {"code": 1, "message": "x"}})
        line.say({"id": other, "error": SECRET})
    assert len(line.sent) == before
    line.say({"id": identifier, "result": [{"log": {}}]})
    assert list(await task) == [{"log": {}}]


@pytest.mark.parametrize("answer", [{"result": 3}, {"error": 3}, {"error": {"code": "x"}}])
async def test_an_answer_that_can_not_be_used_ends_the_wait_for_it(
    line: Line, answer: dict[str, object]
) -> None:
    task, identifier = await _waiting(line)
    line.say({"id": identifier, **answer})
    async with asyncio.timeout(60):
        await asyncio.wait([task])
    assert task.cancelled()


# -- anything at all -----------------------------------------------------------------------------------------

_KEYS = ["textDocument", "uri", "position", "line", "character", "context", "text"]
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.sampled_from([URI, "x"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=4),
    max_leaves=8,
)
_METHODS = [
    "textDocument/completion",
    "textDocument/inlineCompletion",
    "completionItem/resolve",
    "deltaloom/status",
    "workspace/executeCommand",
    "$/cancelRequest",
    "textDocument/didOpen",
    "x",
]


@given(requests=st.lists(st.tuples(st.sampled_from(_METHODS), _JSON), max_size=4))
async def test_every_request_gets_exactly_one_answer_whatever_its_parameters(
    requests: list[tuple[str, Any]],
) -> None:
    line = Line()
    await line.initialize()
    for number, (method, params) in enumerate(requests):
        line.say({"id": number, "method": method, "params": params})
    for number in range(len(requests)):
        answer = await line.answer(number)
        assert ("result" in answer) != ("error" in answer)
    assert "result" in await line.ask("shutdown")
    for number in range(len(requests)):
        assert len(line.answers(number)) == 1
