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
from collections.abc import Callable

import psutil
import torch

from deltaloom_model.anchors import Anchored, AnchorReader
from deltaloom_model.api import (
    DECODING,
    Cause,
    CountRequest,
    CountResult,
    EngineStatus,
    GenerateRequest,
    GenerateResult,
    GenerateSteps,
    ModelInfo,
    ModelSpec,
    PurgeRequest,
    PurgeResult,
    Restore,
    Segment,
    StopRules,
    SyncRequest,
    SyncResult,
    SyncSteps,
    TopToken,
    text_digest,
)
from deltaloom_model.chat import ChatFormat
from deltaloom_model.checkpoint import Contents, PrefixHash
from deltaloom_model.contexts import Context, Contexts
from deltaloom_model.conversations import ConversationReader
from deltaloom_model.decode import Constraint, decode
from deltaloom_model.errors import no_instructions
from deltaloom_model.hybrid_model import HybridModel
from deltaloom_model.keeper import Keeper, Line, kernel_set
from deltaloom_model.loading.build import load_model
from deltaloom_model.placement import context_places
from deltaloom_model.prefill import Reader
from deltaloom_model.prompts import PromptFormat, bounded_line
from deltaloom_model.sampling import logits_digest, top_tokens
from deltaloom_model.steps import shown
from deltaloom_model.stopping import NO_RULES
from deltaloom_model.threads import thread_count
from deltaloom_model.tiers.shelf import Salt
from deltaloom_model.token_healing import TokenIndex, split_typed
from deltaloom_model.token_sequence import (
    TokenIds,
    TokenPart,
    TokenSequence,
    common_prefix_length,
)
from deltaloom_model.tokenizer import SegmentTokenizer

_REMEMBERED_RESTORES = 64
_TOP = 5
_FLUSH_SECONDS = 1.5
_NO_TEXT = text_digest("")


