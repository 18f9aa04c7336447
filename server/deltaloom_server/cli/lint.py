"""`deltaloom lint`: find weaknesses, report them, fix them; the language server without an editor.

Invariant: stdout holds the report, the diff or the fixed text and nothing else; the exit status is 0 without
findings that count, 1 with some, 2 where something failed, so that silence always means something.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deltaloom_server.lint.options import LintOptions
    from deltaloom_server.lint.outcome import Outcome

_LARGEST_STDIN = 16 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from deltaloom_server.lint.options import add_arguments

    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = (
        "exit status: 0 nothing found at or above --severity that isn't in the baseline, 1 something found,\n"
        "2 wrong options, or a scanner failed; 130 after Ctrl-C (143 after SIGTERM, 129 after SIGHUP).\n"
        "deltaloom lint merge FILE... makes one report from what shards wrote with --format json."
    )
    add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Exit status: see the module."""
    from deltaloom_server.interruption import ended_as_by_ctrl_c

    with ended_as_by_ctrl_c():
        return _lint(arguments)


def _lint(arguments: argparse.Namespace) -> int:
    from deltaloom_server.lint.options import LintOptions
    from deltaloom_server.lint.outcome import exit_status, failure_sentence

    options = LintOptions.from_arguments(arguments, os.getcwd())
    if options.merge:
        from deltaloom_server.lint.merge import merge

        outcome = merge(options)
    else:
        outcome = _run(_with_stdin(options))
    if options.write_baseline:
        outcome = _write_baseline(outcome, options)
    try:
        _report(outcome, options)
    except BrokenPipeError:
        # The reader (`| head`) has enough; what was found stays the same.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    status = exit_status(outcome, exit_zero=options.exit_zero)
    if status == 2 and (options.output or options.format != "text"):
        print(f"deltaloom: {failure_sentence(outcome)}", file=sys.stderr)
    return status


def _run(options: LintOptions) -> Outcome:
    import asyncio
    from contextlib import nullcontext

    from deltaloom_server.cli.progress import TerminalProgress
    from deltaloom_server.lint import runner

    with nullcontext() if options.quiet else TerminalProgress() as progress:
        return asyncio.run(runner.run(options, progress.take if progress is not None else _ignore))


def _ignore(method: str, params: dict[str, object]) -> None:
    pass


def _with_stdin(options: LintOptions) -> LintOptions:
    from deltaloom_server.lint.options import LintUsageError

    if not options.stdin_filename:
        return options
    content = sys.stdin.buffer.read(_LARGEST_STDIN + 1)
    if len(content) > _LARGEST_STDIN:
        raise LintUsageError(f"The text on stdin is larger than {_LARGEST_STDIN >> 20} MiB.")
    try:
        return replace(options, stdin=content.decode("utf-8"))
    except UnicodeDecodeError:
        raise LintUsageError("The text on stdin isn't UTF-8.") from None


def _write_baseline(outcome: Outcome, options: LintOptions) -> Outcome:
    """The outcome with all findings accepted. Nothing is written where not all of them are known."""
    import msgspec

    from deltaloom_server.lint.outcome import exit_status, failure_sentence
    from deltaloom_server.lint.select import baseline_of

    if exit_status(outcome) == 2:
        print(f"deltaloom: The baseline isn't written. {failure_sentence(outcome)}", file=sys.stderr)
        return outcome
    baseline_of(outcome).write(options.write_baseline)
    accepted = tuple(
        msgspec.structs.replace(one, state="baseline") if one.state == "new" else one
        for one in outcome.findings
    )
    return msgspec.structs.replace(outcome, findings=accepted)


def _report(outcome: Outcome, options: LintOptions) -> None:
    """Where stdout is taken by a diff or a fixed text, the report goes to stderr."""
    from deltaloom_server.lint.files import write_file
    from deltaloom_server.lint.reports import render, text

    here = os.getcwd()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    taken = options.diff or outcome.fixed_text is not None
    if options.diff:
        text.print_diffs(outcome, sys.stdout)
    elif outcome.fixed_text is not None:
        sys.stdout.buffer.write(outcome.fixed_text.encode("utf-8", "surrogatepass"))
    if options.output:
        report = text.render(outcome) if options.format == "text" else render(outcome, options.format)
        write_file(options.output, report)
    elif options.format != "text":
        stream = sys.stderr if taken else sys.stdout
        stream.buffer.write(render(outcome, options.format).encode("utf-8", "surrogateescape"))
    elif options.diff:
        if not options.quiet:
            text.print_summary(outcome, sys.stderr)
    else:
        text.print_text(outcome, sys.stderr if taken else sys.stdout, here, summary=not options.quiet)
