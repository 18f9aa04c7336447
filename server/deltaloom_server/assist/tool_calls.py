"""Tool calls in Qwen's XML form, read from whatever a model has written.

    text before
    <tool_call>
    <function=NAME>
    <parameter=KEY>
    value, of any number of lines
    </parameter>
    </function>
    </tool_call>

Invariant: `parse` never raises, looks at each character a bounded number of times, and gives back every call
that `render_call` has written whose values hold no unbalanced tag at the start of a line.

The form has no escapes, so where a value ends is a judgement. Tags at the start of lines that nest properly
are taken as they nest. Where they don't (a tag is missing, stands within a line, or the text is cut off), a
value ends at the first `</parameter>` after which something comes that may come there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

MOST_CALLS = 16
MOST_CHARACTERS = 1 << 20
_MOST_PARAMETERS = 32
_MOST_DEPTH = 64

_Kind = Literal["tool_call", "function", "parameter"]

_TAG = re.compile(
    r"<(?P<close>/)(?P<closed>tool_call|function|parameter)>"
    r"|<tool_call>"
    r"|<(?P<opened>function|parameter)=(?P<name>[^<>\n]{1,200})>"
)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call. `arguments` are the texts given; of two for one parameter, the last."""

    name: str
    arguments: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """What a model wrote: the text before its first call, and the calls. `complete` is False where the last
    one isn't closed: the answer was cut off, or goes on."""

    text: str
    calls: tuple[ToolCall, ...] = ()
    complete: bool = True


def render_call(call: ToolCall) -> str:
    """The call as the model writes it. A name can't hold `<`, `>` or a newline."""
    parameters = "".join(
        f"<parameter={name}>\n{value}\n</parameter>\n" for name, value in call.arguments.items()
    )
    return f"<tool_call>\n<function={call.name}>\n{parameters}</function>\n</tool_call>"


def parse(text: str) -> ParsedAnswer:
    """What stands in `text`. Of a longer one than 1 MiB, only the beginning is looked at."""
    cut = text[:MOST_CHARACTERS]
    return _Parser(cut, _tags(cut)).parse(whole=len(cut) == len(text))


@dataclass(frozen=True, slots=True)
class _Tag:
    """A tag and its surroundings: is there only white space between the tag before and this one (`near`), a
    newline in it (`below`), and only spaces before it on its line (`leads`)?"""

    kind: _Kind
    closes: bool
    name: str
    start: int
    end: int
    near: bool
    below: bool
    leads: bool


def _tags(text: str) -> list[_Tag]:
    tags: list[_Tag] = []
    at = 0
    for found in _TAG.finditer(text):
        gap = text[at : found.start()]
        _, newline, indent = gap.rpartition("\n")
        leads = (bool(newline) or at == 0) and not indent.strip()
        closed, opened = found["closed"], found["opened"]
        kind: _Kind = closed or opened or "tool_call"  # type: ignore[assignment]
        name = (found["name"] or "").strip()
        tags.append(
            _Tag(
                kind,
                closed is not None,
                name,
                found.start(),
                found.end(),
                not gap.strip(),
                bool(newline),
                leads,
            )
        )
        at = found.end()
    return tags


@dataclass(slots=True)
class _Found:
    """A call read up to tag number `next`."""

    call: ToolCall
    next: int
    closed: bool