class HybridEngine:
    """One model, all workspaces' checkpoints, all sessions' contexts. One thread drives it."""

    def __init__(
        self, model: HybridModel, tokenizer: SegmentTokenizer, info: ModelInfo, spec: ModelSpec
    ) -> None:
        self.reader = Reader(model)
        self.keeper = Keeper(self.reader, spec)
        self.store = self.keeper.store
        self._info, self._spec = info, spec
        self.tokenizer = tokenizer
        self._index: TokenIndex | None = None
        self._format = PromptFormat.for_model(tokenizer, model.config.fim_order, model.config.eos_token_ids)
        self._contexts = Contexts()
        self._restores: deque[Restore] = deque(maxlen=_REMEMBERED_RESTORES)
        weights = {p.data_ptr(): p.numel() * p.element_size() for p in model.parameters()}
        self._weight_bytes = sum(weights.values())
        self._anchors = AnchorReader(self.keeper, self._format, info.context_limit)
        chat = ChatFormat.of(tokenizer) if "instruct" in info.abilities else None
        trained, planned = model.config.max_position_embeddings, info.context_limit
        self._conversations = (
            ConversationReader(self.keeper, self._format, chat, trained, planned) if chat else None
        )

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
        """Bring (session, workspace) to the requested segments, reading only what no checkpoint covers.

        A compaction is only read and kept, for a later sync to switch to.
        """
        began = time.perf_counter()
        context = self._contexts.get(request.session, request.workspace) or Context()
        laid_out = self._lay_out(request, context)
        if isinstance(laid_out, list):
            return SyncResult(request.revision, missing=laid_out)
        self._contexts.put(request.session, request.workspace, context)
        sequence, total = laid_out, len(laid_out)
        salt = self._salt(request.workspace)
        contents = Contents(request.workspace, sequence.spans)
        line = Line(salt, PrefixHash(salt.text), 0, sequence.ids, contents)
        divergence = common_prefix_length(context.sequence.ids, sequence.ids)
        follow = None if request.compaction else context
        if follow is not None:
            follow.target = total

        found = yield from shown(self.keeper.find(line), total, follow)
        restored_at = found.position if found else 0
        edges, captures = self._places(sequence)
        state, tally = self.reader.model.new_state(), dict[str, int]()
        steps = self.keeper.read(
            state, line, found, _cause_at(sequence, request.compaction),
            edges=edges, captures=captures, tally=tally, write_behind=True,
        )  # fmt: skip
        end = yield from shown(steps, total, follow)
        if not request.compaction:
            context.switch(request.revision, sequence, line, end)
            context.segments = len(request.segments)
            self.store.trim()
        read, milliseconds = sum(tally.values()), (time.perf_counter() - began) * 1000
        cause: Cause = "compaction" if request.compaction else "log" if restored_at >= min(edges) else "base"
        self._note(cause, divergence, restored_at, read, milliseconds)
        return SyncResult(
            request.revision,
            tokens=total,
            divergence=divergence,
            restored_at=restored_at,
            read=read,
            milliseconds=milliseconds,
        )

    def generate(self, request: GenerateRequest) -> GenerateSteps:
        """Complete at a cursor: restore or read the anchor, feed the line so far, decode, drop all of it.

        Asked in words, the same with the conversation in the anchor's place and no line to feed.
        """
        began = time.perf_counter()
        tally: dict[str, int] = {}
        context, salt = self._contexts.get(request.session, request.workspace), self._salt(request.workspace)
        state, fed, healed = self.reader.model.new_state(), "", ""
        anchored: Anchored | str
        if request.messages:
            talks = self._conversations
            if talks is None:
                return GenerateResult(request.revision, "", "unavailable", no_instructions(self._info.name))
            anchored = yield from talks.read(state, request, salt, context, tally)
            if isinstance(anchored, str):
                return GenerateResult(request.revision, "", "unavailable", anchored)
            rules = NO_RULES if request.stop == StopRules() else request.stop
            stop_ids = self._format.stop_ids | talks.stop_ids
        else:
            fed, healed = split_typed(bounded_line(request.typed))
            anchored = yield from self._anchors.read(state, request, salt, context, tally)
            rules, stop_ids = request.stop, self._format.stop_ids
        typed = self._format.typed(fed)
        if anchored.read:
            restored_at, spent = anchored.restored_at, anchored.milliseconds
            self._note("anchor", anchored.divergence, restored_at, anchored.read, spent)
        hidden = yield from self._anchors.read_typed(state, anchored, typed, tally)
        state.fork_tail(len(healed) + request.max_new_tokens)
        logits = self.reader.logits(hidden)
        first = (time.perf_counter() - began) * 1000
        yield DECODING
        decoded = yield from decode(
            self.reader,
            state,
            logits,
            constraint=Constraint(
                self._token_index,
                self.tokenizer.detokenizer(),
                held=healed,
                explicit=request.explicit,
                within_line=rules.max_lines == 1,
            ),
            stop_ids=stop_ids,
            rules=rules,
            max_new_tokens=request.max_new_tokens + len(healed),
            temperature=request.temperature,
            seed=request.seed,
            tally=tally,
        )
        logprobs = decoded.logprobs
        return GenerateResult(
            request.revision,
            decoded.text,
            decoded.finish,
            new_tokens=len(logprobs),
            read=tally,
            context_tokens=anchored.line.end + len(typed),
            restored_at=anchored.restored_at,
            repository_context=anchored.line.root is not None,
            logits_digest=logits_digest(logits),
            top=[TopToken(self.tokenizer.decode([token]), lp) for token, lp in top_tokens(logits, _TOP)],
            mean_logprob=sum(logprobs) / len(logprobs) if logprobs else 0.0,
            first_token_milliseconds=first,
            milliseconds=(time.perf_counter() - began) * 1000,
        )

    def purge(self, request: PurgeRequest) -> PurgeResult:
        """Forget all state that has read these files, the contexts that show them, and their tokens."""
        paths = set(request.paths)
        self.tokenizer.forget(paths, self._contexts.forget_files(request.workspace, paths))
        return self.keeper.purge(request.workspace, paths)

    def idle(self) -> None:
        """Write down what a restart would have to read again: each context's end, and the last open part."""
        if self.keeper.disk is None:
            return
        for context in self._contexts:
            for kind in ("context", "anchor"):  # in this order: the second hangs off the first
                if kind in context.unwritten:
                    line, end = context.unwritten[kind]
                    if not self.keeper.write(line, end, {context.base_end}):
                        break  # the disk is behind: the next idle moment goes on
                    del context.unwritten[kind]
                    if kind == "context":
                        self._write_texts(context)

    def close(self) -> None:
        """The same, and wait for the disk a moment."""
        self.idle()
        if self.keeper.disk is not None:
            self.keeper.disk.flush(_FLUSH_SECONDS)

    def forget(self, session: str) -> None:
        """Drop a session's contexts; their checkpoints stay until they are evicted (they are content)."""
        self.idle()
        self._contexts.forget(session)

    def status(self) -> EngineStatus:
        """A snapshot of model, memory, counters, contexts and the last restores."""
        return EngineStatus(
            "ready",
            model=self._info,
            pid=os.getpid(),
            resident_bytes=psutil.Process().memory_info().rss,
            weight_bytes=self._weight_bytes,
            kv_bytes=self.store.kv_bytes,
            checkpoint_bytes=self.store.state_bytes,
            checkpoints=len(self.store),
            counters={str(cause): n for cause, n in self.reader.counters.items()},
            contexts=self._contexts.report(),
            restores=list(self._restores),
            tiers=self.keeper.tiers(),
        )

    def _token_index(self) -> TokenIndex:
        if self._index is None:
            self._index = TokenIndex(self.tokenizer)
        return self._index

    # --- tokens -----------------------------------------------------------------------------------------

    def _segment_ids(
        self, segment: Segment, texts: dict[str, str], salt: Salt | None = None
    ) -> TokenIds | None:
        if segment.tombstone:
            return self._format.tombstone(segment.path)
        ids = self.tokenizer.cached(segment.digest)
        if ids is None and segment.digest in texts:
            ids = self.tokenizer.encode_segment(segment.path, segment.digest, texts[segment.digest])
        if ids is None and salt is not None and self.keeper.disk is not None:
            ids = self.keeper.disk.token_ids(salt, segment.path, segment.digest)
        return None if ids is None else self._format.segment(segment.path, ids)

    def _lay_out(self, request: SyncRequest, context: Context) -> TokenSequence | list[str]:
        """The context's tokens, or the digests whose texts are missing."""
        salt = self._salt(request.workspace)
        parts = [TokenPart("", "", "repository", self._format.repository_header(request.repository))]
        known = dict(context.parts)
        missing: list[str] = []
        for segment in request.segments:
            key = (segment.path, segment.digest, segment.tombstone)
            ids = known.get(key)
            if ids is None:
                ids = self._segment_ids(segment, request.texts, salt)
            if ids is None:
                missing.append(segment.digest)
                continue
            known[key] = ids
            parts.append(TokenPart(segment.path, segment.digest, segment.kind, ids, segment.weight))
        if not request.compaction and not missing:
            used = {(s.path, s.digest, s.tombstone) for s in request.segments}
            known = {key: ids for key, ids in known.items() if key in used}
        context.parts = known
        return list(dict.fromkeys(missing)) or TokenSequence.of(parts)

    def _salt(self, workspace: str) -> Salt:
        info = self._info
        kernels = kernel_set(self.reader.model.device)
        parts = (workspace, info.hash, info.dtype, info.device, info.quantization, kernels)
        return Salt(workspace, "\0".join(parts).encode("utf-8", "surrogatepass"))

    # --- state ------------------------------------------------------------------------------------------

    def _places(self, sequence: TokenSequence) -> tuple[set[int], set[int]]:
        """Where checkpoints of a context are kept: places where a pass ends, and places inside passes."""
        logged = [span.start for span in sequence.spans if span.kind == "log"]
        fixed = {logged[0] if logged else len(sequence)}
        most = self.store.state_budget // (2 * self.keeper.state_bytes * max(1, len(self._contexts)))
        chosen = context_places(sequence, max(most, 2), fixed)
        edges = fixed | (chosen & set(logged))
        return edges, chosen - edges

    def _write_texts(self, context: Context) -> None:
        """Tokens of all that base and log show. After a restart, a file may hold another text by then, and
        without the old one's tokens the sequence couldn't be laid out again."""
        if context.line is None or self.keeper.disk is None:
            return
        kinds = dict[str, list[tuple[str, str, TokenIds]]]()
        for span in context.sequence.spans:
            if span.digest in ("", _NO_TEXT):
                continue
            header = len(self._format.segment_header(span.path))
            ids = context.sequence.ids_between(span.start + header, span.end)
            kinds.setdefault(span.kind, []).append((span.path, span.digest, ids))
        for texts in kinds.values():  # apart: the base's stay the same for long
            self.keeper.disk.write_ids(context.line.salt, texts)

    def _note(self, cause: Cause, divergence: int, checkpoint: int, read: int, milliseconds: float) -> None:
        self._restores.append(Restore(cause, divergence, checkpoint, read, milliseconds))


def _cause_at(sequence: TokenSequence, compaction: bool) -> Callable[[int], Cause]:
    """Why the token at a position is read."""

    def cause(position: int) -> Cause:
        kind = sequence.span_at(position).kind
        return "compaction" if compaction else "base" if kind == "repository" else kind

    return cause


def build_engine(spec: ModelSpec) -> HybridEngine:
    """Load the model of `spec` and make it ready (the worker's default engine). Raises `ModelLoadError`."""
    torch.set_num_threads(thread_count(spec))
    engine = HybridEngine(*load_model(spec), spec)
    engine.reader.calibrate()
    return engine
