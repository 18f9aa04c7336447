"""The torch-free surface of the model package: what crosses the socket, and the `Engine` protocol.

Invariant: the server knows text and positions, the model knows tokens and tensors. Everything here is
text, paths, digests and counts; nothing here imports torch, pygls or lsprotocol.

Every struct is a msgspec struct, so that it is validated when it is decoded on either side.
"""

from __future__ import annotations

from collections.abc import Generator
from hashlib import blake2b
from typing import Final, Literal, Protocol

import msgspec

PROTOCOL_VERSION = 3
"""Raised with every incompatible change of a struct in this module; the handshake compares it."""

Cause = Literal["base", "log", "anchor", "typed", "decode", "compaction"]
"""Why a token entered layer 0 of the model (the *counted* invariant)."""

CAUSES: tuple[Cause, ...] = ("base", "log", "anchor", "typed", "decode", "compaction")

FinishReason = Literal["stop", "length", "cancelled", "unavailable"]

Role = Literal["system", "user", "assistant", "tool"]

Ability = Literal["fim", "instruct", "tools"]
"""What a model was taught: fill in the middle, follow instructions, call tools in Qwen's XML form."""


def text_digest(text: str) -> str:
    """Content digest of a segment's text: BLAKE2b-128 of its UTF-8 bytes, in hex (32 characters).

    Lone surrogates (possible in an editor's buffer) are encoded with `surrogatepass`.
    """
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


class Segment(msgspec.Struct, frozen=True):
    """One file as it stands in the context. Its tokens are `<|file_sep|>path\\n` + text, tokenized alone.

    `path` is what the prompt shows: relative to the workspace root, with forward slashes.
    `digest` is `text_digest(text)`. `kind` is the region it stands in; a tombstone says that `path` is gone
    (its text is empty and its digest is that of the empty text). `weight` says how likely it is, beside the
    others, to be the first that a later context no longer has: checkpoints are placed by it, nothing else is.
    """

    path: str
    digest: str
    kind: Literal["base", "log"] = "base"
    tombstone: bool = False
    weight: float = 1.0


class CountRequest(msgspec.Struct, frozen=True, tag="count"):
    """How many tokens do these segments take? The worker keeps their tokens, so a later sync needs no text.

    `texts` maps digest to text for the digests the worker may lack.
    """

    segments: list[Segment]
    texts: dict[str, str] = {}


class CountResult(msgspec.Struct, frozen=True, tag="count_result"):
    """`tokens[i]` belongs to `segments[i]`, header included; -1 where the worker lacks the text."""

    tokens: list[int]


class SyncRequest(msgspec.Struct, frozen=True, tag="sync"):
    """Bring the kept state of (session, workspace) to exactly these segments, in this order. Idempotent.

    `session` names one editor session (its log is its own), `workspace` one workspace; both are opaque.
    `repository` is the name shown after `<|repo_name|>`. `revision` only ever rises within a session: a
    newer sync of the same session and workspace supersedes one that is still being read.

    With `compaction` the state is only prepared, beside the one that is held: the context stays what it was,
    completions go on from it, other syncs neither wait for this one nor supersede it, and what has been read
    by then is kept if it is broken off. An ordinary sync to the same segments then switches over and reads
    nothing. A newer compaction of the same session and workspace supersedes an older one.
    """

    session: str
    workspace: str
    repository: str
    revision: int
    segments: list[Segment]
    texts: dict[str, str] = {}
    compaction: bool = False


class SyncProgress(msgspec.Struct, frozen=True, tag="sync_progress"):
    """Sent between chunks: positions of the context in place so far, out of `total` (both in tokens)."""

    done: int
    total: int


class SyncResult(msgspec.Struct, frozen=True, tag="sync_result"):
    """What a sync did. With `missing` non-empty nothing was done: send those digests' texts and ask again.

    `superseded` says that a newer revision took over; the state then belongs to that one.
    `tokens` is the length of the held context, `restored_at` the checkpoint's own position,
    `divergence` the first token where the new context differs from what was held, `read` the tokens that
    went through the model.
    """

    revision: int
    missing: list[str] = []
    superseded: bool = False
    tokens: int = 0
    divergence: int = 0
    restored_at: int = 0
    read: int = 0
    milliseconds: float = 0.0


