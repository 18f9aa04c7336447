"""Which command runs, and how its failure is told.

Invariant: only the chosen command's module is imported, and an error a user can meet ends as one sentence on
stderr and exit status 2, never as a traceback.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Protocol

COMMANDS = {
    "lsp": "serve an editor over stdin and stdout",
    "complete": "print the suggestion at one cursor",
    "status": "what runs: model, context, memory, counters, last restores",
    "lint": "find security weaknesses, report them, apply verified fixes",
    "rules": "which weaknesses are looked for, and what is known of one",
    "doctor": "what is wrong here, and what to do about it",
    "logs": "show the logs of the server and the model worker",
    "clean": "remove caches, downloaded models or logs, after listing their sizes",
    "bench": "measure text, edits or keystrokes",
    "demo": "show the main job on a copy of a workspace",
    "eval": "measure on known cases how many fixes are right",
}


class CommandModule(Protocol):
    """What every file of this folder that is a command offers."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, arguments: argparse.Namespace) -> int: ...


class _VersionAction(argparse.Action):
    """Computes the version line only when it is asked for: it looks at git and at the model's files."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        from deltaloom_server.cli.version import version_line

        print(version_line())
        parser.exit(0)


def run(arguments: Sequence[str]) -> int:
    """Run one command line (without the program's name).

    Exit status: the command's own; 2 on an error or wrong usage, 130 on Ctrl-C, 143 or 129 where
    SIGTERM or SIGHUP ends a command that tidies up first.
    """
    from deltaloom_model.errors import DeltaloomModelError
    from deltaloom_server.errors import DeltaloomError
    from deltaloom_server.interruption import ToldToEnd

    chosen = next((word for word in arguments if not word.startswith("-")), "")
    module = import_module(f"deltaloom_server.cli.{chosen}") if chosen in COMMANDS else None
    parsed = _parser(chosen, module).parse_args(list(arguments))
    try:
        return _run_module(module, parsed)
    except (DeltaloomError, DeltaloomModelError) as error:
        print(f"deltaloom: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as end:
        return end.status if isinstance(end, ToldToEnd) else 130
    except BrokenPipeError:
        # The reader (`| head`) has enough; what is still buffered must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run_module(module: CommandModule | None, parsed: argparse.Namespace) -> int:
    assert module is not None, "argparse refuses a missing or unknown command"
    status = module.run(parsed)
    sys.stdout.flush()
    return status


def _parser(chosen: str, module: CommandModule | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="deltaloom", description="A language server with a local model that has read the repository."
    )
    parser.add_argument(
        "--version", action=_VersionAction, nargs=0, help="print version, commit and model hash"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if name == chosen and module is not None:
            module.add_arguments(command)
    return parser
