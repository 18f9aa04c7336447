"""Fixing what a run has found: code actions chosen and applied one after another, as a person would.

Invariant: a file on disk changes only when it is still what was looked at, and then as a whole; only findings
that are new are fixed, by what the gate has accepted, and by what a person should look at only where that was
asked for.
"""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from deltaloom_server.cli.editor import HeadlessEditor
from deltaloom_server.cli.lsp_client import Json, LspConversation, ServerFailed
from deltaloom_server.errors import WorkspaceError
from deltaloom_server.lint.files import write_bytes
from deltaloom_server.lint.moved_lines import MovedLines
from deltaloom_server.lint.options import LintOptions
from deltaloom_server.lint.outcome import AppliedFix, FileDiff, OfferedFix, Replacement, Reported
from deltaloom_server.positions import PositionEncoding, column_of_units, line_starts, split_lines
from deltaloom_server.security.finding import Finding, Span
from deltaloom_server.security.proposal import Edit, apply_edits
from deltaloom_server.security.source_text import SourceText, decode_source

_MOST_IN_A_FILE = 500
_MARK = "\ufeff"
_MODEL_WAITS = "What the model writes is for a person to look at: add --unsafe-fixes to have it."


@dataclass(frozen=True, slots=True)
class FileFixes:
    """What was fixed, or would be. `offers` by (path, identity), `moved` by path of the files worked on.
    Not `complete`: a file can't be written, and a note says which."""

    applied: tuple[AppliedFix, ...] = ()
    diffs: tuple[FileDiff, ...] = ()
    fixed_text: str | None = None
    notes: tuple[str, ...] = ()
    offers: dict[tuple[str, str], OfferedFix] = field(default_factory=dict)
    moved: dict[str, MovedLines] = field(default_factory=dict)
    complete: bool = True

    def with_offers(self, reported: Iterable[Reported]) -> tuple[Reported, ...]:
        """The findings with the fixes that were offered for them."""
        return tuple(
            msgspec.structs.replace(one, fixes=(offer,))
            if (offer := self.offers.get((one.finding.path, one.finding.identity))) is not None
            else one
            for one in reported
        )


async def fix_files(
    client: LspConversation, editor: HeadlessEditor, options: LintOptions, reported: Sequence[Reported]
) -> FileFixes:
    """Look for a fix of each new finding, and apply them where `--fix` or `--diff` asks for that."""
    waits = options.model_fixes and not options.unsafe_fixes
    total = FileFixes(notes=(_MODEL_WAITS,) if waits else ())
    wanted: dict[str, list[Finding]] = {}
    for one in reported:
        if one.state == "new" and one.finding.suppressed is None:
            wanted.setdefault(one.finding.path, []).append(one.finding)
    if options.stdin_filename and options.fix and not wanted:
        return replace(total, fixed_text=options.stdin or "")
    for path, findings in wanted.items():
        work = _FileWork(client, editor, options, path, findings)
        total = await work.run(total)
    return total


