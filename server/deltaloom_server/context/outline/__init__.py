"""Outlines: the declarations of a source file with their docs, readable as source of the same language.

Invariant: an outline is a pure function of a name's suffix and a text, takes bounded time and memory whatever
the text is, and never raises; no grammar is loaded before the first text that needs it.
"""

from __future__ import annotations

from .languages import has_grammar, language_of

__all__ = ["MAX_BYTES", "has_grammar", "outline"]

MAX_BYTES = 1 << 20
"""Longer texts have no outline: they are data in a source file's clothes."""


def outline(path: str, text: str) -> str | None:
    """Signatures and first paragraphs of docs of `text`; None without a grammar or anything worth showing.

    Lines end in `\\n` whatever they end in there. An outline that would save nothing is None as well.
    """
    language = language_of(path)
    if language is None or len(text) > MAX_BYTES:
        return None
    source = text.replace("\r\n", "\n").replace("\r", "\n").encode("utf-8", "replace")
    if len(source) > MAX_BYTES:
        return None
    # Imported here: the server starts without tree-sitter, and most workspaces fit without outlines.
    from .parsing import parse
    from .walk import Outliner

    root = parse(language, source)
    if root is None:
        return None
    found = Outliner(language, source).outline(root)
    return found if found is not None and len(found) < len(text) else None
