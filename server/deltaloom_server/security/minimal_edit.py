"""Edits of a text as the smallest LSP edits that say the same.

Invariant: applying the LSP edits gives exactly what `apply_edits` gives; no edit begins or ends inside a line
end; an edit is of one version of the document wherever the client can say so.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from lsprotocol import types

from deltaloom_server.context.roots import absolute_path
from deltaloom_server.documents import DocumentSnapshot
from deltaloom_server.errors import DeltaloomError
from deltaloom_server.security.proposal import Edit

if TYPE_CHECKING:
    from deltaloom_server.actions import NewFile, Outcome
    from deltaloom_server.session import Session

_ANNOTATION = "deltaloom"


def workspace_edit(
    document: DocumentSnapshot, outcome: Outcome, session: Session
) -> types.WorkspaceEdit | None:
    """What an action is to do, in the form that the client can take; None for nothing.

    Where the client shows annotations, the edit says what verified it, and an unsafe one asks first.
    """
    edits = to_text_edits(document, outcome.edits)
    if not edits and outcome.new_file is None:
        return None
    client = session.client
    if not client.document_changes:
        if outcome.new_file is not None:
            raise DeltaloomError("This editor can't create a file on behalf of a server; create it first.")
        return types.WorkspaceEdit(changes={document.uri: edits})
    annotation = _annotation(outcome) if client.change_annotations else None
    changes: list[types.TextDocumentEdit | types.CreateFile] = []
    if edits:
        changes.append(_versioned(document.uri, document.version, edits, annotated=annotation is not None))
    if outcome.new_file is not None:
        changes += _creation(outcome.new_file, session)
    return types.WorkspaceEdit(
        document_changes=changes,
        change_annotations={_ANNOTATION: annotation} if annotation is not None and edits else None,
    )


def to_text_edits(document: DocumentSnapshot, edits: Iterable[Edit]) -> list[types.TextEdit]:
    """The edits in the client's positions, without what they share with the text at their two ends."""
    made = []
    for edit in sorted(edits):
        start, end, text = _trimmed(document.text, edit)
        if start == end and not text:
            continue
        span = types.Range(document.position_at(start), document.position_at(end))
        made.append(types.TextEdit(span, text))
    return made


def _annotation(outcome: Outcome) -> types.ChangeAnnotation:
    said = ". ".join(part for part in (outcome.label, outcome.note) if part)
    return types.ChangeAnnotation(
        label=outcome.title, needs_confirmation=outcome.unsafe or None, description=said or None
    )


def _versioned(
    uri: str, version: int | None, edits: list[types.TextEdit], *, annotated: bool = False
) -> types.TextDocumentEdit:
    document = types.OptionalVersionedTextDocumentIdentifier(uri=uri, version=version)
    if not annotated:
        return types.TextDocumentEdit(text_document=document, edits=list(edits))
    noted = [types.AnnotatedTextEdit(_ANNOTATION, edit.range, edit.new_text) for edit in edits]
    return types.TextDocumentEdit(text_document=document, edits=list(noted))


def _creation(file: NewFile, session: Session) -> list[types.TextDocumentEdit | types.CreateFile]:
    """A file that doesn't exist yet, inside the workspace. Raises DeltaloomError."""
    absolute = absolute_path(file.path, session.roots)
    if absolute is None or os.path.lexists(absolute) or not _lies_inside(absolute, session):
        raise DeltaloomError(
            f"{file.path} exists already or lies outside the workspace; choose another name."
        )
    uri = Path(absolute).as_uri()
    start = types.Range(types.Position(0, 0), types.Position(0, 0))
    options = types.CreateFileOptions(overwrite=False, ignore_if_exists=False)
    return [
        types.CreateFile(uri=uri, options=options),
        _versioned(uri, None, [types.TextEdit(start, file.text)]),
    ]


def _lies_inside(absolute: str, session: Session) -> bool:
    """No ".." and no link on the way leads out of the workspace."""
    folder = os.path.realpath(os.path.dirname(absolute))
    return any(
        folder == root.real or folder.startswith(root.real.rstrip("/") + "/") for root in session.roots
    )


def _trimmed(text: str, edit: Edit) -> tuple[int, int, str]:
    start, end, new = edit.start, edit.end, edit.text
    while start < end and new and text[start] == new[0]:
        start, new = start + 1, new[1:]
    while start < end and new and text[end - 1] == new[-1]:
        end, new = end - 1, new[:-1]
    if _splits_line_end(text, start) or _splits_line_end(text, end):
        return edit.start, edit.end, edit.text
    return start, end, new


def _splits_line_end(text: str, at: int) -> bool:
    return 0 < at < len(text) and text[at - 1] == "\r" and text[at] == "\n"
