"""The command line of `deltaloom bench edits`.

Invariant: stdout holds what was asked for and nothing else; progress goes to stderr, and only to a terminal.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deltaloom_server.errors import DeltaloomError

if TYPE_CHECKING:
    from .result import Result
    from .run import RunOptions

SIZES = (4096, 16_384, 65_536)
_SMALLEST = 4096


def main(arguments: Sequence[str]) -> int:
    """0; with `--check` 1 where a bound wasn't kept. Raises DeltaloomError."""
    from .result import encode_result, load_result

    options = _parser().parse_args(arguments)
    if options.plot is not None:
        _require_plotting()
    result = load_result(options.source) if options.source is not None else _measure(options)
    if options.json:
        print(encode_result(result))
    _write_files(result, options)
    if not (options.json or options.markdown or options.plot):
        from .table import show

        show(result)
    if not options.check:
        return 0
    for sentence in result.broken:
        print(f"not kept: {sentence}", file=sys.stderr)
    return 1 if result.broken else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="deltaloom bench edits",
        description="How many tokens are read after edits of all kinds, at several sizes of the context.",
    )
    add = parser.add_argument
    add("--context", type=int, nargs="+", default=SIZES, metavar="N", help="sizes (4096 16384 65536)")
    add("--threads", type=int, default=0, metavar="N", help="threads of the model (default: all cores)")
    add("--json", action="store_true", help="print the result as JSON")
    add("--markdown", type=Path, metavar="FILE", help="write the tables as a page in Markdown")
    add("--plot", type=Path, metavar="FILE", help="write a plot as SVG (needs the extra: deltaloom[bench])")
    add("--check", action="store_true", help="exit with status 1 where a bound wasn't kept")
    add("--from", type=Path, dest="source", metavar="FILE", help="show an earlier --json, measure nothing")
    add("--llama-server", type=Path, metavar="PROGRAM", help="measure this llama-server beside it")
    add("--gguf", type=Path, metavar="FILE", help="the model for --llama-server")
    add("--llama-arguments", default="", metavar="ARGUMENTS", help="further arguments for it, in one string")
    add("--llama-patience", type=float, default=600.0, metavar="SECONDS", help="for its start (default: 600)")
    return parser


def _measure(options: argparse.Namespace) -> Result:
    from ...interruption import ended_as_by_ctrl_c
    from .run import measure

    with ended_as_by_ctrl_c(), _Progress() as progress:
        return measure(_run_options(options), progress.say, progress.take)


def _run_options(options: argparse.Namespace) -> RunOptions:
    from .llama_options import cache_options
    from .llama_server import LlamaCommand
    from .run import RunOptions

    if min(options.context) < _SMALLEST:
        raise DeltaloomError(f"Choose contexts of at least {_SMALLEST} tokens, so that forty files fit.")
    llama = None
    if options.llama_server is not None or options.gguf is not None:
        if options.llama_server is None or options.gguf is None:
            raise DeltaloomError("Give both: --llama-server PROGRAM and --gguf FILE.")
        program = options.llama_server.expanduser().absolute()
        further = (*cache_options(program), *shlex.split(options.llama_arguments))
        gguf = options.gguf.expanduser().absolute()
        llama = LlamaCommand(program, gguf, further)
    return RunOptions(tuple(options.context), options.threads, llama, options.llama_patience)


def _write_files(result: Result, options: argparse.Namespace) -> None:
    if options.plot is not None:
        from .plot import write_plot

        write_plot(result, options.plot)
    if options.markdown is not None:
        from .table import write_page

        try:
            options.markdown.write_text(write_page(result, plot=options.plot is not None), encoding="utf-8")
        except OSError as error:
            raise DeltaloomError(f"{options.markdown} can't be written ({error.strerror}).") from None


def _require_plotting() -> None:
    """Say so before minutes are spent on measuring."""
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise DeltaloomError('A plot needs matplotlib; install it with: pip install "deltaloom[bench]".')


class _Progress:
    """One line on stderr that says what is being measured, where stderr is a terminal."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._what = ""

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._write("")

    def say(self, what: str) -> None:
        """From now on this is being done."""
        self._what = what
        self._write(what)

    def take(self, method: str, params: dict[str, Any]) -> None:
        """Show how far the server has come with what it reads."""
        if method == "$/progress" and (message := params["value"].get("message")):
            self._write(f"{self._what} ({message})")

    def _write(self, line: str) -> None:
        if self._shown:
            columns = shutil.get_terminal_size().columns
            sys.stderr.write(f"\r\x1b[2K{line[: columns - 1]}")
            sys.stderr.flush()
