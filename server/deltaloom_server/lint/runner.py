"""One run of `deltaloom lint`: the language server's own handlers, asked as an editor asks them.

Invariant: what is found and what is fixed comes out of the server's answers; this module chooses files and
gathers. Without model fixes no worker is started.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from deltaloom_model._version import __version__
from deltaloom_server.cli.editor import HeadlessEditor
from deltaloom_server.cli.lsp_client import Json, LspConversation, NotificationHandler
from deltaloom_server.handlers.diagnostics import REPORT
from deltaloom_server.language_server import DeltaloomServer, create_server
from deltaloom_server.lint.fixes import FileFixes, fix_files
from deltaloom_server.lint.from_sarif import read_sarif
from deltaloom_server.lint.in_process import connect
from deltaloom_server.lint.options import LintOptions
from deltaloom_server.lint.outcome import Outcome
from deltaloom_server.lint.select import Choice
from deltaloom_server.positions import content_length, split_lines
from deltaloom_server.security.analysis.messages import ScanResult
from deltaloom_server.security.finding import Finding, Inspection, Scanner, Unscanned
from deltaloom_server.security.inspector import Inspector
from deltaloom_server.security.languages import scanners_for
from deltaloom_server.security.source_text import read_source
from deltaloom_server.security.targets import why_left_out


@dataclass(frozen=True, slots=True)
class Found:
    """What a pass told: inspections by path, and the texts of the lines on which something was found."""

    inspections: dict[str, Inspection]
    lines: dict[str, dict[int, str]]
    notes: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    cached: int = 0
    complete: bool = True
    settings: dict[str, Any] | None = None

    def pairs(self) -> list[tuple[Finding, str]]:
        """Each finding with its line's text."""
        return [
            (finding, self.lines.get(path, {}).get(finding.span.start_line, ""))
            for path, inspection in self.inspections.items()
            for finding in inspection.findings
        ]

    def unscanned(self) -> tuple[Unscanned, ...]:
        """What wasn't looked at, in the order of the paths."""
        every = (one for inspection in self.inspections.values() for one in inspection.unscanned)
        return tuple(sorted(every, key=lambda one: (one.path, one.scanner)))


async def run(options: LintOptions, progress: NotificationHandler = lambda _method, _params: None) -> Outcome:
    """Look, choose, fix where that is asked for. Raises DeltaloomError for what can't be done at all."""
    began, clock = time.time(), time.monotonic()
    choice = Choice.prepare(options)
    server = create_server(lazy=True, remember_findings=options.cache)
    server.session.overrides = _overrides(options)
    server.session.isolated = options.isolated
    async with connect(server, [Path(options.root)], _initial(options), progress) as client:
        # What it imports takes as long as reading the files does, and there is a core for each.
        server.security.pool.warm()
        server.security.workspace.scope = lambda path: _is_chosen(options, choice, path)
        editor = HeadlessEditor(client)
        found = await _look(client, editor, options)
        inspector, imported = server.security.inspector, _Imported.read(options, choice)
        found = await imported.merged_into(found, options, inspector)
        choice = _effective(choice, options, found)
        chosen = choice.report(found.pairs(), frozenset(found.paths))
        fixes = FileFixes()
        reported = chosen.findings
        if options.needs_fixes:
            fixes = await fix_files(client, editor, options, reported)
            reported = fixes.with_offers(reported)
            if options.fix and fixes.applied:
                found = await _look(client, editor, options, again=True)
                found = await imported.after(fixes).merged_into(found, options, inspector)
                again = choice.report(found.pairs(), frozenset(found.paths))
                reported, chosen = again.findings, again
    return Outcome(
        __version__,
        options.root,
        len(found.paths),
        reported,
        found.unscanned(),
        (*found.notes, *_untouched(options, choice, server, found), *chosen.notes, *fixes.notes),
        fixes.applied,
        fixes.diffs,
        fixes.fixed_text,
        options.shard,
        found.complete and fixes.complete,
        began,
        time.monotonic() - clock,
        found.cached,
        chosen.left_out,
        found.paths,
        choice.severity,
        choice.confidence,
    )


def _untouched(options: LintOptions, choice: Choice, server: DeltaloomServer, found: Found) -> Iterator[str]:
    """Named paths of which nothing was looked at, and why: silence would pass for a clean report."""
    if options.stdin_filename:
        if not set(scanners_for(options.stdin_filename)) - {"secrets"}:
            yield f"No scanner looks at files like {os.path.basename(options.stdin_filename)}."
        return
    if options.shard is not None or choice.changes is not None:
        return
    settings, roots = server.session.settings.security, server.session.roots
    for named in options.paths:
        relative = os.path.relpath(named, options.root)
        if relative == "." or any(one == relative or one.startswith(f"{relative}/") for one in found.paths):
            continue
        reason = why_left_out(roots, settings, relative)
        why = reason.value if reason is not None else "no file there that a scanner knows"
        if os.path.isdir(named) and not os.path.lexists(os.path.join(named, ".git")):
            why = "it holds no file that is looked at"
        yield f"Nothing was looked at in {relative}: {why}."


