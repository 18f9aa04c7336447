"""Asking the model in words, on top of the repository's context, with tools where it can call them.

Invariant: a question ends in an answer or in one sentence, after a bounded number of turns; nothing that the
model says has any effect but on what it gets to read next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Protocol

import msgspec

from deltaloom_model.api import (
    CountRequest,
    FinishReason,
    GenerateRequest,
    GenerateResult,
    GenerateUpdate,
    Message,
    ModelInfo,
)
from deltaloom_model.errors import DeltaloomModelError

from ..model_client import ModelClient
from ..session import Session
from ..text_lines import with_newlines
from .abilities import refusal
from .answers import Visible, code_block, fenced_blocks, spoken
from .lookup import Sight
from .tool_calls import ToolCall, parse
from .tools import ToolBox, ToolResult, tools_prompt

__all__ = ["Answer", "Limits", "ask", "code_block", "fenced_blocks"]

_AWAY = "The model isn't ready yet; ask again as soon as it is."
_ENDLESS = "The model only called tools and gave no answer; ask again, or for less."
_SAID_NOTHING = "The model had nothing to say; ask in other words."
_LAST_WORD = "No more functions can be called. Answer now, from what you have seen."
_ASKED_BEFORE = "You have called this before, with the same result as above."
_CUT = "\n(The rest was left out.)"


class ContextSync(Protocol):
    """What is used of `WorkspaceSync`."""

    async def flush(self) -> None: ...
    def note_lost(self) -> None: ...


class Server(Protocol):
    """What is used of `DeltaloomServer`."""

    @property
    def session(self) -> Session: ...
    @property
    def client(self) -> ModelClient | None: ...
    @property
    def sync(self) -> ContextSync | None: ...
    @property
    def executor(self) -> Executor: ...

    def ensure_started(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a conversation may look up: turns with tool calls, characters of all results together."""

    steps: int = 6
    characters: int = 24_000


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said; `reason` is a sentence where `text` is empty. `steps` counts turns with tool
    calls, `finish` is "length" where the answer was cut off, `result` has the last turn's costs."""

    text: str
    steps: int = 0
    reason: str = ""
    finish: FinishReason = "stop"
    result: GenerateResult | None = None


async def ask(
    server: Server,
    *,
    system: str,
    user: str,
    path: str | None = None,
    text: str | None = None,
    cursor: tuple[int, int] | None = None,
    max_new_tokens: int = 1024,
    tools: bool = False,
    on_text: Callable[[str], None] | None = None,
    temperature: float = 0.0,
    seed: int = 0,
    limits: Limits = Limits(),
) -> Answer:
    """Ask once, and wait for the answer. `tools`: the model may look things up, if it can.

    `path` is the shown path of a file whose live copy the model is to have before it: `text`, or what the
    editor or else the disk has. A long one is shown around `cursor`, (line, character) from 0.
    `on_text` gets the text as it comes, also what is said before a tool is called. Cancelling it stops the
    model at the next token. Never raises for what the model or its worker does.
    """
    server.ensure_started()
    client = server.client
    if client is None:
        return Answer("", reason=_AWAY)
    try:
        if client.state == "failed":
            await client.restart()  # somebody asks: the model may be in place by now
        model = await known_model(client)
        if (why := refusal(model, "instruct")) is not None:
            return Answer("", reason=why, finish="unavailable")
        if server.sync is not None:
            await server.sync.flush()
        sight = Sight.of(server.session)
        file = None if path is None else await _file(server, sight, path, text, cursor)
        if path is not None and file is None:
            return Answer("", reason=f"{path} can't be read, or may not be shown; open it and ask again.")
        asking = _Asking(server, client, file, max_new_tokens, temperature, seed, on_text)
        box = None
        if tools and server.session.context is not None and refusal(model, "tools") is None:
            box = ToolBox(sight, server.executor)
        return await _converse(asking, system, user, box, limits)
    except DeltaloomModelError as error:
        return Answer("", reason=str(error), finish="unavailable")


@dataclass(frozen=True, slots=True)
class _File:
    """A live copy: the text up to the line asked about, and the rest, with `\\n` ending lines."""

    path: str
    before: str
    rest: str


async def _file(
    server: Server, sight: Sight, path: str, text: str | None, cursor: tuple[int, int] | None
) -> _File | None:
    if text is None:
        text = await asyncio.get_running_loop().run_in_executor(server.executor, sight.text, path)
    if text is None:
        return None
    text = with_newlines(text)
    at = 0
    for _ in range(cursor[0] if cursor is not None else 0):
        end = text.find("\n", at)
        if end < 0:
            break
        at = end + 1
    return _File(path, text[:at], text[at:])


async def known_model(client: ModelClient) -> ModelInfo | None:
    """The model, waited for while it is being loaded."""
    model = (await client.status()).model
    if model is None:  # still loading: this is answered once it has loaded
        await client.count(CountRequest([]))
        model = (await client.status()).model
    return model