class _FileWork:
    """The fixes of one file."""

    def __init__(
        self,
        client: LspConversation,
        editor: HeadlessEditor,
        options: LintOptions,
        path: str,
        findings: Sequence[Finding],
    ) -> None:
        self._client, self._editor, self._options = client, editor, options
        self._path = path
        self._file = Path(options.root) / path
        self._encoding = PositionEncoding(client.position_encoding)
        self._findings = findings
        self._places: dict[tuple[str, int], list[Finding]] = {}
        for finding in findings:
            self._places.setdefault((finding.rule, finding.span.start_line), []).append(finding)
        self._foreign = [one for one in findings if one.scanners == ("sarif",)]
        self._applied: list[AppliedFix] = []
        self._offers: dict[tuple[str, str], OfferedFix] = {}

    async def run(self, total: FileFixes) -> FileFixes:
        """All of it; `total` with what this file adds."""
        source = self._open()
        if isinstance(source, str):
            return replace(total, notes=(*total.notes, f"{self._path} isn't fixed: {source}."))
        before = self._editor.text(self._file)
        self._lines = MovedLines(len(split_lines(before)))
        if self._options.show_fixes:
            await self._gather(self._findings)
        total = replace(total, offers={**total.offers, **self._offers})
        if self._options.fix or self._options.diff:
            await self._apply_all()
        after = self._editor.text(self._file)
        if not self._options.stdin_filename:
            self._editor.close(self._file)  # from here on, what counts is on disk
        return self._finished(total, source, before, after)

    def _finished(self, total: FileFixes, source: SourceText, before: str, after: str) -> FileFixes:
        mark = _MARK if source.bom else ""
        if self._options.diff and after != before:
            diff = FileDiff(self._path, _diff(self._path, mark + before, mark + after))
            total = replace(total, diffs=(*total.diffs, diff))
        if self._options.fix and self._options.stdin_filename:
            total = replace(total, fixed_text=mark + after)
        elif self._options.fix and after != before:
            try:
                self._write(source, before, after)
            except WorkspaceError as error:
                why = str(error).replace(os.fspath(self._file), self._path)
                return replace(total, notes=(*total.notes, why), complete=False)
        return replace(
            total,
            applied=(*total.applied, *self._applied),
            moved={**total.moved, self._path: self._lines},
        )

    def _open(self) -> SourceText | str:
        if self._options.stdin_filename:
            text = self._options.stdin or ""
            return SourceText(text.removeprefix(_MARK), "utf-8", text.startswith(_MARK))
        try:
            data = self._file.read_bytes()
        except OSError as error:
            return f"it can't be read ({error.strerror})"
        source = decode_source(data, is_python=self._file.suffix in (".py", ".pyi"))
        if not isinstance(source, str):
            self._editor.open(self._file, source.text)
        return source

    def _write(self, source: SourceText, before: str, after: str) -> None:
        """Raises WorkspaceError where the file has changed meanwhile, or can't say the new text."""
        try:
            old, new = source.encode(before), source.encode(after)
        except UnicodeEncodeError:
            raise WorkspaceError(
                f"{self._path} can't hold its fix in {source.encoding}; convert it to UTF-8 first."
            ) from None
        try:
            mode = self._file.lstat().st_mode
            changed = not stat.S_ISREG(mode) or self._file.read_bytes() != old
        except OSError:
            changed = True
        if changed:
            raise WorkspaceError(f"{self._path} changed while it was being fixed; run again.")
        # A folder that may be written would let it be replaced all the same.
        if not mode & stat.S_IWUSR:
            raise WorkspaceError(f"{self._path} isn't fixed as it is read-only; make it writable first.")
        write_bytes(os.fspath(self._file), new)

    async def _gather(self, findings: Iterable[Finding]) -> None:
        """A fix for each finding by itself."""
        for finding in findings:
            fix = await self._resolve(finding)
            if fix is None or (_is_unsafe(fix) and not self._options.unsafe_fixes):
                continue
            lines = split_lines(self._editor.text(self._file))
            edits = _text_edits(fix, lines, self._encoding)
            self._offers[self._path, finding.identity] = _offered(fix, lines, edits)

    async def _apply_all(self) -> None:
        """One after another, each in the text that the ones before it have left."""
        refused: set[str] = set()
        while len(self._applied) < _MOST_IN_A_FILE:
            waiting = [one for one in await self._present() if one[0].identity not in refused]
            if not waiting:
                return
            now, first = waiting[0]
            fix = await self._resolve(now)
            if fix is None or (_is_unsafe(fix) and not self._options.unsafe_fixes):
                refused.add(now.identity)
                continue
            told = fix["data"]["fix"]
            text = self._editor.text(self._file)
            lines = split_lines(text)
            edits = _text_edits(fix, lines, self._encoding)
            self._editor.change_to(self._file, _edited(text, lines, edits))
            self._lines.edit(edits)
            self._foreign = [one for one in self._foreign if one is not first]
            at_place = self._places[first.rule, first.span.start_line]
            if len(at_place) > 1:
                at_place.remove(first)
            self._applied.append(
                AppliedFix(
                    self._path, first.rule, first.identity, first.span.start_line,
                    str(told["title"]), str(told["label"]), bool(told["unsafe"]),
                )
            )  # fmt: skip

    async def _present(self) -> list[tuple[Finding, Finding]]:
        """Those of the findings that the text, as it is now, still has: as they are now, and as they were.

        They are known again by their rule and by the line that theirs has become: an identity changes with
        the line's text, and with the number of equal lines above.
        """
        document = {"textDocument": {"uri": self._file.as_uri()}}
        report = await self._client.request("textDocument/diagnostic", document)
        present = []
        for item in report.get("items") or []:
            data = item.get("data")
            if not isinstance(data, dict) or "identity" not in data:
                continue
            line = self._lines.origin(int(item["range"]["start"]["line"]))
            were = self._places.get((str(data["rule"]), line), ()) if line is not None else ()
            if were:
                now = msgspec.structs.replace(were[0], identity=str(data["identity"]), scanners=("ruff",))
                present.append((now, were[0]))
        return present + [
            (moved, one) for one in self._foreign if (moved := self._lines.moved(one)) is not None
        ]

    async def _resolve(self, finding: Finding) -> Json | None:
        """The finding's fix as a resolved code action; None where there is none that holds."""
        uri = self._file.as_uri()
        action = {
            "title": f"Fix {finding.rule}",
            "kind": "quickfix",
            "data": {
                "do": "fix",
                "uri": uri,
                "version": self._editor.version(self._file),
                "about": _about(finding, safe=not self._options.unsafe_fixes),
            },
        }
        try:
            resolved = await self._client.request("codeAction/resolve", action)
        except ServerFailed:
            return None
        return resolved if resolved.get("edit") else None


