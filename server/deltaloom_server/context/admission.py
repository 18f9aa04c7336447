"""Whether a text may stand in a context: the rule for what an editor or the disk brings after a scan.

Invariant: pure functions; a path that a scan has left out for good is never let in by its text.
"""

from __future__ import annotations

from collections.abc import Mapping

from .reading import judge_text
from .reasons import FORBIDDEN, Reason, reason_of_folders
from .secrets import has_secret_name


def reason_of_path(path: str, left_out: Mapping[str, Reason]) -> Reason | None:
    """Why a file of this name may not be shown, whatever its text; None when it may. In `left_out`, a folder
    left out as a whole ends with a slash."""
    known = left_out.get(path)
    if known in FORBIDDEN:
        return known
    if (above := reason_of_folders(path, left_out)) is not None:
        return above
    return Reason.SECRET if has_secret_name(path) else None


def judge_admission(path: str, text: str, left_out: Mapping[str, Reason], max_bytes: int) -> Reason | None:
    """Why this text of `path` may not stand in base or log; None when it may."""
    if (reason := reason_of_path(path, left_out)) is not None:
        return reason
    if len(text) > max_bytes or (
        len(text) * 4 > max_bytes and len(text.encode("utf-8", "replace")) > max_bytes
    ):
        return Reason.OVERSIZE
    return judge_text(text)
