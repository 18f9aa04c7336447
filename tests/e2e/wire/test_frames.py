"""Bytes that are no message, messages that are no request: each gets one answer, and the next one works."""

from __future__ import annotations

import json
from typing import Any

import pytest

PARSE_ERROR, INVALID_REQUEST, UNKNOWN_METHOD, INVALID_PARAMS = -32700, -32600, -32601, -32602


def frame(body: bytes, length: int | None = None) -> bytes:
    return b"Content-Length: %d\r\n\r\n" % (len(body) if length is None else length) + body


@pytest.fixture
async def server(home, start_server):
    """A session without folders: no worker is needed, and none is started."""
    server = await start_server(home)
    await server.initialize()
    return server


async def errors_after(server: Any, data: bytes) -> list[int]:
    """The codes of the error answers without an id that these bytes got before the next request's."""
    server.send_bytes(data)
    await server.status()
    return [error["code"] for error in server.errors]


NO_JSON = {
    "broken off": b'{"jsonrpc": "2.0", "id": 7, "meth',
    "empty": b"",
    "not UTF-8": b"\xff\xfe{}",
    "broken UTF-8": b'{"jsonrpc": "2.0", "method": "\xc3\x28", "id": 1}',
    "too deep": b"[" * 200_000,
    "another protocol": b"GET / HTTP/1.1",
}


async def test_a_body_that_is_no_json_is_a_parse_error(server) -> None:
    for case, body in NO_JSON.items():
        assert await errors_after(server, frame(body)) == [PARSE_ERROR], case
        server.errors.clear()


NO_MESSAGES = {
    "an empty batch": [],
    "a batch": [{"jsonrpc": "2.0", "id": 1, "method": "shutdown"}],
    "a text": "shutdown",
    "null": None,
    "another version": {"jsonrpc": "1.0", "method": "exit"},
    "no version": {"method": "exit"},
    "neither method nor id": {"jsonrpc": "2.0"},
    "a null id": {"jsonrpc": "2.0", "id": None, "method": "shutdown"},
    "a list as id": {"jsonrpc": "2.0", "id": [1], "method": "shutdown"},
    "a truth value as id": {"jsonrpc": "2.0", "id": True, "method": "shutdown"},
    "a number as method": {"jsonrpc": "2.0", "method": 5},
}


async def test_json_that_is_no_message_is_an_invalid_request(server) -> None:
    for case, message in NO_MESSAGES.items():
        assert await errors_after(server, frame(json.dumps(message).encode())) == [INVALID_REQUEST], case
        server.errors.clear()


NO_FRAMES = {
    "no number": b"Content-Length: nonsense\r\n\r\n",
    "negative": b"Content-Length: -5\r\n\r\n",
    "no length": b"Content-Type: text/plain\r\n\r\n",
    "absurd": b"Content-Length: 99999999999999\r\n\r\n",
    "too long to hold": b"Content-Length: 4000000000\r\n\r\n",
    "noise": b"\r\n\r\nsome debugging output\r\n",
    "an endless line": b"x" * 100_000 + b"\r\n",
}


async def test_bytes_that_are_no_frame_are_skipped_up_to_the_next(server) -> None:
    for case, data in NO_FRAMES.items():
        assert await errors_after(server, data) == [PARSE_ERROR], case
        server.errors.clear()


async def test_a_length_too_small_costs_only_that_message(server) -> None:
    body = b'{"jsonrpc": "2.0", "id": 900, "method": "deltaloom/status"}'
    codes = await errors_after(server, frame(body, len(body) - 9))
    assert codes
    assert set(codes) == {PARSE_ERROR}


async def test_a_length_too_large_costs_only_what_it_swallows(server) -> None:
    body = b'{"jsonrpc": "2.0", "method": "$/setTrace", "params": {"value": "off"}}'
    server.send_bytes(frame(body, len(body) + 200))
    for _ in range(5):  # swallowed, or answered
        server.begin("deltaloom/status")
    assert set(await errors_after(server, b"")) == {PARSE_ERROR}


