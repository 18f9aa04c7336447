"""How a conversation is written for the model: ChatML, one turn after the other.

Invariant: every turn is tokenized alone and joined by ids, and an answer is asked for with the very tokens
that an assistant's turn begins with; so a conversation that goes on begins with all the tokens it had.

The format is that of Qwen's published chat templates:

    <|im_start|>system\\n … <|im_end|>\\n<|im_start|>user\\n … <|im_end|>\\n<|im_start|>assistant\\n

Results of tools stand in a user's turn, in `<tool_response>`. Torch-free.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deltaloom_model.api import Message
from deltaloom_model.token_sequence import TokenIds
from deltaloom_model.tokenizer import SegmentTokenizer

TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"
TOOL_MARKERS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
"""Qwen's tokenizers have a token for each; they are plain text in what files, tools and people say."""


@dataclass(frozen=True, slots=True, eq=False)
class TurnPart:
    """One message's tokens, and the shown paths of files whose text stands in it."""

    ids: TokenIds
    paths: tuple[str, ...] = ()


class ChatFormat:
    """One tokenizer's way to write conversations. Make it with `of`."""

    def __init__(self, tokenizer: SegmentTokenizer, start: int, end: int) -> None:
        self._tokenizer, self._start, self._end = tokenizer, start, end
        known = {name: tokenizer.special_id(name) for name in TOOL_MARKERS}
        self._markers = {name: token for name, token in known.items() if token is not None}
        pattern = "|".join(re.escape(name) for name in self._markers)
        self._marker = re.compile(pattern) if pattern else None
        self._newline = tokenizer.encode("\n")

    @classmethod
    def of(cls, tokenizer: SegmentTokenizer) -> ChatFormat | None:
        """None for a tokenizer without ChatML's tokens."""
        start, end = tokenizer.special_id(TURN_START), tokenizer.special_id(TURN_END)
        return None if start is None or end is None else cls(tokenizer, start, end)

    @property
    def stop_ids(self) -> frozenset[int]:
        """An answer ends at its turn's end, and before another turn."""
        return frozenset({self._start, self._end})

    def lay_out(self, messages: Sequence[Message]) -> list[TurnPart]:
        """The turns in order; the last part ends with what asks for an answer."""
        parts: list[TurnPart] = []
        for number, message in enumerate(messages):
            roles = [other.role for other in messages[max(0, number - 1) : number + 2]]
            first = number == 0 or roles[0] != message.role
            last = number + 1 == len(messages) or roles[-1] != message.role
            parts.append(TurnPart(self._turn(message, first=first, last=last), tuple(message.paths)))
        asking = TurnPart(self._opening("assistant"))
        return [*parts, asking]

    def _turn(self, message: Message, *, first: bool, last: bool) -> TokenIds:
        """One message. Results of several tools in a row share a turn: `first` opens it, `last` ends it."""
        end = [self._id(self._end), self._newline]
        text = message.text
        if message.role == "assistant":
            # Its opening alone: an answer was asked for with these tokens, before there was a text.
            return np.concatenate([self._opening("assistant"), self._marked(text), *end])
        start = self._id(self._start)
        if message.role == "system":
            return np.concatenate([start, self._marked(f"system\n{text}"), *end])
        if message.role == "user":
            return np.concatenate([start, self._tokenizer.encode(f"user\n{text}"), *end])
        result = [
            self._written("<tool_response>"),
            self._tokenizer.encode(f"\n{text}\n"),
            self._written("</tool_response>"),
            self._newline,
        ]
        return np.concatenate([*([self._opening("user")] if first else []), *result, *(end if last else [])])

    def _opening(self, role: str) -> TokenIds:
        return np.concatenate([self._id(self._start), self._tokenizer.encode(role + "\n")])

    def _marked(self, text: str) -> TokenIds:
        """What the caller's instructions or the model say: tool markers in it are tokens."""
        if self._marker is None:
            return self._tokenizer.encode(text)
        pieces: list[TokenIds] = []
        at = 0
        for found in self._marker.finditer(text):
            pieces.append(self._tokenizer.encode(text[at : found.start()]))
            pieces.append(self._id(self._markers[found[0]]))
            at = found.end()
        pieces.append(self._tokenizer.encode(text[at:]))
        return np.concatenate(pieces)

    def _written(self, marker: str) -> TokenIds:
        token = self._markers.get(marker)
        return self._tokenizer.encode(marker) if token is None else self._id(token)

    def _id(self, token: int) -> TokenIds:
        return np.array([token], np.int32)