async def _converse(asking: _Asking, system: str, user: str, box: ToolBox | None, limits: Limits) -> Answer:
    told = system if box is None else f"{system}\n\n{tools_prompt()}"
    opening = [Message("system", told), Message("user", user, asking.paths)]
    messages = list(opening)
    looking = _Looking(box, limits)
    while True:
        result = await asking.turn(messages, calling=looking.box is not None)
        if result.finish == "unavailable":
            if len(messages) == len(opening):
                return Answer("", looking.steps, result.reason, result.finish, result)
            # What was looked up finds no room beside the context: the answer has to do without.
            looking, messages = _Looking(None, limits, looking.steps), [Message("system", system), opening[1]]
            continue
        parsed = parse(result.text) if looking.box is not None else None
        if parsed is None or not parsed.calls:
            return _answer(result, result.text, looking.steps, _SAID_NOTHING)
        calls = parsed.calls
        if result.finish == "length" and not parsed.complete:
            calls = calls[:-1]  # it was cut off, and so is what it asks for
        if looking.over or not calls:
            return _answer(result, parsed.text, looking.steps, _ENDLESS)
        messages.append(Message("assistant", result.text))
        messages += await looking.look_up(calls)


def _answer(result: GenerateResult, text: str, steps: int, otherwise: str) -> Answer:
    text = spoken(text)
    if text.strip():
        return Answer(text, steps, "", result.finish, result)
    return Answer("", steps, result.reason or otherwise, result.finish, result)


@dataclass(frozen=True, slots=True)
class Standing:
    """What a question about a file stands behind: the workspace's context, or (`inside` False) nothing.

    As completions do it: what may not stand in a context is asked about by itself, apart from it.
    """

    inside: bool
    workspace: str
    repository: str
    revision: int

    @classmethod
    def of(cls, session: Session, path: str) -> Standing:
        """`path` is the shown path; "" for a question about no file."""
        context = session.context
        revision = context.revision if context is not None else 0
        if context is not None and (not path or context.may_show(path)):
            return cls(True, session.workspace, session.repository, revision)
        return cls(False, f"{session.id}/alone", path or "alone", revision)


class _Asking:
    """What stays the same from turn to turn."""

    def __init__(
        self,
        server: Server,
        client: ModelClient,
        file: _File | None,
        max_new_tokens: int,
        temperature: float,
        seed: int,
        on_text: Callable[[str], None] | None,
    ) -> None:
        session = server.session
        standing = Standing.of(session, file.path if file is not None else "")
        self._request = GenerateRequest(
            session.id,
            standing.workspace,
            standing.repository,
            standing.revision,
            file.path if file is not None else "",
            file.before if file is not None else "",
            "",
            file.rest if file is not None else "",
            max_new_tokens,
            temperature=temperature,
            seed=seed,
        )
        self.paths = [file.path] if file is not None else []
        self._sync = server.sync if standing.inside else None
        self._client, self._on_text = client, on_text

    async def turn(self, messages: Sequence[Message], *, calling: bool) -> GenerateResult:
        """What the model says next. `calling`: what looks like a tool call is one, and isn't shown."""
        request = msgspec.structs.replace(self._request, messages=list(messages))
        visible, on_text = Visible(), self._on_text

        def show(update: GenerateUpdate) -> None:
            text = visible.push(update.text) if calling else update.text
            if on_text is not None and text:
                on_text(text)

        result = await self._client.generate(request, show)
        if on_text is not None and (text := visible.finish()):
            on_text(text)
        if self._sync is not None and result.finish != "unavailable" and not result.repository_context:
            self._sync.note_lost()
        return result


class _Looking:
    """What has been looked up so far, and how much more may be."""

    def __init__(self, box: ToolBox | None, limits: Limits, steps: int = 0) -> None:
        self.box, self.steps = box, steps
        self._limits, self._room = limits, limits.characters
        self._asked: set[tuple[str, tuple[tuple[str, str], ...]]] = set()
        self.over = False

    async def look_up(self, calls: Sequence[ToolCall]) -> list[Message]:
        """A result for each call, within the limits; the last one says when there will be no more."""
        assert self.box is not None
        self.steps += 1
        results: list[Message] = []
        for call in calls:
            result = await self._result(call)
            text = result.text
            if len(text) > self._room:
                text = text[: self._room] + _CUT
            self._room -= min(len(text), self._room)
            results.append(Message("tool", text, list(result.paths)))
        if self.steps >= self._limits.steps or self._room <= 0:
            self.over = True
            last = results[-1]
            results[-1] = Message("tool", f"{last.text}\n\n{_LAST_WORD}", last.paths)
        return results

    async def _result(self, call: ToolCall) -> ToolResult:
        assert self.box is not None
        key = call.name, tuple(sorted(call.arguments.items()))
        if key in self._asked:
            return ToolResult(_ASKED_BEFORE)
        self._asked.add(key)
        return await self.box.run(call)
