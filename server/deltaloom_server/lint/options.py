"""`LintOptions`: what one run of `deltaloom lint` is asked to do.

Invariant: options that exist make sense together; wrong ones end as one sentence before anything has started.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Literal, cast, get_args

from deltaloom_server.errors import DeltaloomError
from deltaloom_server.security.finding import CONFIDENCES, SEVERITIES, Confidence, Severity

Format = Literal["text", "json", "sarif", "gitlab", "junit", "rdjson", "github"]
FORMATS: tuple[Format, ...] = get_args(Format)

MERGE = "merge"
_RULE = re.compile(r"[A-Za-z][\w./:+-]*\Z")
_CWE = re.compile(r"CWE-[0-9]+\Z", re.IGNORECASE)
_SECRETS = "secret/"
_SHARD = re.compile(r"([0-9]{1,5})/([0-9]{1,5})\Z")


class LintUsageError(DeltaloomError):
    """Options that don't go together, or that don't mean anything."""


@dataclass(frozen=True)
class LintOptions:
    """Paths are absolute. `root` is the folder that findings' paths are relative to; all `paths` lie in it.

    `select` and `ignore` hold prefixes of rules and "CWE-78". `severity` and `confidence` None: the default
    ("medium" and "low"), or for a merge that of the merged runs. `stdin` is the text to look at in place of
    the file `stdin_filename` (which needn't exist). `shard` is (i, n), i from 1. `jobs` 0: as many as there
    are cores.
    """

    root: str
    paths: tuple[str, ...]
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    severity: Severity | None = None
    confidence: Confidence | None = None
    baseline: str = ""
    write_baseline: str = ""
    diff_base: str = ""
    changed_lines: bool = False
    show_fixes: bool = False
    fix: bool = False
    unsafe_fixes: bool = False
    diff: bool = False
    model_fixes: bool = False
    stdin_filename: str = ""
    stdin: str | None = field(default=None, repr=False)
    isolated: bool = False
    shard: tuple[int, int] | None = None
    from_sarif: tuple[str, ...] = ()
    cache: bool = True
    jobs: int = 0
    unused_suppressions: bool = True
    format: Format = "text"
    output: str = ""
    exit_zero: bool = False
    quiet: bool = False
    merge: tuple[str, ...] = ()
    """The outcomes to merge; empty for a run."""

    @property
    def needs_fixes(self) -> bool:
        """Are fixes to be looked for at all?"""
        return self.fix or self.diff or self.show_fixes

    @classmethod
    def from_arguments(cls, arguments: argparse.Namespace, here: str) -> LintOptions:
        """The options of a parsed command line, run in the folder `here`. Raises `LintUsageError`."""
        paths, merge = _paths_or_merge(arguments.paths)
        absolute = tuple(os.path.normpath(os.path.join(here, path)) for path in paths or (here,))
        stdin_name = os.path.normpath(os.path.join(here, arguments.stdin_filename or ""))
        options = cls(
            root=find_root((stdin_name,) if arguments.stdin_filename else absolute, here),
            paths=(stdin_name,) if arguments.stdin_filename else absolute,
            select=_rules(arguments.select, "--select"),
            ignore=_rules(arguments.ignore, "--ignore"),
            severity=cast("Severity | None", arguments.severity),
            confidence=cast("Confidence | None", arguments.confidence),
            baseline=_absolute(here, arguments.baseline),
            write_baseline=_absolute(here, arguments.write_baseline),
            diff_base=arguments.diff_base or "",
            changed_lines=arguments.changed_lines,
            show_fixes=arguments.show_fixes,
            fix=arguments.fix,
            unsafe_fixes=arguments.unsafe_fixes,
            diff=arguments.diff,
            model_fixes=arguments.model_fixes,
            stdin_filename=stdin_name if arguments.stdin_filename else "",
            isolated=arguments.isolated,
            shard=_shard(arguments.shard),
            from_sarif=tuple(_absolute(here, name) for name in arguments.from_sarif or ()),
            cache=not arguments.no_cache,
            jobs=arguments.jobs,
            unused_suppressions=not arguments.no_unused_suppressions,
            format=cast("Format", arguments.format),
            output=_absolute(here, arguments.output),
            exit_zero=arguments.exit_zero,
            quiet=arguments.quiet,
            merge=tuple(_absolute(here, name) for name in merge),
        )
        _check(options, bool(paths) and bool(arguments.stdin_filename))
        return options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Every option of `deltaloom lint`, in the order in which `--help` shows them."""
    add = parser.add_argument
    add(
        "paths", nargs="*", metavar="PATH", help="files and folders (default: this folder); or: merge FILE..."
    )
    which = parser.add_argument_group("what is looked at and reported")
    _list(
        which, "--select", "RULE", "report only rules that begin so (S6, B602, CWE-78), separated by commas"
    )
    _list(which, "--ignore", "RULE", "leave such rules out; wins over --select")
    which.add_argument("--severity", choices=SEVERITIES, help="the least to report (default: medium)")
    which.add_argument("--confidence", choices=CONFIDENCES, help="the least to report (default: low)")
    which.add_argument("--baseline", metavar="FILE", help="findings in this file are known: they don't fail")
    which.add_argument("--write-baseline", metavar="FILE", help="accept what is found now: write it there")
    which.add_argument("--diff-base", metavar="REV", help="only files that changed since HEAD left REV")
    _flag(which, "--changed-lines", "only lines that changed since --diff-base (default: the default branch)")
    which.add_argument("--shard", metavar="I/N", help="only the I-th of N parts of the files")
    which.add_argument(
        "--from-sarif", metavar="FILE", action="append", help="take other scanners' findings in"
    )
    which.add_argument(
        "--stdin-filename", metavar="NAME", help="read one text from stdin, as if of this file"
    )
    _flag(which, "--isolated", "let no configuration file of the project count")
    _flag(which, "--no-unused-suppressions", "don't report comments that suppress nothing")
    fixes = parser.add_argument_group("fixes")
    _flag(fixes, "--fix", "apply fixes that were verified and are safe")
    _flag(fixes, "--unsafe-fixes", "with --fix or --diff: also those that a person should look at")
    _flag(fixes, "--diff", "print what --fix would change, and change nothing")
    _flag(fixes, "--show-fixes", "look for fixes and report them beside the findings")
    _flag(
        fixes, "--model-fixes", "ask the model where no rule has a fix of its own (starts the model worker)"
    )
    report = parser.add_argument_group("report")
    report.add_argument("--format", choices=FORMATS, default="text", help="default: text")
    report.add_argument("--output", metavar="FILE", help="write the report there instead of to stdout")
    _flag(report, "--exit-zero", "findings don't make the exit status 1; failures still make it 2")
    _flag(report, "--quiet", "no progress, and a text report without its summary")
    how = parser.add_argument_group("how it runs")
    how.add_argument(
        "--jobs", type=int, default=0, metavar="N", help="processes (default: one for each core)"
    )
    _flag(how, "--no-cache", "look at every file anew, and remember nothing")


def find_root(paths: Sequence[str], here: str) -> str:
    """The folder that paths are reported relative to: the work tree around all paths, as far as it reaches.

    That is the innermost folder with a `.git` around all of them, else `here` where all lie in it, else the
    innermost folder around all. A report from a subfolder so names the same paths as one from the top.
    """
    inside = [path if os.path.isdir(path) else os.path.dirname(path) for path in paths] or [here]
    common = os.path.commonpath(inside)
    folder = common
    while True:
        if os.path.lexists(os.path.join(folder, ".git")):
            return folder
        parent = os.path.dirname(folder)
        if parent == folder:
            break
        folder = parent
    return here if os.path.commonpath((common, here)) == here else common


def _list(group: argparse._ArgumentGroup, name: str, metavar: str, text: str) -> None:
    group.add_argument(name, metavar=metavar, action="append", help=text)


def _flag(group: argparse._ArgumentGroup, name: str, text: str) -> None:
    group.add_argument(name, action="store_true", help=text)


def _absolute(here: str, name: str | None) -> str:
    return os.path.normpath(os.path.join(here, name)) if name else ""


def _paths_or_merge(words: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    if list(words[:1]) != [MERGE]:
        return words, ()
    if len(words) == 1:
        raise LintUsageError(
            "Name the files to merge, each written by `deltaloom lint --format json`; "
            f"a folder of the name is ./{MERGE}."
        )
    return (), words[1:]


def _rules(words: Iterable[str] | None, option: str) -> tuple[str, ...]:
    rules = [rule.strip() for word in words or () for rule in word.split(",") if rule.strip()]
    for rule in rules:
        if not _RULE.match(rule):
            raise LintUsageError(f"{option} takes beginnings of rules like S6, B602 or CWE-78, not {rule!r}.")
    return tuple(rules)


def _shard(word: str | None) -> tuple[int, int] | None:
    if word is None:
        return None
    match = _SHARD.match(word)
    part, parts = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= part <= parts:
        raise LintUsageError(f"--shard takes i/n with i from 1 to n, as in 2/4, not {word!r}.")
    return part, parts


_AT_MERGE = frozenset(
    (
        *("root", "paths", "merge", "select", "ignore", "severity", "confidence", "unused_suppressions"),
        *("baseline", "write_baseline", "format", "output", "exit_zero", "quiet"),
    )
)


def _check(options: LintOptions, paths_and_stdin: bool) -> None:
    """One sentence for the first thing that is wrong."""
    stdin = bool(options.stdin_filename)
    partial = options.changed_lines or bool(options.diff_base) or stdin
    asks = options.fix or options.diff or options.show_fixes
    for wrong, sentence in (
        (paths_and_stdin, "--stdin-filename reads one text from stdin: leave the paths out."),
        (options.jobs < 0, "--jobs takes a number of processes, or 0 for one for each core."),
        (options.diff_base.startswith("-"), "--diff-base takes a commit, branch or tag."),
        (options.fix and options.diff, "--diff only prints what --fix would change: choose one of them."),
        (options.unsafe_fixes and not asks, "--unsafe-fixes needs --fix, --diff or --show-fixes."),
        (options.model_fixes and not asks, "--model-fixes needs --fix, --diff or --show-fixes."),
        (stdin and bool(options.shard), "--shard divides files, and --stdin-filename has only one."),
        (stdin and bool(options.from_sarif), "--from-sarif is about files, not about stdin's text."),
        (stdin and options.changed_lines, "--changed-lines compares files with git, not stdin's text."),
        (stdin and bool(options.diff_base), "--diff-base compares files with git, not stdin's text."),
        (
            bool(options.write_baseline) and partial,
            "--write-baseline needs all findings: not with --changed-lines, --diff-base or --stdin-filename.",
        ),
        (
            bool(options.write_baseline) and bool(options.shard),
            "A shard sees a part only: give --write-baseline to `deltaloom lint merge`.",
        ),
        (
            bool(options.write_baseline) and options.fix,
            "--write-baseline accepts findings and --fix changes them: run one after the other.",
        ),
        (
            options.diff and options.format != "text",
            "--diff prints a diff: leave --format out, or use --show-fixes.",
        ),
    ):
        if wrong:
            raise LintUsageError(sentence)
    if not options.from_sarif and not options.merge:  # those may bring rules of their own
        for rule in options.select:
            if not _is_known(rule):
                raise LintUsageError(
                    f"No rule that is known here begins with {rule!r}, so nothing would be found."
                )
    if options.merge:
        _check_merge(options)
    for path in () if stdin else options.paths:
        if not os.path.lexists(path):
            raise LintUsageError(f"There is no {path}: name files or folders that exist.")


def _is_known(selector: str) -> bool:
    """Could a finding be selected so? A mistyped one would make every run pass."""
    from deltaloom_server.security.rules import all_rules

    if _CWE.match(selector) or selector.startswith(_SECRETS) or _SECRETS.startswith(selector):
        return True
    return any(name.startswith(selector) for info in all_rules() for name in (info.rule, *info.names))


def _check_merge(options: LintOptions) -> None:
    for one in fields(options):
        if one.name not in _AT_MERGE and getattr(options, one.name) != one.default:
            name = {"cache": "no-cache"}.get(one.name, one.name.replace("_", "-"))
            raise LintUsageError(f"--{name} is for a run, not for a merge: leave it out.")
