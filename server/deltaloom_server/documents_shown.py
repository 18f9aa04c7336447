"""Showing a text of our own to the person: in an editor's window, else as a message.

Invariant: what is shown stands in a private file in the user's cache folder, never in the workspace, and the
newest few are all that is kept.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs
from lsprotocol import types

if TYPE_CHECKING:
    from .language_server import DeltaloomServer

_KEPT = 20
_MESSAGE_CHARACTERS = 2000


def show_markdown(ls: DeltaloomServer, title: str, text: str) -> None:
    """Open `text` (Markdown) beside what the person works on, or say it in a message."""
    if not ls.session.client.show_document:
        ls.notices.say(text[:_MESSAGE_CHARACTERS])
        return
    path = _write(title, text)
    ls.in_background(ls.window_show_document_async(types.ShowDocumentParams(path.as_uri(), take_focus=False)))


def _write(title: str, text: str) -> Path:
    folder = platformdirs.user_cache_path("deltaloom") / "shown"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    stem = "".join(letter if letter.isalnum() else "-" for letter in title.lower())[:40].strip("-")
    path = folder / f"{stem or 'deltaloom'}-{secrets.token_hex(4)}.md"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
    old = sorted(folder.glob("*.md"), key=lambda one: one.stat().st_mtime)[:-_KEPT]
    for one in old:
        one.unlink(missing_ok=True)
    return path
