"""The conversation that `deltaloom lint` has with the server in its own process, recorded and repeated with a
real server process: an editor that says the same is told the same."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deltaloom_server.lint import runner
from deltaloom_server.lint.in_process import InProcessClient
from deltaloom_server.lint.options import LintOptions


@dataclass
class Recording:
    """What was said, in order: (by the client?, message)."""

    said: list[tuple[bool, dict[str, Any]]] = field(default_factory=list)

    @property
    def sent(self) -> list[dict[str, Any]]:
        return [message for by_client, message in self.said if by_client and "method" in message]

    def answer(self, identifier: int) -> dict[str, Any]:
        (found,) = [
            m
            for by_client, m in self.said
            if not by_client and m.get("id") == identifier and "method" not in m
        ]
        return found


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch, at_home: None) -> Recording:
    made = Recording()
    send, take = InProcessClient._send_body, InProcessClient._take

    def sending(client: InProcessClient, body: bytes) -> None:
        made.said.append((True, json.loads(body)))
        send(client, body)

    def taking(client: InProcessClient, message: dict[str, Any]) -> None:
        made.said.append((False, message))
        take(client, message)

    monkeypatch.setattr(InProcessClient, "_send_body", sending)
    monkeypatch.setattr(InProcessClient, "_take", taking)
    return made


def _options(root: Path, **changes: Any) -> LintOptions:
    return LintOptions(os.fspath(root), (os.fspath(root),), cache=False, **changes)


class Repeating:
    """Says to a server process what the command said, and compares what it answers."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    async def send(self, message: dict[str, Any]) -> None:
        await self._raw.send(message)

    async def answer(self, identifier: int) -> dict[str, Any]:
        while True:
            message: dict[str, Any] = await self._raw.receive()
            if "method" in message and "id" in message:
                await self._raw.send({"jsonrpc": "2.0", "id": message["id"], "result": None})
            elif message.get("id") == identifier:
                return message

    async def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        await self.send(message)
        return await self.answer(message["id"])


def _in_order(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer with the files of a pass, and the parts of a report, in one order."""
    result = answer.get("result")
    if isinstance(result, dict) and isinstance(result.get("items"), list):
        return answer | {"result": result | {"items": sorted(result["items"], key=json.dumps)}}
    if isinstance(result, dict) and "cached" in result:  # which the command was told not to use
        return answer | {"result": result | {"cached": 0}}
    return answer


def _difference(expected: object, answer: object) -> str:
    sides = [json.dumps(one, indent=1, sort_keys=True).splitlines() for one in (expected, answer)]
    return "\n".join(difflib.unified_diff(sides[0], sides[1], "command", "server", n=6))


async def _repeat(recording: Recording, raw: Any) -> list[str]:
    """The methods of the requests whose answers were compared."""
    repeating, compared = Repeating(raw), []
    for message in recording.sent:
        if message["method"] == "initialize":
            # What the command line says, an editor says in its settings.
            message["params"]["initializationOptions"] = {"security": {"model_fixes": False}}
        if "id" not in message:
            await repeating.send(message)
            continue
        expected = _in_order(recording.answer(message["id"]))
        answer = _in_order(await repeating.ask(message))
        if message["method"] == "textDocument/diagnostic":
            # An editor is told quickly first; it asks again until all scanners have looked.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(20):
                    while answer != expected:
                        await asyncio.sleep(0.05)
                        answer = _in_order(await repeating.ask(message))
        assert answer == expected, f"{message['method']}: {_difference(expected, answer)}"
        compared.append(message["method"])
    return compared


async def test_the_commands_conversation_is_one_that_the_server_process_has(
    workspace: Any, recording: Recording, raw: Any
) -> None:
    outcome = await runner.run(_options(workspace.root, show_fixes=True, unsafe_fixes=True))
    assert len(outcome.blocking) >= 7
    compared = await _repeat(recording, raw)
    assert compared[:3] == ["initialize", "workspace/diagnostic", "deltaloom/securityReport"]
    assert compared.count("codeAction/resolve") >= 6


def _files(root: Path) -> dict[str, bytes]:
    found = (path for path in root.rglob("*") if path.is_file() and ".git" not in path.parts)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in found}


async def test_so_is_the_conversation_that_fixes_everything(
    workspace: Any, recording: Recording, raw: Any
) -> None:
    before = _files(workspace.root)
    outcome = await runner.run(_options(workspace.root, fix=True, unsafe_fixes=True))
    assert len(outcome.fixed) >= 6
    after = _files(workspace.root)
    for name, data in before.items():
        workspace.write(name, data)
    # The last pass is over what the command has written: it is repeated on that.
    sent = recording.sent
    last = max(at for at, message in enumerate(sent) if message["method"] == "workspace/diagnostic")
    first = Recording(
        [*((True, message) for message in sent[:last]), *(one for one in recording.said if not one[0])]
    )
    compared = await _repeat(first, raw)
    assert compared.count("codeAction/resolve") >= 6
    for name, data in after.items():
        workspace.write(name, data)
    rest = Recording(
        [*((True, message) for message in sent[last:]), *(one for one in recording.said if not one[0])]
    )
    assert await _repeat(rest, raw) == ["workspace/diagnostic", "deltaloom/securityReport"]