async def test_messages_may_come_byte_by_byte_and_many_at_once(server) -> None:
    for byte in frame(json.dumps({"jsonrpc": "2.0", "method": "$/unknown"}).encode()):
        server.send_bytes(bytes([byte]))
        await server.process.stdin.drain()
    futures = [server.begin("deltaloom/status")[1] for _ in range(100)]
    pids = {(await future)["pid"] for future in futures}
    assert pids == {server.process.pid}
    assert server.errors == []


async def test_a_message_of_many_megabytes_is_taken(server, tmp_path) -> None:
    text = "value = 1\n" * 800_000
    uri = server.open(tmp_path / "long.py", text)
    server.insert(uri, 400_000, 0, "# here\n")
    assert (await server.status())["documents"] == 1


async def test_unknown_methods_are_named_and_unknown_notifications_passed_over(server) -> None:
    with pytest.raises(Exception, match="no/such") as refused:
        await server.request("no/such", {"a": 1})
    assert refused.value.code == UNKNOWN_METHOD
    with pytest.raises(Exception, match="doesn't know") as refused:
        await server.request("$/unknown")
    assert refused.value.code == UNKNOWN_METHOD
    for method in ("no/such", "$/unknown", "textDocument/willSave", "notebookDocument/didOpen"):
        server.notify(method, {"anything": [1, 2]})
    assert await errors_after(server, b"") == []


async def test_parameters_of_the_wrong_shape_are_refused(server) -> None:
    ghost, nowhere = "textDocument/inlineCompletion", {"line": 0, "character": 0}
    for method, params in [
        (ghost, None),
        (ghost, [1, 2]),
        (ghost, {"position": nowhere}),
        (ghost, {"textDocument": {"uri": 5}, "position": "here", "context": {}}),
        ("textDocument/completion", {"textDocument": {"uri": "file:///a"}, "position": {"line": "one"}}),
        ("completionItem/resolve", {"kind": "no label"}),
    ]:
        with pytest.raises(Exception, match="aren't valid") as refused:
            await server.request(method, params)
        assert refused.value.code == INVALID_PARAMS


async def test_answers_to_nothing_that_was_asked_are_passed_over(server) -> None:
    for answer in ({"id": 4711, "result": 5}, {"id": "x", "error": {"code": 1, "message": "?"}}):
        server.send(answer)
    server.send({"id": 4712, "result": None, "error": {"code": "?"}})
    assert await errors_after(server, b"") == []


async def test_ids_may_be_texts(server) -> None:
    future = server.expect("the-status")
    server.send({"id": "the-status", "method": "deltaloom/status"})
    assert (await future)["documents"] == 0


async def test_requests_before_initialize_are_refused_and_notifications_dropped(
    home, start_server, tmp_path
) -> None:
    server = await start_server(home)
    server.open(tmp_path / "early.py", "x = 1\n")
    for method in ("deltaloom/status", "textDocument/inlineCompletion", "shutdown"):
        with pytest.raises(Exception, match="initialize first") as refused:
            await server.request(method, {})
        assert refused.value.code == -32002
    await server.initialize()
    assert (await server.status())["documents"] == 0


async def test_a_broken_initialize_can_be_repeated_and_a_second_one_is_refused(home, start_server) -> None:
    server = await start_server(home)
    with pytest.raises(Exception, match="aren't valid") as refused:
        await server.request("initialize", {"capabilities": {}, "processId": "this one"})
    assert refused.value.code == INVALID_PARAMS
    await server.initialize()
    with pytest.raises(Exception, match="initialized already") as refused:
        await server.initialize()
    assert refused.value.code == INVALID_REQUEST
    assert (await server.status())["pid"] == server.process.pid


async def test_after_shutdown_nothing_but_exit_is_served(server) -> None:
    assert await server.request("shutdown") is None
    for method in ("deltaloom/status", "shutdown", "initialize"):
        with pytest.raises(Exception, match="shutting down") as refused:
            await server.request(method, {})
        assert refused.value.code == INVALID_REQUEST
    server.notify("exit", None)
    assert await server.exit_status() == 0
