"""`deltaloom bench`: measure what a person feels, on this machine.

Invariant: every benchmark drives the real parts (the server process over LSP, or the text buffers themselves)
and prints what it measured; a verdict (edits --check) is given only where one is asked for.
"""

from __future__ import annotations

import argparse
from importlib import import_module

_BENCHMARKS = {
    "text": "changes of a 20,000-line document",
    "edits": "tokens read again after edits of all kinds",
    "keystroke": "the time from a keystroke to its suggestion",
    "lint": "`deltaloom lint` beside bandit and ruff by hand",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    summary = "; ".join(f"{name}: {text}" for name, text in _BENCHMARKS.items())
    parser.add_argument("benchmark", choices=sorted(_BENCHMARKS), help=summary)
    parser.add_argument("options", nargs=argparse.REMAINDER, help="--json, --context N, or --help for all")


def run(arguments: argparse.Namespace) -> int:
    module = import_module(f"deltaloom_server.bench.{arguments.benchmark}")
    return module.main(arguments.options) or 0
