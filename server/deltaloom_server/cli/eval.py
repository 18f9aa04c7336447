"""`deltaloom eval`: measure on known cases how good what is offered is.

Invariant: the real parts are driven (the server process over LSP, the tests in a sandbox); nothing is counted
right because it looks right.
"""

from __future__ import annotations

import argparse
from importlib import import_module

_EVALUATIONS = {"security": "fixes of weaknesses: how many are offered, how many of these are right"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    summary = "; ".join(f"{name}: {text}" for name, text in _EVALUATIONS.items())
    parser.add_argument("evaluation", choices=sorted(_EVALUATIONS), help=summary)
    parser.add_argument(
        "options", nargs=argparse.REMAINDER, help="FOLDER, --columns, --check, or --help for all"
    )


def run(arguments: argparse.Namespace) -> int:
    from deltaloom_server.interruption import ended_as_by_ctrl_c

    module = import_module(f"deltaloom_server.evaluate.{arguments.evaluation}")
    with ended_as_by_ctrl_c():
        return module.main(arguments.options) or 0
