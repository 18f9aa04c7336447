"""The engine: keep each workspace's state in step with its text, and answer from it.

Invariants: exact (kept state equals a cold read of the same tokens), clamped (a restore lands on a
checkpoint's own position), pure (generated tokens never enter kept state), counted (see prefill.py).

`sync` and `generate` read as: lay out tokens, find the nearest checkpoint, read the rest, keep checkpoints.
Both are generators that may be closed at any yield: they work on a state of their own, and what they have
kept by then is exact.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Collection, Generator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import psutil
import torch

from deltaloom_model.api import (
    Cause,
    ContextInfo,
    CountRequest,
    CountResult,
    EngineStatus,
    GenerateRequest,
    GenerateResult,
    GenerateSteps,
    ModelInfo,
    ModelSpec,
    Restore,
    Segment,
    SyncProgress,
    SyncRequest,
    SyncResult,
    SyncSteps,
    TopToken,
)
from deltaloom_model.checkpoint import Checkpoint, CheckpointStore, PrefixHash
from deltaloom_model.decode import Constraint, decode
from deltaloom_model.hybrid_cache import HybridState
from deltaloom_model.hybrid_model import HybridModel
from deltaloom_model.loading.build import load_model
from deltaloom_model.prefill import Reader, chunk_edges
from deltaloom_model.prompts import PromptFormat
from deltaloom_model.sampling import logits_digest, top_tokens
from deltaloom_model.threads import thread_count
from deltaloom_model.token_healing import TokenIndex, split_typed
from deltaloom_model.token_sequence import TokenIds, TokenPart, TokenSequence, common_prefix_length
from deltaloom_model.tokenizer import SegmentTokenizer

SUFFIX_TOKENS = 256
_MOST_PREFIX_TOKENS = 2048
_ANCHOR_STEP = 512
_LONG_SEGMENT_STEP = 4096
_TYPED_CHARACTERS = 4096
_PREFIX_CHARACTERS = 1 << 20
_REMEMBERED_RESTORES = 64
_TOP = 5

T = TypeVar("T")


@dataclass(slots=True)
class Context:
    """What one session's workspace is held as. `end` is the pinned checkpoint after its last token."""

    revision: int
    sequence: TokenSequence
    segments: int
    end: Checkpoint | None
    target: int
    done: int


