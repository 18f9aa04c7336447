"""From a cursor to a suggestion: what both completion methods answer from.

Invariant: an answer is for the text it was asked on, or for one that has since been typed in agreement with
it; the newest request of a document wins, and an older one answers at once, with nothing and the reason.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from deltaloom_model.api import GenerateRequest, GenerateResult
from deltaloom_model.errors import DeltaloomModelError

from .completion.cache import Suggestion, SuggestionCache
from .completion.risk import Unknown, added_finding, is_suspicious, may_add_finding
from .completion.trigger import Ask, CursorLine, judge_cursor
from .completion.trim import trim
from .logs import get_logger
from .text_lines import with_newlines

if TYPE_CHECKING:
    from .language_server import DeltaloomServer
    from .session import Snapshot

_LINES_BELOW = 64
_AWAY = "The model isn't ready yet; suggestions come as soon as it is."
_SUPERSEDED = "A newer request for the same document took over."
_MOVED_ON = "The document changed while the model was answering."
_UNCHECKED = "The suggestion might add a security finding, and the file doesn't parse, so nobody can tell."
_NOTHING = "The model suggests nothing here."

_LOG = get_logger("completion")


@dataclass(frozen=True, slots=True)
class LastCompletion:
    """What a completion gave; with `source` "none", `reason` says why it gave nothing. Times in ms."""

    source: Literal["model", "cache", "none"]
    reason: str = ""
    milliseconds: float = 0.0
    result: GenerateResult | None = None

    def report(self) -> dict[str, Any]:
        """As `deltaloom/status` shows it: costs and reasons, never text."""
        report: dict[str, Any] = {
            "source": self.source,
            "reason": self.reason,
            "milliseconds": round(self.milliseconds, 1),
        }
        if (result := self.result) is not None:
            report |= {
                "new_tokens": result.new_tokens,
                "read": result.read,
                "context_tokens": result.context_tokens,
                "restored_at": result.restored_at,
                "repository_context": result.repository_context,
                "logits_digest": result.logits_digest,
                "mean_logprob": round(result.mean_logprob, 3),
                "first_token_milliseconds": round(result.first_token_milliseconds, 1),
            }
        return report


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where an answer is wanted. `automatic`: because of a keystroke, `explicit`: the person asked for it
    (an editor's completion list can't tell). `selected` is text that the editor would put in place of the
    `selected_from`..cursor part of the line (an entry chosen in its own list); the answer goes on from it."""

    uri: str
    line: int
    character: int
    automatic: bool = False
    explicit: bool = False
    selected: str | None = None
    selected_from: int = 0


@dataclass(slots=True)
class _Running:
    """A request under way; `superseded` once a newer one has taken over."""

    task: asyncio.Task[tuple[GenerateResult, int]]
    superseded: bool = field(default=False)


