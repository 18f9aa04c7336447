"""How a language server's report looks in the terminal.

Invariant: shows what the server said; a list cut short says how much of it is missing.
"""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from deltaloom_server.cli.server_report import (
    ContextStatus,
    LastCompletion,
    SecurityStatus,
    ServerReport,
)
from deltaloom_server.cli.sizes import format_milliseconds
from deltaloom_server.cli.status_view import facts_table, plain_table

_SHOWN_LEFT_OUT = 10
_FORMS = {"full": "in full", "outline": "outline", "names": "names of other files"}


def render_server(pid: int, report: ServerReport, every_file: bool) -> RenderableType:
    """Workspace, context, what is left out and why, the last completion, and what the user was told."""
    engine = report.engine
    heading = Text.assemble(("Language server", "bold"), f"  process {pid}, version {report.version}")
    facts = facts_table()
    facts.add_row("workspace", escape(", ".join(report.roots)) or "no folder is open")
    facts.add_row("model", _with_detail(str(engine.get("state", "")), str(engine.get("detail", ""))))
    facts.add_row("context", _describe_context(report))
    if report.last_completion is not None:
        facts.add_row("last answer", _describe_completion(report.last_completion))
    facts.add_row("findings", escape(_describe_findings(report.security)))
    if report.security.last_fix:
        facts.add_row("last fix", escape(report.security.last_fix))
    for note in (*report.context.notes, *report.messages, *report.security.not_scanned):
        facts.add_row("note", escape(note))
    if report.log:
        facts.add_row("log", escape(report.log))
    parts: list[RenderableType] = [heading, Padding(facts, (0, 0, 0, 2))]
    if every_file and report.context.files:
        parts.append(Padding(_files_table(report.context), (0, 0, 0, 2)))
    if report.context.left_out:
        parts.append(Padding(_left_out_table(report.context, every_file), (0, 0, 0, 2)))
    return Group(*parts, "")


def _with_detail(state: str, detail: str) -> str:
    return escape(f"{state}: {detail}" if detail else state)


def _describe_context(report: ServerReport) -> str:
    context = report.context
    state = _with_detail(context.state, context.detail)
    if context.state == "indexing" and context.total:
        state = f"{state} {100 * context.done // context.total}%"
    budget = f" of {context.budget:,}" if context.budget else ""
    tokens = f"{report.tokens:,}{budget} tokens (base {context.base_tokens:,}, log {context.log_tokens:,})"
    outlines = f" ({report.outlines} as outlines)" if report.outlines else ""
    return f"{state}; {report.files} files{outlines}, {tokens}"


def _describe_completion(last: LastCompletion) -> str:
    time = format_milliseconds(last.milliseconds)
    if last.source == "model":
        return f"{last.new_tokens} new tokens in {time}; read {last.read_by_cause}"
    return f"from the cache in {time}" if last.source == "cache" else escape(f"none: {last.reason}")


def _describe_findings(security: SecurityStatus) -> str:
    if not security.enabled:
        return "off (security.enabled)"
    if not security.started:
        return "nothing has been looked at yet"
    text = f"{security.findings} in {security.documents} open documents"
    if security.workspace.files:
        unfinished = "" if security.workspace.complete else ", not finished"
        text += f"; {security.workspace.findings} in {security.workspace.files} files{unfinished}"
    return f"{text} ({', '.join(security.scanners)})"


def _files_table(context: ContextStatus) -> Table:
    table = plain_table("in the context, in its order", "file", "how", "where", "tokens")
    for file in context.files:
        where = file.region if file.current else f"{file.region}, stale"
        table.add_row(escape(file.path), _FORMS.get(file.form, file.form), where, f"{file.tokens:,}")
    return table


def _left_out_table(context: ContextStatus, every_file: bool) -> Table:
    table = plain_table(f"left out: {context.left_out_counts}", "path", "why")
    shown = context.left_out if every_file else context.left_out[:_SHOWN_LEFT_OUT]
    for entry in shown:
        table.add_row(escape(entry.path), entry.reason)
    if len(shown) < len(context.left_out):
        table.add_row(f"… and {len(context.left_out) - len(shown)} more (--all shows them)", "")
    return table