class HybridEngine:
    """One model, all workspaces' checkpoints, all sessions' contexts. One thread drives it."""

    def __init__(
        self, model: HybridModel, tokenizer: SegmentTokenizer, info: ModelInfo, spec: ModelSpec
    ) -> None:
        self.reader = Reader(model)
        self.store = CheckpointStore(spec.checkpoint_bytes, spec.kv_bytes)
        self._info, self._spec = info, spec
        self.tokenizer = tokenizer
        self._index: TokenIndex | None = None
        self._format = PromptFormat.for_model(tokenizer, model.config.fim_order, model.config.eos_token_ids)
        self._contexts: dict[tuple[str, str], Context] = {}
        self._restores: deque[Restore] = deque(maxlen=_REMEMBERED_RESTORES)
        # A quarter of the context, at most 4,096 tokens, is the open file's; a fixed share, so that the
        # prefix's cut doesn't move when the log grows.
        share = min(4096, info.context_limit // 4) - SUFFIX_TOKENS - 160
        self._prefix_tokens = max(64, min(_MOST_PREFIX_TOKENS, share))

    @property
    def model(self) -> ModelInfo:
        return self._info

    # --- what crosses the socket ------------------------------------------------------------------------

    def count(self, request: CountRequest) -> CountResult:
        """Token counts of segments, header included; their ids stay cached for the sync that follows."""
        counts = []
        for segment in request.segments:
            ids = self._segment_ids(segment, request.texts)
            counts.append(-1 if ids is None else len(ids))
        return CountResult(counts)

    def sync(self, request: SyncRequest) -> SyncSteps:
        """Bring (session, workspace) to the requested segments, reading only what no checkpoint covers."""
        began = time.perf_counter()
        sequence = self._lay_out(request)
        if isinstance(sequence, list):
            return SyncResult(request.revision, missing=sequence)
        key = (request.session, request.workspace)
        context = self._contexts.get(key)
        if context is None:
            empty = TokenSequence.of([])
            context = self._contexts[key] = Context(-1, empty, 0, None, len(sequence), 0)
        divergence = common_prefix_length(context.sequence.ids, sequence.ids)
        salt = self._salt(request.workspace)
        found = self.store.nearest(salt, sequence.ids)
        restored_at = found.position if found else 0
        context.target = len(sequence)

        places = {*sequence.boundaries, *range(0, len(sequence), _LONG_SEGMENT_STEP)}
        state = self.reader.model.new_state()
        end = yield from self._read(state, found, sequence, salt, places, context, request.compaction)
        self._switch(context, request.revision, sequence, len(request.segments), end)
        milliseconds = (time.perf_counter() - began) * 1000
        cause: Cause = "compaction" if request.compaction else "base"
        self._note(cause, divergence, restored_at, len(sequence) - restored_at, milliseconds)
        return SyncResult(
            request.revision,
            tokens=len(sequence),
            divergence=divergence,
            restored_at=restored_at,
            read=len(sequence) - restored_at,
            milliseconds=milliseconds,
        )

    def generate(self, request: GenerateRequest) -> GenerateSteps:
        """Complete at a cursor: restore or read the anchor, feed the line so far, decode, drop all of it."""
        began = time.perf_counter()
        counted = dict(self.reader.counters)
        context = self._contexts.get((request.session, request.workspace))
        ready = context is not None and context.end is not None
        base = context.sequence if context is not None and ready else self._header(request.repository)
        anchor = self._format.anchor(
            request.path,
            _bounded_prefix(request.prefix),
            request.suffix,
            prefix_tokens=self._prefix_tokens,
            suffix_tokens=SUFFIX_TOKENS,
            key=f"{request.session}:{request.workspace}:{request.path}",
        )
        sequence = base.extended([TokenPart(request.path, "", "anchor", anchor.ids)])
        salt = self._salt(request.workspace)
        found = self.store.nearest(salt, sequence.ids)
        restored_at = found.position if found else 0
        start = len(base)
        places = {start + anchor.prefix[1], *range(start + _ANCHOR_STEP, len(sequence), _ANCHOR_STEP)}
        places.update(base.boundaries)

        state = self.reader.model.new_state()
        end = yield from _without_progress(self._read(state, found, sequence, salt, places))
        if restored_at < len(sequence):
            spent = (time.perf_counter() - began) * 1000
            self._note("anchor", restored_at, restored_at, len(sequence) - restored_at, spent)

        fed, held = split_typed(request.typed[-_TYPED_CHARACTERS:])
        typed = self._format.typed(fed)
        state.fork_tail(len(typed) + len(held) + request.max_new_tokens)
        hidden = self.reader.read(state, typed, "typed") if len(typed) else end.hidden
        logits = self.reader.logits(hidden)
        first = (time.perf_counter() - began) * 1000
        decoded = yield from decode(
            self.reader,
            state,
            logits,
            constraint=Constraint(
                self._token_index,
                self.tokenizer.detokenizer(),
                held=held,
                explicit=request.explicit,
                within_line=request.stop.max_lines == 1,
            ),
            stop_ids=self._format.stop_ids,
            rules=request.stop,
            max_new_tokens=request.max_new_tokens + len(held),
            temperature=request.temperature,
            seed=request.seed,
        )
        logprobs = decoded.logprobs
        return GenerateResult(
            request.revision,
            decoded.text,
            decoded.finish,
            new_tokens=len(logprobs),
            read=_risen(counted, self.reader.counters),
            context_tokens=len(sequence) + len(typed),
            restored_at=restored_at,
            repository_context=ready,
            logits_digest=logits_digest(logits),
            top=[TopToken(self.tokenizer.decode([token]), lp) for token, lp in top_tokens(logits, _TOP)],
            mean_logprob=sum(logprobs) / len(logprobs) if logprobs else 0.0,
            first_token_milliseconds=first,
            milliseconds=(time.perf_counter() - began) * 1000,
        )

    def forget(self, session: str) -> None:
        """Drop a session's contexts; their checkpoints stay until they are evicted (they are content)."""
        for key in [key for key in self._contexts if key[0] == session]:
            self._pin(self._contexts.pop(key).end, -1)

    def status(self) -> EngineStatus:
        """A snapshot of model, memory, counters, contexts and the last restores."""
        weights = {p.data_ptr(): p.numel() * p.element_size() for p in self.reader.model.parameters()}
        return EngineStatus(
            "ready",
            model=self._info,
            pid=os.getpid(),
            resident_bytes=psutil.Process().memory_info().rss,
            weight_bytes=sum(weights.values()),
            kv_bytes=self.store.kv_bytes,
            checkpoint_bytes=self.store.state_bytes,
            checkpoints=len(self.store),
            counters={str(cause): n for cause, n in self.reader.counters.items()},
            contexts=[
                ContextInfo(session, workspace, c.revision, c.target, c.done, c.segments)
                for (session, workspace), c in self._contexts.items()
            ],
            restores=list(self._restores),
        )

    def _token_index(self) -> TokenIndex:
        if self._index is None:
            self._index = TokenIndex(self.tokenizer)
        return self._index

    # --- tokens -----------------------------------------------------------------------------------------

    def _segment_ids(self, segment: Segment, texts: dict[str, str]) -> TokenIds | None:
        if segment.tombstone:
            return self._format.tombstone(segment.path)
        ids = self.tokenizer.cached(segment.digest)
        if ids is None and segment.digest in texts:
            ids = self.tokenizer.encode_segment(segment.path, segment.digest, texts[segment.digest])
        return None if ids is None else self._format.segment(segment.path, ids)

    def _lay_out(self, request: SyncRequest) -> TokenSequence | list[str]:
        """The context's tokens, or the digests whose texts are missing."""
        parts = [TokenPart("", "", "repository", self._format.repository_header(request.repository))]
        missing: list[str] = []
        for segment in request.segments:
            ids = self._segment_ids(segment, request.texts)
            if ids is None:
                missing.append(segment.digest)
            else:
                parts.append(TokenPart(segment.path, segment.digest, segment.kind, ids))
        return list(dict.fromkeys(missing)) or TokenSequence.of(parts)

    def _header(self, repository: str) -> TokenSequence:
        return TokenSequence.of([TokenPart("", "", "repository", self._format.repository_header(repository))])

    def _salt(self, workspace: str) -> bytes:
        info = self._info
        return "\0".join((workspace, info.hash, info.dtype, info.device, info.quantization)).encode()

    # --- state ------------------------------------------------------------------------------------------

    def _read(
        self,
        state: HybridState,
        found: Checkpoint | None,
        sequence: TokenSequence,
        salt: bytes,
        places: Collection[int],
        context: Context | None = None,
        compaction: bool = False,
    ) -> Generator[SyncProgress, None, Checkpoint]:
        """Take up `found` in `state` and read on to the end of `sequence`, keeping checkpoints at `places`.

        Yields after every chunk; returns the checkpoint at the sequence's end.
        """
        newest, total = found, len(sequence)
        if found is not None:
            state.restore(found.state)
        if state.position < total:
            state.reserve(total - state.position)
        prefix = PrefixHash(salt)
        prefix.update(sequence.ids[: state.position])
        for edge in chunk_edges(state.position, total, self.reader.grid, places):
            ids = sequence.ids[state.position : edge]
            cause = "compaction" if compaction else _cause_of(sequence, state.position)
            hidden = self.reader.read(state, ids, cause)
            prefix.update(ids)
            if edge == total or edge in places:
                parent = newest.position if newest else 0
                newest = self.store.add(prefix.digest(), state.save(), hidden, parent)
            if context is not None:
                context.done = edge
            yield SyncProgress(edge, total)
        assert newest is not None, "a context is never empty"
        assert newest.position == total, "reading ends on a checkpoint of its own"
        return newest

    def _switch(
        self, context: Context, revision: int, sequence: TokenSequence, segments: int, end: Checkpoint
    ) -> None:
        """The context now is `sequence`, whose end stays pinned until the next switch."""
        self._pin(end, 1)
        self._pin(context.end, -1)
        context.revision, context.sequence, context.segments, context.end = revision, sequence, segments, end
        context.target = context.done = len(sequence)

    def _pin(self, checkpoint: Checkpoint | None, by: int) -> None:
        if checkpoint is not None:
            checkpoint.pins += by

    def _note(self, cause: Cause, divergence: int, checkpoint: int, read: int, milliseconds: float) -> None:
        self._restores.append(Restore(cause, divergence, checkpoint, read, milliseconds))


def _cause_of(sequence: TokenSequence, position: int) -> Cause:
    kind = sequence.span_at(position).kind
    return "base" if kind == "repository" else kind


def _risen(before: Mapping[Cause, int], after: Mapping[Cause, int]) -> dict[str, int]:
    return {cause: count - before[cause] for cause, count in after.items() if count > before[cause]}


def _without_progress(steps: Generator[object, None, T]) -> Generator[None, None, T]:
    """The same steps and result, yielding None."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: T = stop.value
            return result
        yield None


def _bounded_prefix(prefix: str) -> str:
    """At most about the last 2 MiB of a huge file's prefix, cut at a line start that moves in 1 MiB steps."""
    cut = (len(prefix) // _PREFIX_CHARACTERS - 1) * _PREFIX_CHARACTERS
    if cut <= 0:
        return prefix
    return prefix[prefix.find("\n", cut) + 1 :]


def build_engine(spec: ModelSpec) -> HybridEngine:
    """Load the model of `spec` and make it ready (the worker's default engine). Raises `ModelLoadError`."""
    torch.set_num_threads(thread_count(spec))
    engine = HybridEngine(*load_model(spec), spec)
    engine.reader.calibrate()
    return engine