class _NoSuggestion(Exception):
    """Nothing is suggested, for this reason."""

    def __init__(self, reason: str, result: GenerateResult | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.result = result


class Suggester:
    """All suggestions of one session. All methods belong to the event loop."""

    def __init__(self, server: DeltaloomServer) -> None:
        self.last: LastCompletion | None = None
        self._server = server
        self._cache = SuggestionCache()
        self._running: dict[str, _Running] = {}

    def forget(self) -> None:
        """What was suggested before no longer counts."""
        self._cache.forget()

    async def suggest(self, cursor: Cursor) -> tuple[Snapshot, Suggestion] | None:
        """The suggestion at a cursor, with the text it was asked on; None where there is none.

        Raises UnknownDocument and InvalidPosition. Cancelling it stops the decoding at the next token.
        """
        began = time.perf_counter()
        # First of all: a request that fails or finds its answer in the cache is still the newest.
        self._supersede(cursor.uri)
        snapshot = self._server.session.take_snapshot(cursor.uri, cursor.line, cursor.character)
        line = _cursor_line(snapshot, cursor)
        head = snapshot.cursor.prefix + line.typed
        try:
            ask = judge_cursor(line, snapshot.settings, automatic=cursor.automatic)
            if isinstance(ask, str):
                raise _NoSuggestion(ask)
            suggestion = self._remembered(snapshot, head)
            if suggestion is not None:
                self._note(LastCompletion("cache", "", _since(began)))
                return snapshot, suggestion
            result, context = await self._ask_model(snapshot, line, ask, cursor)
            suggestion = replace(_shown(result, snapshot, line, head), context=context)
            await self._accept(snapshot, suggestion, result)
            if not self._still_fits(snapshot, suggestion):
                raise _NoSuggestion(_MOVED_ON, result)
        except _NoSuggestion as nothing:
            self._note(LastCompletion("none", nothing.reason, _since(began), nothing.result))
            return None
        self._note(LastCompletion("model", "", _since(began), result))
        return snapshot, suggestion

    def _remembered(self, snapshot: Snapshot, head: str) -> Suggestion | None:
        sync = self._server.sync
        if not snapshot.settings.reuse or (snapshot.workspace and sync is not None and not sync.is_current):
            return None
        return self._cache.find(snapshot.uri, head, snapshot.cursor.suffix, self._context)

    async def _accept(self, snapshot: Snapshot, suggestion: Suggestion, result: GenerateResult) -> None:
        """Kept even when the document has moved on: typing may have run into it."""
        if not suggestion.text:
            raise _NoSuggestion(result.reason or _NOTHING, result)
        await self._refuse_risk(snapshot, suggestion, result)
        self._cache.keep(suggestion)

    async def _refuse_risk(self, snapshot: Snapshot, suggestion: Suggestion, result: GenerateResult) -> None:
        """A suggestion that would add a security finding is withheld."""
        security = self._server.session.settings.security
        document, at = snapshot.document, snapshot.offset
        is_python = document.language_id == "python" or snapshot.path.endswith(".py")
        if snapshot.settings.risky == "allow" or not security.enabled or not is_python:
            return
        if not may_add_finding(suggestion.text):
            return
        before = document.text
        after = before[:at] + suggestion.text + before[at + suggestion.replaces :]
        service = self._server.security
        path = service.diagnosis.path_of(snapshot.uri, document.language_id)
        try:
            finding = await added_finding(
                before,
                after,
                snapshot.line,
                lambda text: service.inspector.quick(path, text),
                service.diagnosis.shown,
                service.diagnosis.inspection(snapshot.uri),
            )
        except Unknown:
            if is_suspicious(suggestion.text, document.line_text(snapshot.line)):
                raise _NoSuggestion(_UNCHECKED, result) from None
            return
        if finding is not None:
            raise _NoSuggestion(f"The model's suggestion would add {finding.rule}: {finding.message}", result)

    async def _ask_model(
        self, snapshot: Snapshot, line: CursorLine, ask: Ask, cursor: Cursor
    ) -> tuple[GenerateResult, int]:
        server = self._server
        server.ensure_started()
        client = server.client
        if client is None:
            raise _NoSuggestion(_AWAY)
        if client.state == "failed":
            if not cursor.explicit:
                raise _NoSuggestion(client.detail or _AWAY)
            await client.restart()  # the person asks: the model may be in place by now
        elif client.state != "ready" and cursor.automatic:
            server.in_background(_start(client))
            raise _NoSuggestion(client.detail or _AWAY)
        work = asyncio.get_running_loop().create_task(self._generate(client, snapshot, line, ask, cursor))
        running = self._running[cursor.uri] = _Running(work)
        try:
            return await work
        except asyncio.CancelledError:
            if running.superseded:
                raise _NoSuggestion(_SUPERSEDED) from None
            work.cancel()
            self._note(LastCompletion("none", "The editor cancelled the request."))
            raise
        except DeltaloomModelError as error:
            raise _NoSuggestion(str(error)) from None
        finally:
            if self._running.get(cursor.uri) is running:
                del self._running[cursor.uri]

    async def _generate(
        self, client: Any, snapshot: Snapshot, line: CursorLine, ask: Ask, cursor: Cursor
    ) -> tuple[GenerateResult, int]:
        sync = self._server.sync
        if sync is not None and snapshot.workspace:
            await sync.flush()
        session, context = self._server.session, self._context
        request = GenerateRequest(
            session.id,
            snapshot.workspace or f"{session.id}/alone",
            snapshot.repository or snapshot.path,
            session.context.revision if session.context is not None else 0,
            snapshot.path,
            with_newlines(snapshot.cursor.prefix),
            line.typed,
            with_newlines(snapshot.cursor.suffix),
            ask.max_new_tokens,
            ask.stop,
            explicit=cursor.explicit,
        )
        result: GenerateResult = await client.generate(request)
        if sync is not None and snapshot.workspace and not result.repository_context:
            sync.note_lost()
        return result, context

    @property
    def _context(self) -> int:
        """Tells the contexts apart: what was asked on another one isn't an answer on this one."""
        sync = self._server.sync
        return sync.held_number if sync is not None else 0

    def _supersede(self, uri: str) -> None:
        running = self._running.pop(uri, None)
        if running is not None and not running.task.done():
            running.superseded = True
            running.task.cancel()

    def _still_fits(self, snapshot: Snapshot, suggestion: Suggestion) -> bool:
        """Is the document as it was, or was only typed since what the suggestion says?"""
        document = self._server.session.documents.get(snapshot.uri)
        if document is None:
            return False
        if document.version == snapshot.document.version:
            return True
        # Compared as whole texts: a change elsewhere in the document must not pass for typing.
        old, new = snapshot.document.text, document.text
        typed = len(new) - len(old)
        at = snapshot.offset
        return (
            0 <= typed < len(suggestion.text)
            and new[at : at + typed] == suggestion.text[:typed]
            and new[:at] == old[:at]
            and new[at + typed :] == old[at:]
        )

    def _note(self, completion: LastCompletion) -> None:
        self.last = completion
        result = completion.result
        _LOG.debug(
            "%s in %.0f ms, read %s; %s",
            completion.source,
            completion.milliseconds,
            result.read if result else {},
            completion.reason,
        )
        self._server.report_soon()


async def _start(client: Any) -> None:
    try:
        await client.start()
    except DeltaloomModelError as error:
        _LOG.info("the model worker can't be started: %s", error)


def _cursor_line(snapshot: Snapshot, cursor: Cursor) -> CursorLine:
    document = snapshot.document
    rest = document.line_text(snapshot.line)[len(snapshot.cursor.typed) :]
    typed = snapshot.cursor.typed
    if cursor.selected is not None:
        start = document.offset_at(snapshot.line, cursor.selected_from) - len(snapshot.cursor.prefix)
        typed = typed[: max(0, start)] + cursor.selected
    below = (document.line_text(number) for number in _numbers_below(snapshot))
    return CursorLine(typed, rest, next((text for text in below if text.strip()), ""))


def _numbers_below(snapshot: Snapshot) -> range:
    first = snapshot.line + 1
    return range(first, min(first + _LINES_BELOW, snapshot.document.line_count))


def _shown(result: GenerateResult, snapshot: Snapshot, line: CursorLine, head: str) -> Suggestion:
    """The model's text as a suggestion, in the document's own line ends."""
    below = [snapshot.document.line_text(number) for number in _numbers_below(snapshot)]
    trimmed = trim(result.text, line, below)
    text = trimmed.text.replace("\n", snapshot.document.line_end)
    return Suggestion(snapshot.uri, head, snapshot.cursor.suffix, text, trimmed.replaces)


def _since(began: float) -> float:
    return (time.perf_counter() - began) * 1000