class _Parser:
    def __init__(self, text: str, tags: list[_Tag]) -> None:
        self._text, self._tags = text, tags

    def parse(self, whole: bool) -> ParsedAnswer:
        calls: list[ToolCall] = []
        before, closed, number = len(self._text), True, 0
        while number < len(self._tags) and len(calls) < MOST_CALLS:
            function = self._function_at(number)
            if function is None:
                number += 1
                continue
            if not calls:
                before = self._tags[number].start
            found = self._nested(function) or self._loose(function)
            calls.append(found.call)
            closed, number = found.closed, found.next
        if not calls:
            return ParsedAnswer(self._text, (), whole and begun_tag(self._text) is None)
        return ParsedAnswer(self._text[:before].rstrip(), tuple(calls), closed and whole)

    def _function_at(self, number: int) -> int | None:
        """The number of the `<function=…>` of a call that begins with this tag; None where none does."""
        tag = self._tags[number]
        if tag.closes:
            return None
        if tag.kind == "function":
            return number if tag.leads else None
        if tag.kind != "tool_call" or number + 1 >= len(self._tags):
            return None
        following = self._tags[number + 1]
        opens = following.kind == "function" and not following.closes and following.near
        return number + 1 if opens else None

    def _nested(self, function: int) -> _Found | None:
        """The call at this `<function=…>`, if all tags at the start of lines up to its end nest."""
        arguments: dict[str, str] = {}
        stack: list[_Kind] = ["function"]
        opened = self._tags[function]
        for number in range(function + 1, len(self._tags)):
            tag = self._tags[number]
            if not tag.leads:
                continue
            if not tag.closes:
                if len(stack) == 1:
                    if tag.kind != "parameter":
                        return None
                    opened = tag
                stack.append(tag.kind)
                if len(stack) > _MOST_DEPTH:
                    return None
                continue
            if stack.pop() != tag.kind:
                return None
            if len(stack) == 1:
                arguments[opened.name] = self._value(opened.end, tag.start)
                if len(arguments) > _MOST_PARAMETERS:
                    return None
            elif not stack:
                call = ToolCall(self._tags[function].name, arguments)
                return _Found(call, self._after_call(number + 1), closed=True)
        return None

    def _loose(self, function: int) -> _Found:
        """The call at this `<function=…>` by the best guess; always ends after at least that tag."""
        arguments: dict[str, str] = {}
        opened: _Tag | None = None
        for number in range(function + 1, len(self._tags)):
            tag = self._tags[number]
            if opened is not None:
                if not self._ends_value(opened, number):
                    continue
                self._keep(arguments, opened.name, self._value(opened.end, tag.start))
                opened = None
                if tag.closes and tag.kind == "parameter":
                    continue
            if tag.closes:
                if tag.kind != "parameter":
                    call = ToolCall(self._tags[function].name, arguments)
                    following = number + 1 if tag.kind == "tool_call" else self._after_call(number + 1)
                    return _Found(call, following, closed=True)
            elif tag.kind == "parameter":
                opened = tag
            elif self._function_at(number) is not None:
                return _Found(ToolCall(self._tags[function].name, arguments), number, closed=True)
        if opened is not None:
            end = begun_tag(self._text)
            self._keep(
                arguments, opened.name, self._value(opened.end, len(self._text) if end is None else end)
            )
        return _Found(ToolCall(self._tags[function].name, arguments), len(self._tags), closed=False)

    def _ends_value(self, opened: _Tag, number: int) -> bool:
        tag = self._tags[number]
        following = self._tags[number + 1] if number + 1 < len(self._tags) else None
        inline = not self._text.startswith(("\n", "\r\n"), opened.end)
        if not (tag.closes and tag.kind == "parameter"):
            if tag.kind == "tool_call" and not tag.closes:
                return tag.leads and self._function_at(number) is not None
            return tag.leads or (inline and tag.closes)
        if following is None:
            return tag.leads or not self._text[tag.end :].strip()
        fits = following.near and not (following.kind == "parameter" and following.closes)
        return fits and (tag.leads or inline or following.below)

    def _after_call(self, number: int) -> int:
        """Past the `</tool_call>` that belongs to the call, where there is one."""
        if number < len(self._tags):
            tag = self._tags[number]
            if tag.closes and tag.kind == "tool_call" and tag.near:
                return number + 1
        return number

    def _value(self, start: int, end: int) -> str:
        return _unframed(self._text[start:end])

    def _keep(self, arguments: dict[str, str], name: str, value: str) -> None:
        if name in arguments or len(arguments) < _MOST_PARAMETERS:
            arguments[name] = value


def _unframed(body: str) -> str:
    """A value without the newlines, and the last tag's indentation, that only set it off from its tags."""
    body = body.removeprefix("\n")
    head, newline, indent = body.rpartition("\n")
    if newline and not indent.strip():
        return head
    return body if body.strip(" \t") else ""


_WRITTEN = ("<tool_call>", "</tool_call>", "<function=", "</function>", "<parameter=", "</parameter>")
_LONGEST_TAG = 220


def begun_tag(text: str) -> int | None:
    """Where a tag begins that `text` ends within; None where it doesn't."""
    tail = text[-_LONGEST_TAG:]
    at = tail.rfind("<")
    piece = tail[at:]
    if at < 0 or ">" in piece:
        return None
    if any(tag.startswith(piece) or piece.startswith(tag) for tag in _WRITTEN):
        return len(text) - len(piece)
    return None
