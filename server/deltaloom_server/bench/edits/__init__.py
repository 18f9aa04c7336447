"""`deltaloom bench edits`: what an edit costs, at several context sizes, counted token by token.

Invariant: this package measures; what is claimed stands in `bounds.py`, and each claim is computed from the
sizes of the very files that were edited.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Run with the command line's options and print the figures. Returns the exit status."""
    from .command import main as run

    return run(arguments)
