"""The open file's part of a context, and the line so far behind it: what a completion reads.

Invariant (pure): a state is kept only of text that stands in the document, up to the cursor; what is decoded
goes to a span of its own.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from deltaloom_model.api import GenerateRequest
from deltaloom_model.checkpoint import Checkpoint, Contents, PrefixHash
from deltaloom_model.contexts import Context
from deltaloom_model.hybrid_cache import HybridState
from deltaloom_model.keeper import Keeper, Line
from deltaloom_model.kernels.gated_delta_rule import CHUNK
from deltaloom_model.placement import anchor_places
from deltaloom_model.prompts import AnchorPrompt, PromptFormat, bounded_prefix
from deltaloom_model.steps import quietly
from deltaloom_model.tiers.shelf import Salt
from deltaloom_model.token_sequence import SegmentSpan, TokenIds, common_prefix_length

SUFFIX_TOKENS = 256
_MOST_PREFIX_TOKENS = 2048
_ANCHORS_KEPT = 8
"""Versions of open files' parts among which a quarter of the checkpoints' memory is shared."""


@dataclass(frozen=True, slots=True)
class Anchored:
    """The open file's part, read. Reading began at `restored_at`; it and `end` are positions of `line`."""

    line: Line
    end: Checkpoint
    restored_at: int
    divergence: int
    milliseconds: float

    @property
    def read(self) -> int:
        """Tokens that had to be read."""
        return self.line.end - self.restored_at


class AnchorReader:
    """Reads open files' parts for one engine. `context_limit` is in tokens."""

    def __init__(self, keeper: Keeper, prompt_format: PromptFormat, context_limit: int) -> None:
        self._keeper, self._format = keeper, prompt_format
        # A quarter of the context, at most 4,096 tokens, is the open file's; a fixed share, so that the
        # prefix's cut doesn't move when the log grows.
        share = min(4096, context_limit // 4) - SUFFIX_TOKENS - 160
        self._prefix_tokens = max(64, min(_MOST_PREFIX_TOKENS, share))

    def read(
        self,
        state: HybridState,
        request: GenerateRequest,
        salt: Salt,
        context: Context | None,
        tally: dict[str, int],
    ) -> Generator[None, None, Anchored]:
        """Bring `state` to the end of the open file's part."""
        began = time.perf_counter()
        anchor = self._prompt(request)
        header = self._format.repository_header(request.repository)
        line = line_behind(context, header, salt, request.workspace, [((request.path,), anchor.ids)])
        found = yield from quietly(self._keeper.find(line))
        restored_at = found.position if found else 0
        cursor = line.end - len(anchor.ids) + anchor.prefix[1]
        most = self._keeper.store.state_budget // (4 * self._keeper.state_bytes * _ANCHORS_KEPT)
        captures = anchor_places(restored_at, line.end, cursor, max(most, 2))
        # A line further down goes on where the prefix ends.
        steps = self._keeper.read(
            state, line, found, lambda position: "anchor", edges={cursor}, captures=captures, tally=tally
        )
        end = yield from quietly(steps)
        divergence = line.at
        if context is not None and line.root is not None:
            earlier = context.anchor if context.anchor is not None else line.ids[:0]
            divergence += common_prefix_length(earlier, line.ids)
            context.anchor = line.ids
            context.unwritten["anchor"] = (line, end)
        return Anchored(line, end, restored_at, divergence, (time.perf_counter() - began) * 1000)

    def read_typed(
        self, state: HybridState, anchored: Anchored, typed: TokenIds, tally: dict[str, int]
    ) -> Generator[None, None, Tensor]:
        """Feed the line so far; the last hidden state [hidden]. Of a long one, state is kept on the way."""
        line, end = anchored.line, anchored.end
        if len(typed) <= CHUNK:
            state.fork_tail(len(typed))
            return self._keeper.reader.read(state, typed, "typed", tally) if len(typed) else end.hidden
        further = Line(line.salt, line.hash_at(line.end), line.end, typed, line.contents, end)
        found = yield from quietly(self._keeper.find(further))
        assert found is not None
        captures = set(range(found.position + CHUNK, further.end, CHUNK))
        steps = self._keeper.read(
            state, further, found, lambda position: "typed", captures=captures, tally=tally
        )
        return (yield from quietly(steps)).hidden

    def _prompt(self, request: GenerateRequest) -> AnchorPrompt:
        return self._format.anchor(
            request.path,
            bounded_prefix(request.prefix),
            request.suffix,
            prefix_tokens=self._prefix_tokens,
            suffix_tokens=SUFFIX_TOKENS,
            key=f"{request.session}:{request.workspace}:{request.path}",
        )


def line_behind(
    context: Context | None,
    header: TokenIds,
    salt: Salt,
    workspace: str,
    parts: Sequence[tuple[tuple[str, ...], TokenIds]],
) -> Line:
    """These parts behind the context that is held, or behind the bare `header` while none is. Each part
    comes with the paths of the files whose text stands in it."""
    if context is not None and context.end is not None and context.line is not None:
        at, prefix, root, before = len(context.sequence), context.hash, context.end, context.line.contents
        ids = [part for _, part in parts]
    else:
        at, prefix, root, before = 0, PrefixHash(salt.text), None, None
        ids = [np.concatenate((header, parts[0][1])), *(part for _, part in parts[1:])]
    spans: list[SegmentSpan] = []
    start = at
    for (paths, _), part in zip(parts, ids, strict=True):
        spans += [SegmentSpan(path, "", "anchor", start, start + len(part)) for path in paths or ("",)]
        start += len(part)
    return Line(salt, prefix, at, np.concatenate(ids), Contents(workspace, tuple(spans), before), root)
