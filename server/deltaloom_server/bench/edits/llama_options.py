"""The options with which a `llama-server` keeps as much state as it can.

Invariant: only options that the given program's own help names, so that no version refuses to start over one.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

_HELP_SECONDS = 30.0
_WANTED = (
    (("--ctx-checkpoints", "--swa-checkpoints"), "128"),
    (("--checkpoint-min-step", "--checkpoint-every-n-tokens"), "256"),
    (("--cache-ram",), "8192"),
)
"""The names of different versions, and the value. `--cache-reuse` isn't among them: it shifts keys and
values, which a recurrent state can't follow."""


def cache_options(program: Path) -> tuple[str, ...]:
    """Those that this version knows; none where the program can't be asked."""
    try:
        told = subprocess.run(
            [str(program), "--help"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_HELP_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    words = set((told.stdout + told.stderr).decode("utf-8", "replace").replace(",", " ").split())
    options: list[str] = []
    for names, value in _WANTED:
        known = [name for name in names if name in words]
        options += [known[0], value] if known else []
    return tuple(options)
