"""Drives a day's script through a `llama-server`, with the same texts at the same moments.

Invariant: both orders ask with the same open file's part; they differ only in how the repository stands
before it: in its own order with the edits in place (`in_place`), or as our context lays it out (`log`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Literal

from .llama_server import HEALTH_SECONDS, LlamaCommand, LlamaServer, start_llama_server
from .result import LLAMA_IN_PLACE, LLAMA_LOG, Cold, Row, SizeRun
from .scenarios import Day
from .script import Ask, RestartEditor, RestartWorker, Step

Order = Literal["in_place", "log"]

_PREFIX_CHARACTERS = 7_000
_SUFFIX_CHARACTERS = 900
"""About the 2,048 and 256 tokens to which our own prompt is bounded."""
_ROOM = 1.5
"""Its tokenizer isn't ours: what fills our context may be longer in its tokens."""


def prompt_text(day: Day, step: Step, order: Order, repository: str = "sample") -> str:
    """The prompt at a step, in Qwen's repository-level form (arXiv 2409.12186, section 3.2.2)."""
    in_place = tuple((path, step.texts[path]) for path in day.files)
    copies = in_place if order == "in_place" else step.layout
    parts = [f"<|repo_name|>{repository}\n"]
    parts += [f"<|file_sep|>{path}\n{text}" for path, text in copies]
    return "".join(parts) + open_file_text(step.ask)


def open_file_text(ask: Ask) -> str:
    """The file asked in, in FIM form, and the line so far; prefix and suffix bounded at line starts."""
    prefix, suffix = _end_of(ask.prefix), _start_of(ask.suffix)
    head = f"<|file_sep|>{ask.path}\n<|fim_prefix|>{prefix}<|fim_suffix|>{suffix}"
    return f"{head}<|fim_middle|>{ask.typed}"


def _end_of(prefix: str) -> str:
    """Its last characters, from a line's start that moves in large steps, as our own bounded prefix does."""
    if len(prefix) <= _PREFIX_CHARACTERS:
        return prefix
    step = _PREFIX_CHARACTERS // 4
    cut = -(-(len(prefix) - _PREFIX_CHARACTERS) // step) * step
    return prefix[prefix.find("\n", cut) + 1 :]


def _start_of(suffix: str) -> str:
    if len(suffix) <= _SUFFIX_CHARACTERS:
        return suffix
    end = suffix.rfind("\n", _SUFFIX_CHARACTERS // 2, _SUFFIX_CHARACTERS) + 1
    return suffix[: end or _SUFFIX_CHARACTERS]


async def drive_llama(
    command: LlamaCommand,
    context: int,
    day: Day,
    order: Order,
    say: Callable[[str], None],
    *,
    health_seconds: float = HEALTH_SECONDS,
) -> SizeRun:
    """Read the prompt of each step in turn. A restart is one of the server, which keeps nothing then.

    Raises DeltaloomError where the server can't be started, dies, or refuses a prompt.
    """
    system = LLAMA_IN_PLACE if order == "in_place" else LLAMA_LOG
    room = int(context * _ROOM)
    cold = Cold(0, 0.0)
    rows: list[Row] = []
    async with AsyncExitStack() as stack:
        started = start_llama_server(command, room, health_seconds=health_seconds)
        server = await stack.enter_async_context(started)
        for index, step in enumerate(day.steps):
            say(f"{context:,} tokens, {system}: {step.name}")
            if any(isinstance(action, RestartWorker | RestartEditor) for action in step.actions):
                await stack.aclose()
                started = start_llama_server(command, room, health_seconds=health_seconds)
                server = await stack.enter_async_context(started)
            row = await _measure(server, step, prompt_text(day, step, order))
            if index == 0:
                cold = Cold(row.tokens, row.milliseconds)
            elif step.measured:
                rows.append(row)
    return SizeRun(system, context, cold, rows, len(day.files), command.model.name)


async def _measure(server: LlamaServer, step: Step, prompt: str) -> Row:
    began = time.perf_counter()
    cost = await server.read_prompt(prompt)
    milliseconds = round((time.perf_counter() - began) * 1000, 1)
    return Row(
        scenario=step.name,
        group=step.group,
        rule=step.rule,
        tokens=cost.read,
        read={"prompt": cost.read},
        context_tokens=cost.tokens,
        restored_at=cost.tokens - cost.read,
        milliseconds=milliseconds,
        edit_milliseconds=milliseconds,
        first_token_milliseconds=round(cost.milliseconds, 1),
        same_everywhere=step.same_everywhere,
    )
