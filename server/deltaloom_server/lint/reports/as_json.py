"""`--format json`: the outcome itself, which `deltaloom lint merge` reads back.

Invariant: what is read back equals what was written. The fields are those of `outcome.Outcome`; lines and
columns count from 0, columns in code points.
"""

from __future__ import annotations

import json

import msgspec

from deltaloom_server.errors import WorkspaceError
from deltaloom_server.lint.outcome import FORMAT, Outcome

_LARGEST = 1 << 30


def render(outcome: Outcome) -> str:
    """One JSON document. Names of files may hold bytes that are no text: they come as lone surrogates."""
    return json.dumps(msgspec.to_builtins(outcome), indent=1) + "\n"


def read(path: str) -> Outcome:
    """The outcome in a file. Raises `WorkspaceError` where it holds none."""
    try:
        with open(path, "rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise WorkspaceError(f"{path} can't be read ({error.strerror}).") from None
    try:
        if len(content) > _LARGEST:
            raise ValueError("it is too large")
        values = json.loads(content)
        if isinstance(values, dict) and values.get("format") != FORMAT:
            raise ValueError("it is of another version")
        return msgspec.convert(values, Outcome)
    except (ValueError, RecursionError) as error:
        raise WorkspaceError(
            f"{path} is not what `deltaloom lint --format json` of this version writes ({error})."
        ) from None