def _about(finding: Finding, *, safe: bool) -> dict[str, Any]:
    about: dict[str, Any] = {"identity": finding.identity, "rule": finding.rule, "safe": safe}
    if finding.scanners == ("sarif",):
        about["finding"] = msgspec.to_builtins(finding)
    return about


def _is_unsafe(action: Json) -> bool:
    return bool(action["data"]["fix"]["unsafe"])


def _text_edits(action: Json, lines: Sequence[str], encoding: PositionEncoding) -> list[tuple[Span, str]]:
    """The action's edits of these lines, in order, with columns in code points."""

    def place(position: dict[str, int]) -> tuple[int, int]:
        line = position["line"]
        return line, column_of_units(lines[line], position["character"], encoding)

    return sorted(
        (Span(*place(edit["range"]["start"]), *place(edit["range"]["end"])), str(edit["newText"]))
        for change in action["edit"]["documentChanges"]
        for edit in change["edits"]
    )


def _offered(action: Json, lines: Sequence[str], edits: Iterable[tuple[Span, str]]) -> OfferedFix:
    told = action["data"]["fix"]
    replacements = tuple(Replacement.of(lines, span, text) for span, text in edits)
    return OfferedFix(
        str(told["title"]), replacements, str(told["label"]), told["origin"] or "codemod",
        bool(told["unsafe"]), str(told["note"]),
    )  # fmt: skip


def _edited(text: str, lines: Sequence[str], edits: Sequence[tuple[Span, str]]) -> str:
    starts = line_starts(lines)
    return apply_edits(
        text,
        (
            Edit(starts[span.start_line] + span.start_column, starts[span.end_line] + span.end_column, new)
            for span, new in edits
        ),
    )


def _diff(path: str, before: str, after: str) -> str:
    old, new = (
        [line if line.endswith(("\n", "\r")) else line + "\n\\ No newline at end of file\n" for line in side]
        for side in (
            [line for line in split_lines(before) if line],
            [line for line in split_lines(after) if line],
        )
    )
    return "".join(difflib.unified_diff(old, new, f"a/{path}", f"b/{path}"))