class PurgeRequest(msgspec.Struct, frozen=True, tag="purge"):
    """Forget all state of `workspace` that has read one of these files, every session's, on disk as well.

    For files that may no longer be shown (ignored now, or secret). The contexts that held them read anew at
    their next sync; a completion before that one answers from the open file alone.
    """

    workspace: str
    paths: list[str]


class PurgeResult(msgspec.Struct, frozen=True, tag="purge_result"):
    """How many checkpoints (in memory) and cache files (on disk) were dropped."""

    checkpoints: int = 0
    files: int = 0


class StopRules(msgspec.Struct, frozen=True):
    """Where generation ends, beside the model's own end tokens. All are about the text produced.

    `max_lines`: at most this many lines (1 ends at the first newline; 0: no such rule). `block_indent`: with
    several lines, end before the first non-blank line indented by fewer columns than this (None: no such
    rule).
    `next_line`: end before a line equal to this one (the first non-blank line after the cursor), so that
    what follows is not repeated; "" for no such rule. `blank_lines`: once anything non-blank has been
    produced, end before a run of this many blank lines (1 ends with the paragraph; 0: no such rule).
    `repeats`: end before a line that says the same as the `repeats` lines before it (0: no such rule).
    """

    max_lines: int = 1
    block_indent: int | None = None
    next_line: str = ""
    blank_lines: int = 0
    repeats: int = 0


class Message(msgspec.Struct, frozen=True):
    """One turn of a conversation. No text becomes a control token of the model, whatever it says.

    "assistant" is what the model has answered, sent back by the caller, "tool" the result of a tool that it
    called. `paths` are the shown paths of files whose text stands in the message: what has read it is purged
    with them.
    """

    role: Role
    text: str
    paths: list[str] = []


class GenerateRequest(msgspec.Struct, frozen=True, tag="generate"):
    """Complete `path` at a cursor, on top of the context that (session, workspace) holds.

    `prefix` is the file's text up to the start of the cursor's line, `typed` that line up to the cursor,
    `suffix` the text from the cursor on; the engine bounds prefix and suffix in tokens. The answer is what
    comes after `typed`. `explicit`: the person asked for it, so that the answer begins with something
    visible even where the model would rather end.

    With `messages` the model is asked in words instead: behind the context stands a live copy of `path`
    (prefix, typed and suffix; "" for none), then the conversation, and the text is the assistant's next turn.
    What was read for one turn is kept for the next, which begins with the same messages. `stop` left at its
    default then means no rule. A model without "instruct" among its abilities answers "unavailable".
    """

    session: str
    workspace: str
    repository: str
    revision: int
    path: str
    prefix: str
    typed: str
    suffix: str
    max_new_tokens: int = 64
    stop: StopRules = StopRules()
    temperature: float = 0.0
    seed: int = 0
    explicit: bool = False
    messages: list[Message] = []


class GenerateUpdate(msgspec.Struct, frozen=True, tag="generate_update"):
    """Text produced since the last update (never part of a character)."""

    text: str


class TopToken(msgspec.Struct, frozen=True):
    """One candidate for the first new token, with its natural log-probability."""

    text: str
    logprob: float


class GenerateResult(msgspec.Struct, frozen=True, tag="generate_result"):
    """The answer, and what it cost.

    `read` counts the tokens that entered layer 0 for this request, by cause, before and after the first
    new token. `logits_digest` is a BLAKE2b digest of the first next-token logits (fp32 bytes):
    equal text and context give an equal digest, so a change that did not reach the model shows.
    `mean_logprob` is over the new tokens (0.0 when there are none); they include those with which a word
    broken off at the cursor is produced again. `reason` says in one sentence why `text` is empty, when it
    is and that isn't the model's own choice. `repository_context` is False when the workspace's context was
    not ready and only the open file was read.
    """

    revision: int
    text: str
    finish: FinishReason
    reason: str = ""
    new_tokens: int = 0
    read: dict[str, int] = {}
    context_tokens: int = 0
    restored_at: int = 0
    repository_context: bool = True
    logits_digest: str = ""
    top: list[TopToken] = []
    mean_logprob: float = 0.0
    first_token_milliseconds: float = 0.0
    milliseconds: float = 0.0


class CancelRequest(msgspec.Struct, frozen=True, tag="cancel"):
    """Stop the request with this id at the next token or chunk; it answers at once (`cancelled`)."""

    request_id: int


class StatusRequest(msgspec.Struct, frozen=True, tag="status"):
    """Ask for an `EngineStatus`; answered at once, also while the model is being loaded or is busy."""


