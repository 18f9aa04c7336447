"""An editor without a screen: opens, changes and saves files of a workspace through a real server.

Invariant: what it shows the server is what an editor would: versions rise, positions are in the negotiated
encoding, and a file on disk changes only when it is saved.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from deltaloom_server.cli.lsp_client import Json, LspConversation
from deltaloom_server.cli.target import encoded_length, split_lines
from deltaloom_server.security.languages import language_id


@dataclass(frozen=True, slots=True)
class Suggestion:
    """The first item of an answer ("" when there was none) and how long it took, seen from outside."""

    text: str
    milliseconds: float


class HeadlessEditor:
    """Open documents by path. All positions count from 0, columns in characters."""

    def __init__(self, client: LspConversation) -> None:
        self._client = client
        self._texts: dict[Path, str] = {}
        self._versions: dict[Path, int] = {}

    def open(self, path: Path, text: str | None = None) -> None:
        """Open a file, with its text on disk unless another is given."""
        text = path.read_bytes().decode("utf-8") if text is None else text
        self._texts[path], self._versions[path] = text, 1
        item = {
            "uri": path.as_uri(),
            "languageId": language_id(path.name),
            "version": 1,
            "text": text,
        }
        self._client.notify("textDocument/didOpen", {"textDocument": item})

    def version(self, path: Path) -> int:
        """The version of an open file."""
        return self._versions[path]

    def text(self, path: Path) -> str:
        """The text of an open file."""
        return self._texts[path]

    def insert(self, path: Path, line: int, column: int, text: str) -> None:
        """Insert text at a position of an open file, as one incremental change."""
        at = self._offset(path, line, column)
        old = self._texts[path]
        self._change(path, self._range(path, line, column), text)
        self._texts[path] = old[:at] + text + old[at:]

    def replace_all(self, path: Path, text: str) -> None:
        """Give an open file a new text as a whole."""
        self._change(path, None, text)
        self._texts[path] = text

    def change_to(self, path: Path, text: str) -> None:
        """Give an open file a new text, as one incremental change of the part that differs."""
        old = self._texts[path]
        start = _shared_length(old, text)
        end = _shared_length(old[start:][::-1], text[start:][::-1])
        # Never between the two characters of a CRLF: no position is there.
        start -= old[:start].endswith("\r")
        end -= 1 if end and old[len(old) - end :].startswith("\n") and "\r" in old else 0
        span = {"start": self._place(path, old[:start]), "end": self._place(path, old[: len(old) - end])}
        self._change(path, span, text[start : len(text) - end])
        self._texts[path] = text

    def save(self, path: Path) -> None:
        """Write an open file to disk and say so."""
        path.write_bytes(self._texts[path].encode("utf-8"))
        self._client.notify("textDocument/didSave", {"textDocument": {"uri": path.as_uri()}})

    def is_open(self, path: Path) -> bool:
        """Is this file open here?"""
        return path in self._texts

    def tell_changed(self, paths: Iterable[Path]) -> None:
        """Say that these files changed on disk, as an editor that watches them does."""
        changes = [{"uri": path.as_uri(), "type": 2} for path in paths]
        self._client.notify("workspace/didChangeWatchedFiles", {"changes": changes})

    def close(self, path: Path) -> None:
        """Close an open file."""
        del self._texts[path], self._versions[path]
        self._client.notify("textDocument/didClose", {"textDocument": {"uri": path.as_uri()}})

    async def ghost_text(self, path: Path, line: int, column: int, *, automatic: bool = False) -> Suggestion:
        """Ask for the suggestion at a cursor, as if the person had asked for it (or, `automatic`, typed)."""
        params = {
            "textDocument": {"uri": path.as_uri()},
            "position": self._position(path, line, column),
            "context": {"triggerKind": 2 if automatic else 1},  # Automatic, Invoked
        }
        started = time.perf_counter()
        answer = await self._client.request("textDocument/inlineCompletion", params)
        milliseconds = (time.perf_counter() - started) * 1000
        return Suggestion(_first_text(answer), milliseconds)

    def _change(self, path: Path, span: Json, text: str) -> None:
        self._versions[path] += 1
        change = {"text": text} if span is None else {"range": span, "text": text}
        document = {"uri": path.as_uri(), "version": self._versions[path]}
        self._client.notify("textDocument/didChange", {"textDocument": document, "contentChanges": [change]})

    def _range(self, path: Path, line: int, column: int) -> Json:
        position = self._position(path, line, column)
        return {"start": position, "end": position}

    def _position(self, path: Path, line: int, column: int) -> Json:
        before = split_lines(self._texts[path])[line][:column]
        return {"line": line, "character": encoded_length(before, self._client.position_encoding)}

    def _place(self, path: Path, before: str) -> Json:
        lines = split_lines(before)
        return self._position(path, len(lines) - 1, len(lines[-1]))

    def _offset(self, path: Path, line: int, column: int) -> int:
        text, offset = self._texts[path], 0
        for _ in range(line):
            ends = [at for at in (text.find("\n", offset), text.find("\r", offset)) if at >= 0]
            end = min(ends)
            offset = end + (2 if text.startswith("\r\n", end) else 1)
        return offset + column


def _shared_length(one: str, other: str) -> int:
    """How many characters two texts have in common at their beginning."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (left, right) in pairs if left != right), min(len(one), len(other)))


def _first_text(answer: Json) -> str:
    """An answer is a list of items, or an object that holds one, or null."""
    items = answer.get("items", []) if isinstance(answer, dict) else answer or []
    if not items:
        return ""
    text = items[0]["insertText"]
    return str(text["value"] if isinstance(text, dict) else text)
