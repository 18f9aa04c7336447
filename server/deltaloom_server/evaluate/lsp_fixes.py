"""Offers from a real language server process, asked as an editor asks.

Invariant: the way is diagnostics → code action → resolve → the edits of the answer; nothing reaches past the
protocol but the sources that a column allows.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from deltaloom_server.cli.editor import HeadlessEditor
from deltaloom_server.cli.lsp_client import Json, LspClient, ServerFailed, start_server
from deltaloom_server.documents import TextDocument
from deltaloom_server.evaluate.case import Case
from deltaloom_server.evaluate.fix_source import Answer, Column, Offer
from deltaloom_server.positions import PositionEncoding, split_lines
from deltaloom_server.security.proposal import Edit, apply_edits

_SOURCES: dict[Column, list[str]] = {
    "codemods": ["codemod"],
    "model": ["model"],
    "both": ["codemod", "model"],
}


class LspFixes:
    """Starts a server for each case, so that no case is context of another. `model`: a local folder."""

    def __init__(self, model: Path | None = None) -> None:
        self._model = model

    async def ask(self, workspace: Path, case: Case, column: Column) -> Answer:
        """See `FixSource.ask`. Raises ServerFailed."""
        sources = _SOURCES[column]
        security = {"severity": "low", "confidence": "low", "model_fixes": "model" in sources}
        options: dict[str, Json] = {"security": security}
        if self._model is not None:
            options["model"] = {"path": str(self._model)}
        path = workspace / case.file
        async with start_server([workspace], options) as client:
            editor = HeadlessEditor(client)
            editor.open(path)
            text = editor.text(path)
            report = await client.request("textDocument/diagnostic", {"textDocument": {"uri": path.as_uri()}})
            diagnostic = _the_one(report.get("items") or [], case, text)
            if diagnostic is None:
                return Answer(False, note=f"{case.rule} was not reported.")
            return await _first_offer(client, workspace, path, diagnostic, sources)


async def _first_offer(
    client: LspClient, workspace: Path, path: Path, diagnostic: Json, sources: list[str]
) -> Answer:
    actions = await client.request(
        "textDocument/codeAction",
        {
            "textDocument": {"uri": path.as_uri()},
            "range": diagnostic["range"],
            "context": {"diagnostics": [diagnostic], "only": ["quickfix"]},
        },
    )
    note = "No code action was offered."
    for action in actions or []:
        if not _fixes(action, diagnostic):
            continue
        if isinstance(action.get("data"), dict):
            action = {**action, "data": {**action["data"], "sources": sources}}
        try:
            resolved = await client.request("codeAction/resolve", action)
        except ServerFailed as error:
            note = str(error)
            continue
        if edit := resolved.get("edit"):
            files = _new_texts(edit, workspace, client.position_encoding)
            told = (resolved.get("data") or {}).get("fix") or {}
            title = str(told.get("title") or resolved["title"])
            return Answer(True, Offer(title, files, str(told.get("label", ""))))
    return Answer(True, note=note)


def _the_one(diagnostics: list[Json], case: Case, text: str) -> Json:
    """The case's finding among a file's diagnostics."""
    lines = split_lines(text)
    for diagnostic in sorted(diagnostics, key=lambda one: one["range"]["start"]["line"]):
        start, end = (diagnostic["range"][side]["line"] for side in ("start", "end"))
        if diagnostic.get("code") == case.rule and case.line in "".join(lines[start : end + 1]):
            return diagnostic
    return None


def _fixes(action: Json, diagnostic: Json) -> bool:
    """Is it a fix of this very finding (and not a suppression, an explanation or another's fix)?"""
    return (
        action.get("kind") == "quickfix"
        and not action.get("disabled")
        and any(
            one.get("code") == diagnostic.get("code") and one.get("range") == diagnostic["range"]
            for one in action.get("diagnostics") or []
        )
    )


def _new_texts(edit: Json, workspace: Path, encoding: str) -> dict[str, str]:
    """Every changed file's whole new text, by its path in the workspace."""
    files: dict[str, str] = {}
    for uri, edits in _changes(edit):
        path = Path(unquote(urlsplit(uri).path))
        name = path.relative_to(workspace).as_posix()
        text = files.get(name) or path.read_bytes().decode("utf-8")
        files[name] = _edited(text, edits, encoding)
    return files


def _changes(edit: Json) -> Iterator[tuple[str, list[Any]]]:
    if changes := edit.get("documentChanges"):
        for change in changes:
            if "textDocument" not in change:
                raise ServerFailed("A fix creates, renames or deletes a file, which no fix may.")
            yield change["textDocument"]["uri"], change["edits"]
    else:
        yield from (edit.get("changes") or {}).items()


def _edited(text: str, edits: list[Json], encoding: str) -> str:
    document = TextDocument("", text, encoding=PositionEncoding(encoding)).snapshot()

    def offset(position: Json) -> int:
        return document.offset_at(int(position["line"]), int(position["character"]))

    return apply_edits(
        text,
        (
            Edit(offset(one["range"]["start"]), offset(one["range"]["end"]), str(one["newText"]))
            for one in edits
        ),
    )
