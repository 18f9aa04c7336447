"""Fixing what a run has found: code actions chosen and applied one after another, as a person would.

Invariant: a file on disk changes only when it is still what was looked at, and then as a whole; only fixes
that the gate has accepted are applied, and those that a person should look at only where that was asked for.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from deltaloom_server.cli.editor import HeadlessEditor
from deltaloom_server.cli.lsp_client import Json, LspConversation, ServerFailed
from deltaloom_server.errors import WorkspaceError
from deltaloom_server.lint.files import write_bytes
from deltaloom_server.lint.options import LintOptions
from deltaloom_server.lint.outcome import AppliedFix, FileDiff, OfferedFix, Replacement, Reported
from deltaloom_server.positions import split_lines
from deltaloom_server.security.finding import Finding, Span
from deltaloom_server.security.source_text import SourceText, decode_source

_MOST_IN_A_FILE = 500


@dataclass(frozen=True, slots=True)
class FileFixes:
    """What was fixed, or would be. `offers` by (path, identity)."""

    applied: tuple[AppliedFix, ...] = ()
    diffs: tuple[FileDiff, ...] = ()
    fixed_text: str | None = None
    notes: tuple[str, ...] = ()
    offers: dict[tuple[str, str], OfferedFix] | None = None

    def with_offers(self, reported: Iterable[Reported]) -> tuple[Reported, ...]:
        """The findings with the fixes that were offered for them."""
        offers = self.offers or {}
        return tuple(
            msgspec.structs.replace(one, fixes=(offer,))
            if (offer := offers.get((one.finding.path, one.finding.identity))) is not None
            else one
            for one in reported
        )


async def fix_files(
    client: LspConversation, editor: HeadlessEditor, options: LintOptions, reported: Sequence[Reported]
) -> FileFixes:
    """Look for a fix of each new finding, and apply them where `--fix` or `--diff` asks for that."""
    total = FileFixes(offers={})
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
        self._findings = {finding.identity: finding for finding in findings}
        self._applied: list[AppliedFix] = []
        self._offers: dict[tuple[str, str], OfferedFix] = {}

    async def run(self, total: FileFixes) -> FileFixes:
        """All of it; `total` with what this file adds."""
        source = self._open()
        if isinstance(source, str):
            return replace(total, notes=(*total.notes, f"{self._path} isn't fixed: {source}."))
        before = self._editor.text(self._file)
        if self._options.show_fixes:
            await self._gather(self._findings.values())
        if self._options.fix or self._options.diff:
            await self._apply_all()
        after = self._editor.text(self._file)
        notes, diffs, text = total.notes, total.diffs, total.fixed_text
        if self._options.diff and after != before:
            diffs = (*diffs, FileDiff(self._path, _diff(self._path, before, after)))
        if self._options.fix and self._options.stdin_filename:
            text = after
        elif self._options.fix and after != before:
            self._write(source, before, after)
        return replace(
            total,
            applied=(*total.applied, *self._applied),
            diffs=diffs,
            fixed_text=text,
            notes=notes,
            offers={**(total.offers or {}), **self._offers},
        )

    def _open(self) -> SourceText | str:
        if self._options.stdin_filename:
            return SourceText(self._options.stdin or "", "utf-8")
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
        if self._file.is_symlink() or self._file.read_bytes() != old:
            raise WorkspaceError(f"{self._path} changed while it was being fixed; run again.")
        write_bytes(os.fspath(self._file), new)

    async def _gather(self, findings: Iterable[Finding]) -> None:
        """A fix for each finding by itself."""
        for finding in findings:
            fix = await self._resolve(finding)
            if fix is None or (_is_unsafe(fix) and not self._options.unsafe_fixes):
                continue
            lines = split_lines(self._editor.text(self._file))
            self._offers[self._path, finding.identity] = _offered(fix, lines)

    async def _apply_all(self) -> None:
        """One after another, each in the text that the ones before it have left."""
        refused: set[str] = set()
        while len(self._applied) < _MOST_IN_A_FILE:
            waiting = [one for one in await self._present() if one.identity not in refused]
            if not waiting:
                return
            finding = waiting[0]
            fix = await self._resolve(finding)
            if fix is None or (_is_unsafe(fix) and not self._options.unsafe_fixes):
                refused.add(finding.identity)
                continue
            told = fix["data"]["fix"]
            self._editor.change_to(self._file, _edited(self._editor.text(self._file), fix))
            first = self._findings.get(finding.identity, finding)
            self._applied.append(
                AppliedFix(
                    self._path, finding.rule, finding.identity, first.span.start_line,
                    str(told["title"]), str(told["label"]), bool(told["unsafe"]),
                )
            )  # fmt: skip

    async def _present(self) -> list[Finding]:
        """Those of the findings that the text, as it is now, still has."""
        document = {"textDocument": {"uri": self._file.as_uri()}}
        report = await self._client.request("textDocument/diagnostic", document)
        identities = [
            data["identity"]
            for item in report.get("items") or []
            if isinstance(data := item.get("data"), dict) and "identity" in data
        ]
        ours = [self._findings[one] for one in identities if one in self._findings]
        foreign = [one for one in self._findings.values() if one.scanners == ("sarif",)]
        done = {one.identity for one in self._applied}
        return ours + [one for one in foreign if one.identity not in done]

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
                "about": _about(finding),
            },
        }
        try:
            resolved = await self._client.request("codeAction/resolve", action)
        except ServerFailed:
            return None
        return resolved if resolved.get("edit") else None


def _about(finding: Finding) -> dict[str, Any]:
    about: dict[str, Any] = {"identity": finding.identity, "rule": finding.rule}
    if finding.scanners == ("sarif",):
        about["finding"] = msgspec.to_builtins(finding)
    return about


def _is_unsafe(action: Json) -> bool:
    return bool(action["data"]["fix"]["unsafe"])


def _text_edits(action: Json) -> list[tuple[Span, str]]:
    """The action's edits in order; the server counts columns in code points here."""
    return sorted(
        (
            Span(
                edit["range"]["start"]["line"],
                edit["range"]["start"]["character"],
                edit["range"]["end"]["line"],
                edit["range"]["end"]["character"],
            ),
            str(edit["newText"]),
        )
        for change in action["edit"]["documentChanges"]
        for edit in change["edits"]
    )


def _offered(action: Json, lines: Sequence[str]) -> OfferedFix:
    told = action["data"]["fix"]
    replacements = tuple(Replacement.of(lines, span, text) for span, text in _text_edits(action))
    return OfferedFix(
        str(told["title"]), replacements, str(told["label"]), told["origin"] or "codemod",
        bool(told["unsafe"]), str(told["note"]),
    )  # fmt: skip


def _edited(text: str, action: Json) -> str:
    lines = split_lines(text)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    for span, new in reversed(_text_edits(action)):
        start = starts[span.start_line] + span.start_column
        end = starts[span.end_line] + span.end_column
        text = text[:start] + new + text[end:]
    return text


def _diff(path: str, before: str, after: str) -> str:
    old, new = (
        [line if line.endswith(("\n", "\r")) else line + "\n\\ No newline at end of file\n" for line in side]
        for side in (
            [line for line in split_lines(before) if line],
            [line for line in split_lines(after) if line],
        )
    )
    return "".join(difflib.unified_diff(old, new, f"a/{path}", f"b/{path}"))