def _overrides(options: LintOptions) -> dict[str, Json]:
    """What the command line says; everything else is the project's, as in an editor."""
    security: dict[str, Json] = {"enabled": True, "model_fixes": options.model_fixes}
    if options.severity is not None:
        security["severity"] = options.severity
    if options.confidence is not None:
        security["confidence"] = options.confidence
    if options.jobs:
        security["processes"] = options.jobs
    if options.diff_base:
        security["base"] = options.diff_base
    return {"security": security}


def _initial(options: LintOptions) -> dict[str, Json]:
    return {"worker": {"idle_seconds": 60}} if options.model_fixes else {}


def _is_chosen(options: LintOptions, choice: Choice, path: str) -> bool:
    """Is a file (relative to the root) among the paths, in the shard, and among those that changed?"""
    absolute = f"{options.root.rstrip('/')}/{path}"
    named = any(absolute == one or absolute.startswith(one.rstrip("/") + "/") for one in options.paths)
    return named and choice.looks_at(path)


async def _look(
    client: LspConversation, editor: HeadlessEditor, options: LintOptions, *, again: bool = False
) -> Found:
    """A pass over the workspace; for one text from stdin, that text as an open document."""
    if options.stdin_filename and not again:
        editor.open(Path(options.stdin_filename), (options.stdin or "").removeprefix("\ufeff"))
    await client.request("workspace/diagnostic", {"previousResultIds": []})
    report = await client.request(REPORT, None)
    return _found(report, options)


def _found(report: Json, options: LintOptions) -> Found:
    inspections: dict[str, Inspection] = {}
    lines: dict[str, dict[int, str]] = {}
    for uri, told in report["inspections"].items():
        inspection = msgspec.convert(told, Inspection)
        inspections[inspection.path] = inspection
        lines[inspection.path] = {int(number): text for number, text in report["lines"].get(uri, {}).items()}
    return Found(
        inspections,
        lines,
        tuple(report["notes"]),
        tuple(report["paths"]),
        int(report["cached"]),
        bool(report["complete"]),
        report["settings"],
    )


def _effective(choice: Choice, options: LintOptions, found: Found) -> Choice:
    """The choice by the settings that were in force: a project file's count where no option was given."""
    settings = found.settings or {}
    merged = replace(
        options,
        select=options.select or tuple(settings.get("select", ())),
        ignore=(*options.ignore, *settings.get("ignore", ())),
    )
    return replace(
        choice,
        options=merged,
        severity=options.severity or settings.get("severity", choice.severity),
        confidence=options.confidence or settings.get("confidence", choice.confidence),
    )


@dataclass(frozen=True, slots=True)
class _Imported:
    """What other scanners' reports say of the chosen files: findings by path, and sentences."""

    findings: dict[str, list[Finding]]
    notes: tuple[str, ...] = ()

    @classmethod
    def read(cls, options: LintOptions, choice: Choice) -> _Imported:
        """Raises WorkspaceError."""
        notes: list[str] = []
        grouped: dict[str, list[Finding]] = {}
        for name in options.from_sarif:
            imported = read_sarif(name, options.root)
            notes += imported.notes
            for finding in imported.findings:
                if _is_chosen(options, choice, finding.path):
                    grouped.setdefault(finding.path, []).append(finding)
        return cls(grouped, tuple(notes))

    def after(self, fixes: FileFixes) -> _Imported:
        """Those that are left, where they stand in the fixed files."""
        done = {(one.path, one.rule, one.line) for one in fixes.applied}
        left = {
            path: [
                now
                for one in findings
                if (path, one.rule, one.span.start_line) not in done
                and (now := fixes.moved[path].moved(one) if path in fixes.moved else one) is not None
            ]
            for path, findings in self.findings.items()
        }
        return _Imported(left, self.notes)

    async def merged_into(self, found: Found, options: LintOptions, inspector: Inspector) -> Found:
        """Our findings and these, as one where both see the same."""
        notes = [*found.notes, *self.notes]
        inspections, lines = dict(found.inspections), dict(found.lines)
        for path, findings in self.findings.items():
            source = read_source(f"{options.root.rstrip('/')}/{path}", 1 << 24)
            if isinstance(source, str):
                notes.append(f"Other scanners' findings in {path} were left out: {source}.")
                continue
            before = inspections.get(path)
            ours = before.findings if before is not None else ()
            both = ScanResult((*ours, *findings), before.unscanned if before is not None else ())
            looked: tuple[Scanner, ...] = (*(before.scanners if before is not None else ()), "sarif")
            inspections[path] = await inspector.assembled(path, source.text, both, looked)
            lines[path] = lines_of(inspections[path].findings, split_lines(source.text))
        return replace(found, inspections=inspections, lines=lines, notes=tuple(notes))


def lines_of(findings: Iterable[Finding], lines: Sequence[str]) -> dict[int, str]:
    """The texts, without line ends, of the lines on which findings begin."""
    numbers = {finding.span.start_line for finding in findings if finding.span.start_line < len(lines)}
    return {number: lines[number][: content_length(lines[number])] for number in numbers}
