"""`Session`: the only mutable state of one editor session.

Invariant: only synchronous code on the event loop changes it, so that between two awaits it is whole; what
asynchronous code works from is a frozen `Snapshot`. Documents outside every root never reach the context.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlparse

from .context.roots import Root, name_roots, shown_path
from .documents import Change, CursorText, DocumentSnapshot, TextDocument
from .errors import UnknownDocument
from .positions import PositionEncoding
from .settings import CompletionSettings, Settings, is_project_file, resolve

if TYPE_CHECKING:
    from .context.repository import RepositoryContext


@dataclass(frozen=True, slots=True)
class ClientFeatures:
    """What of the client's capabilities makes a difference here."""

    progress: bool = False
    configuration: bool = False
    inline_completion: bool = False
    markdown: bool = False
    """In what a completion item shows beside itself."""
    pull_diagnostics: bool = False
    diagnostic_refresh: bool = False
    resolves_edits: bool = False
    disabled_actions: bool = False
    document_changes: bool = False
    change_annotations: bool = False
    show_document: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A cursor in one version of a document, with all that a completion needs.

    `workspace` and `repository` are "" for a document outside every root: its context is the file alone.
    `path` is what the prompt shows. `line` and `character` are the editor's, clamped into the text.
    """

    document: DocumentSnapshot
    line: int
    character: int
    cursor: CursorText
    path: str
    workspace: str
    repository: str
    settings: CompletionSettings

    @property
    def uri(self) -> str:
        return self.document.uri

    @property
    def offset(self) -> int:
        """Code points before the cursor."""
        return len(self.cursor.prefix) + len(self.cursor.typed)


class Session:
    """Documents, settings, roots and the context of one editor session. `id` is opaque."""

    def __init__(self, session_id: str) -> None:
        self.id = session_id
        self.encoding = PositionEncoding.UTF16
        self.client = ClientFeatures()
        self.settings = Settings()
        self.hides: tuple[str, ...] = ()
        self.roots: tuple[Root, ...] = ()
        self.context: RepositoryContext | None = None
        self.documents: dict[str, TextDocument] = {}
        self.overrides: object = None
        """Settings that neither the editor nor a project file changes: the command line's."""
        self.isolated = False
        """No project file counts."""
        self._editor_settings: object = None
        self._owners: dict[str, str] = {}  # shown path -> the uri whose text counts
        self._dirty: str | None = None

    # -- roots and settings ------------------------------------------------------------------------------

    def configure(self, editor_settings: object, folders: Iterable[str]) -> tuple[str, ...]:
        """Take the editor's settings and the workspace folders; returns a sentence for each problem."""
        self._editor_settings = editor_settings
        self.roots = name_roots(folders)
        return self._resolve()

    def reconfigure(self, editor_settings: object = None) -> tuple[str, ...]:
        """Take the editor's new settings (None: keep them), and read the project files again."""
        if editor_settings is not None:
            self._editor_settings = editor_settings
        return self._resolve()

    def change_roots(self, folders: Iterable[str]) -> tuple[str, ...]:
        """Other workspace folders: the context begins anew."""
        self.roots = name_roots(folders)
        problems = self._resolve()
        self.begin_context()
        return problems

    def begin_context(self) -> None:
        """A new, empty context for the present roots and settings, with every open document in it."""
        from .context.repository import RepositoryContext

        self._owners.clear()
        self._dirty = None
        to_purge = self.context.take_purged() if self.context is not None else ()
        self.context = RepositoryContext(self.roots, self.settings.context) if self.roots else None
        if self.context is not None:
            self.context.still_to_purge(to_purge)
        for document in self.documents.values():
            self._enter(document)

    def is_project_file(self, absolute: str) -> bool:
        """Is this one of the files that a root's settings are read from?"""
        folder, name = os.path.split(absolute)
        return is_project_file(name) and any(folder in (root.folder, root.real) for root in self.roots)

    @property
    def workspace(self) -> str:
        """One key for the same folders in every session; "" without folders."""
        if not self.roots:
            return ""
        key = "\0".join(sorted(root.real for root in self.roots))
        return f"{blake2b(os.fsencode(key), digest_size=8).hexdigest()}/{self.repository}"

    @property
    def repository(self) -> str:
        """The name that the prompt shows: that of the folder, or of all of them."""
        return "+".join(root.name for root in self.roots)

    def _resolve(self) -> tuple[str, ...]:
        roots = [] if self.isolated else [Path(root.real) for root in self.roots]
        resolved = resolve(self._editor_settings, roots, self.overrides)
        self.settings = resolved.settings
        self.hides = resolved.hides
        return resolved.problems

    # -- documents ---------------------------------------------------------------------------------------

    def open_document(self, uri: str, language_id: str, version: int, text: str) -> None:
        """The editor owns this text from now on; a document opened twice has the newer text."""
        document = TextDocument(uri, text, language_id=language_id, version=version, encoding=self.encoding)
        self.publish_text()
        self.documents[uri] = document
        self._enter(document)

    def change_document(self, uri: str, version: int, changes: Sequence[Change]) -> None:
        """Apply one `didChange`. Raises UnknownDocument, InvalidPosition; the text is then as before."""
        document = self._document(uri)
        document.apply(changes, version)
        if self._dirty is not None and self._dirty != uri:
            self.publish_text()
        self._dirty = uri

    def close_document(self, uri: str) -> str | None:
        """The editor lets go of a document. Returns the shown path to settle from disk, if there is one."""
        self.publish_text()
        if self.documents.pop(uri, None) is None:
            return None
        path = self.shown_path(uri)
        return path if path is not None and self._owners.get(path) == uri else None

    def drop_document(self, uri: str) -> str | None:
        """Like `close_document`, for a document whose text can't be trusted: it isn't published again."""
        if self._dirty == uri:
            self._dirty = None
        return self.close_document(uri)

    def settle_closed(self, path: str, disk: object) -> bool:
        """The disk's content of a closed document has been read. False when it was opened again meanwhile."""
        uri = self._owners.get(path)
        if self.context is None or uri is None or uri in self.documents:
            return False
        self.publish_text()
        del self._owners[path]
        self.context.document_closed(path, disk)  # type: ignore[arg-type]
        return True

    def publish_text(self) -> None:
        """Bring the context up to date with the document that is being edited.

        Kept for when it is needed: joining a large text at every keystroke would cost more than the change.
        """
        uri, self._dirty = self._dirty, None
        if uri is None or self.context is None:
            return
        path = self.shown_path(uri)
        if path is not None and self._owners.get(path) == uri:
            self.context.document_changed(path, self.documents[uri].text)

    def shown_path(self, uri: str) -> str | None:
        """The path in the prompt, or None for a document outside every root."""
        absolute = file_path(uri)
        return shown_path(absolute, self.roots) if absolute is not None else None

    def snapshot(self, uri: str) -> DocumentSnapshot:
        """A document as it is. Raises UnknownDocument."""
        return self._document(uri).snapshot()

    def display_path(self, uri: str) -> str:
        """The path in the prompt, or the bare name of a document outside every root."""
        return self.shown_path(uri) or _bare_name(uri)

    def take_snapshot(self, uri: str, line: int, character: int) -> Snapshot:
        """What a completion at this position works from; makes the document the active one.

        Raises UnknownDocument, InvalidPosition.
        """
        document = self._document(uri).snapshot()
        cursor = document.at_cursor(line, character)
        place = document.position_at(document.offset_at(line, character))
        path = self.shown_path(uri)
        inside = self.context is not None and path is not None and self._owners.get(path) == uri
        # What may not stand in a context is completed by itself, and leaves no state behind.
        inside = inside and self.context is not None and path is not None and self.context.may_show(path)
        if inside:
            assert self.context is not None
            self.publish_text()
            self.context.activate(path)
        return Snapshot(
            document,
            place.line,
            place.character,
            cursor,
            path if inside and path is not None else _bare_name(uri),
            self.workspace if inside else "",
            self.repository if inside else "",
            self.settings.completion,
        )

    def _document(self, uri: str) -> TextDocument:
        if (document := self.documents.get(uri)) is None:
            raise UnknownDocument(f"{_bare_name(uri)} isn't open here; open it again.")
        return document

    def _enter(self, document: TextDocument) -> None:
        path = self.shown_path(document.uri)
        if path is not None and self.context is not None:
            self._owners[path] = document.uri
            self.context.document_opened(path, document.text)


def file_path(uri: str) -> str | None:
    """The absolute, normal path behind a `file:` URI; None for any other, or another machine's."""
    parts = urlparse(uri)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        return None
    path = unquote(parts.path)
    return os.path.normpath(path) if path.startswith("/") and "\0" not in path else None


def _bare_name(uri: str) -> str:
    """The last part of a URI's path, as a prompt may show it."""
    name = unquote(urlparse(uri).path).rstrip("/").rpartition("/")[2]
    return "".join(letter for letter in name if letter.isprintable()) or "untitled"
