"""A conversation's part of a context: a live copy of the open file, then the turns; what an answer reads.

Invariant (pure): a state is kept only of what the caller sent. An answer enters it when the caller sends it
back as a message, and by the words in which it came back.

A file that moves while people talk about it would have all after it read again; so it stands before the turns
only as far as it is needed, bounded by a share that doesn't change as the conversation grows.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np

from deltaloom_model.anchors import Anchored, line_behind
from deltaloom_model.api import GenerateRequest, Message
from deltaloom_model.chat import ChatFormat, TurnPart
from deltaloom_model.contexts import Context
from deltaloom_model.hybrid_cache import HybridState
from deltaloom_model.keeper import Keeper
from deltaloom_model.placement import anchor_places
from deltaloom_model.prompts import PromptFormat, bounded_prefix, prefix_start
from deltaloom_model.steps import quietly
from deltaloom_model.tiers.shelf import Salt
from deltaloom_model.token_sequence import TokenIds, common_prefix_length

_MOST_FILE_TOKENS = 8192
_OPEN_FILE_TOKENS = 4096
_CHARACTERS_PER_TOKEN = 32
"""More characters than this for each token of room are refused untokenized."""
_PLACES = 32
_STATES_SHARED = 32
"""A conversation takes at most this part of the checkpoints' memory for places within the live copy."""


@dataclass(frozen=True, slots=True, eq=False)
class _LiveCopy:
    """The open file's tokens, header included, and where in them the cursor's line begins."""

    ids: TokenIds
    cursor: int


class ConversationReader:
    """Reads conversations for one engine. `trained` is the longest context that the model was trained on,
    `planned` the one that base, log and open file keep to; both in tokens."""

    def __init__(
        self, keeper: Keeper, prompt_format: PromptFormat, chat: ChatFormat, trained: int, planned: int
    ) -> None:
        self._keeper, self._format, self._chat = keeper, prompt_format, chat
        self._limit = max(trained, planned)
        spare = self._limit - planned + min(_OPEN_FILE_TOKENS, planned // 4)
        self._file_tokens = max(64, min(_MOST_FILE_TOKENS, spare // 2))

    @property
    def stop_ids(self) -> frozenset[int]:
        """Beside the model's own."""
        return self._chat.stop_ids

    def read(
        self,
        state: HybridState,
        request: GenerateRequest,
        salt: Salt,
        context: Context | None,
        tally: dict[str, int],
    ) -> Generator[None, None, Anchored | str]:
        """Bring `state` to where the answer begins; a sentence where the conversation finds no room."""
        began = time.perf_counter()
        held = len(context.sequence) if context is not None and context.end is not None else 0
        room = self._limit - held - request.max_new_tokens
        if sum(len(message.text) for message in request.messages) > max(room, 0) * _CHARACTERS_PER_TOKEN:
            return self._too_long(room)
        copy = self._live_copy(request)
        parts = [TurnPart(copy.ids, (request.path,))] if copy is not None else []
        turns = self._chat.lay_out(request.messages)
        line = line_behind(
            context,
            self._format.repository_header(request.repository),
            salt,
            request.workspace,
            [(part.paths, part.ids) for part in (*parts, *turns)],
        )
        if line.end > self._limit - request.max_new_tokens:
            return self._too_long(room)
        found = yield from quietly(self._keeper.find(line))
        restored_at = found.position if found else 0
        talk = line.end - sum(len(turn.ids) for turn in turns)
        captures = self._captures(copy, restored_at, talk)
        edges = {talk, talk + _instructions(request.messages, turns)}
        steps = self._keeper.read(
            state, line, found, lambda position: "anchor", edges=edges, captures=captures, tally=tally
        )
        end = yield from quietly(steps)
        divergence = line.at
        if context is not None and line.root is not None:
            earlier = context.conversation if context.conversation is not None else line.ids[:0]
            divergence += common_prefix_length(earlier, line.ids)
            context.conversation = line.ids
        return Anchored(line, end, restored_at, divergence, (time.perf_counter() - began) * 1000)

    def _too_long(self, room: int) -> str:
        return (
            f"The conversation is longer than the model can read here (room for {max(room, 0)} tokens); "
            "ask about less, or give the repository less room with context.max_tokens."
        )

    def _captures(self, copy: _LiveCopy | None, start: int, talk: int) -> set[int]:
        """Places within the live copy: an edit near the cursor leads away from them."""
        if copy is None or start >= talk:
            return set()
        most = self._keeper.store.state_budget // (_STATES_SHARED * self._keeper.state_bytes)
        return anchor_places(start, talk, talk - len(copy.ids) + copy.cursor, min(max(most, 2), _PLACES))

    def _live_copy(self, request: GenerateRequest) -> _LiveCopy | None:
        """The open file as a segment, in full where it fits; else what stands around the cursor."""
        if not request.path:
            return None
        header = self._format.segment_header(request.path)
        prefix, rest = bounded_prefix(request.prefix), request.typed + request.suffix
        tokenizer, most = self._format.tokenizer, self._file_tokens
        key = f"conversation:{request.session}:{request.workspace}:{request.path}"
        if len(prefix) == len(request.prefix) and len(prefix) + len(rest) <= most * _CHARACTERS_PER_TOKEN:
            whole = tokenizer.encode_near(key, prefix + rest)
            if len(whole.ids) <= most:
                cursor = int(np.searchsorted(whole.starts, len(prefix)))
                return _LiveCopy(np.concatenate((header, whole.ids)), len(header) + cursor)
        encoded = tokenizer.encode_document(prefix)
        before = encoded.ids[prefix_start(encoded, most * 3 // 4) :]
        after, _ = self._format.bounded_suffix(rest, most // 4)
        return _LiveCopy(np.concatenate((header, before, after)), len(header) + len(before))


def _instructions(messages: Sequence[Message], turns: Sequence[TurnPart]) -> int:
    """Tokens of the system's turn, where there is one: other questions about the file begin with it too."""
    return len(turns[0].ids) if messages[0].role == "system" else 0
