"""`deltaloom lsp`: serve an editor.

Invariant: stdin and stdout belong to the protocol alone; whatever else is written goes to stderr or the log.
"""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    # Editors' clients add this by habit, and it is the only way there is.
    parser.add_argument("--stdio", action="store_true", help="speak over stdin and stdout (always so)")
    # For tests that need a scripted engine; never a setting, so that no workspace can name code to run.
    parser.add_argument("--engine", metavar="MODULE:FUNCTION", help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    """Serves until the client says `exit`, closes stdin, or is gone."""
    from deltaloom_server.language_server import run_stdio

    return run_stdio(engine=arguments.engine)