class Restore(msgspec.Struct, frozen=True):
    """One restore, as the *counted* invariant asks: where the texts diverged, where state was taken up."""

    cause: Cause
    divergence: int
    checkpoint: int
    read: int
    milliseconds: float


class ModelInfo(msgspec.Struct, frozen=True):
    """The loaded model. `hash` is over config, tokenizer and weights; `context_limit` the trained length.

    `abilities` says what it can be asked; "tools" never comes without "instruct".
    """

    name: str
    hash: str
    architecture: str = ""
    parameters: int = 0
    dtype: str = ""
    device: str = ""
    quantization: str = ""
    context_limit: int = 0
    abilities: tuple[Ability, ...] = ("fim",)


class ContextInfo(msgspec.Struct, frozen=True):
    """One held context: its length, and how far a sync in progress has come (done == tokens when idle)."""

    session: str
    workspace: str
    revision: int
    tokens: int
    done: int
    segments: int


class TierInfo(msgspec.Struct, frozen=True):
    """One place where state is kept. `budget_bytes` 0: not in use. `hits`: checkpoints taken up from it.

    `refused` counts what was found damaged, cut off or not ours and was removed; `refusal` says why, lastly.
    """

    name: Literal["device", "host", "disk"]
    budget_bytes: int
    used_bytes: int
    checkpoints: int
    hits: int = 0
    refused: int = 0
    refusal: str = ""


class EngineStatus(msgspec.Struct, frozen=True, tag="engine_status"):
    """What the worker is, holds and has done since it started. Sizes are in bytes."""

    state: Literal["loading", "ready", "failed"]
    detail: str = ""
    model: ModelInfo | None = None
    pid: int = 0
    resident_bytes: int = 0
    weight_bytes: int = 0
    kv_bytes: int = 0
    checkpoint_bytes: int = 0
    checkpoints: int = 0
    counters: dict[str, int] = {}
    contexts: list[ContextInfo] = []
    restores: list[Restore] = []
    tiers: list[TierInfo] = []


class ErrorReply(msgspec.Struct, frozen=True, tag="error"):
    """A request failed: one sentence for the user. The connection and all other requests go on."""

    message: str


class ModelSpec(msgspec.Struct, frozen=True):
    """Which model to load and how. `path` is "nano" (the embedded default) or a local model folder.

    `threads` 0 means: all cores. `max_tokens` 0 means: the model's trained length. The budgets are in bytes:
    `checkpoint_bytes` and `kv_bytes` where the model runs, `host_bytes` in pinned memory beside a GPU,
    `disk_bytes` in `cache_folder` ("": the user's cache folder); 0 for one of the last two turns it off.
    """

    path: str = "nano"
    device: str = "auto"
    dtype: str = "auto"
    threads: int = 0
    max_tokens: int = 0
    checkpoint_bytes: int = 1 << 30
    kv_bytes: int = 4 << 30
    host_bytes: int = 0
    disk_bytes: int = 0
    cache_folder: str = ""


class Decoding:
    """What `Engine.generate` yields once the prompt has been read: from here on, steps are new tokens."""


DECODING: Final = Decoding()

SyncSteps = Generator[SyncProgress | None, None, SyncResult]
GenerateSteps = Generator[GenerateUpdate | Decoding | None, None, GenerateResult]


class Engine(Protocol):
    """What the worker serves. One thread drives it; long calls are generators that yield between steps.

    `sync` and `generate` are *steps* generators: each `next()` does one bounded piece of work (one prefill
    chunk of about 50 ms, or one decoded token) and yields a progress struct or None; the value returned by
    the generator is the result. The scheduler interleaves them and closes the ones no longer wanted:
    closing at any yield must leave kept state exact.
    """

    @property
    def model(self) -> ModelInfo: ...

    def count(self, request: CountRequest) -> CountResult: ...

    def sync(self, request: SyncRequest) -> SyncSteps: ...

    def generate(self, request: GenerateRequest) -> GenerateSteps: ...

    def purge(self, request: PurgeRequest) -> PurgeResult: ...

    def status(self) -> EngineStatus: ...

    def idle(self) -> None:
        """Nothing has arrived for a second: time to write down what is worth keeping; short, and next to
        nothing where that has been done. Called some times in a row."""
        ...

    def close(self) -> None:
        """The worker ends: write down what isn't yet, within a second or two."""
        ...

    def forget(self, session: str) -> None:
        """Drop the contexts of a session that has gone (its connection closed)."""
        ...
