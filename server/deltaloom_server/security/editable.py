"""Which documents are never edited, whatever a finding or a model says of them.

Invariant: a document is judged by where it really lies: links are followed first, and what is outside every
workspace folder, or belongs to version control, an editor or a build, is refused in one sentence.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from urllib.parse import urlsplit

from deltaloom_server.context.roots import Root, relative_below
from deltaloom_server.session import file_path


def refuse_document(uri: str, roots: Sequence[Root]) -> str | None:
    """Why this document isn't edited; None where it may be. Looks at links on disk, reads nothing."""
    # Only here: the gate is the analysis process's, and large.
    from deltaloom_server.security.gate.paths import refuse_path

    scheme = urlsplit(uri).scheme
    if scheme == "untitled":
        return None
    path = file_path(uri)
    if path is None:
        return (
            f"Only files on this machine are edited, not a document of the kind {scheme[:20] or 'unknown'}."
        )
    real = os.path.realpath(path)
    inside = [relative for root in roots if (relative := relative_below(real, root.real)) is not None]
    if roots and not inside:
        return f"{os.path.basename(path)} lies outside the workspace, so it is never edited."
    # The shortest is that of the innermost folder: what stands above it is where the person put it.
    return refuse_path(min(inside, key=len) if inside else real.lstrip(os.sep))
