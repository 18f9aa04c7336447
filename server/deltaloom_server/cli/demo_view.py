"""How the demonstration looks in the terminal. Invariant: shows what it is given, and judges nothing."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape

from deltaloom_server.cli.cursors import Cursor
from deltaloom_server.cli.editor import Suggestion
from deltaloom_server.cli.lsp_client import LspClient
from deltaloom_server.cli.server_report import LastCompletion, ServerReport, fetch_report
from deltaloom_server.cli.sizes import format_milliseconds
from deltaloom_server.cli.status_view import render_restores


def show_context(console: Console, workspace: Path, report: ServerReport) -> None:
    """What the server has read of the workspace, and what it left out."""
    console.print(
        f"[bold]{escape(workspace.name)}[/]: {report.files} files, {report.tokens:,} tokens in context"
    )
    if counted := report.context.left_out_counts:
        console.print(f"[dim]left out: {escape(counted)}[/]")
    if report.model:
        console.print(f"[dim]model: {escape(report.model)}[/]")


def show_answer(
    console: Console,
    workspace: Path,
    label: str,
    cursor: Cursor,
    suggestion: Suggestion,
    last: LastCompletion,
) -> None:
    """One suggestion in its place, what stood there before, and what it cost."""
    place = f"{cursor.path.relative_to(workspace)}:{cursor.line + 1}"
    console.print(f"\n[bold]{label}[/] {escape(place)}  [dim]there stood: {escape(cursor.rest)}[/]")
    first, *others = (suggestion.text or "(nothing)").split("\n")
    console.print(f"   {escape(cursor.typed)}[reverse] [/][cyan]{escape(first)}[/]", soft_wrap=True)
    for line in others:
        console.print(f"   [cyan]{escape(line)}[/]", soft_wrap=True)
    console.print(
        f"   [dim]{format_milliseconds(suggestion.milliseconds)}; {last.new_tokens} new tokens; "
        f"read {last.read_by_cause}; context {last.context_tokens:,}[/]"
    )


async def show_restores(console: Console, client: LspClient) -> None:
    """The last restores, as the engine counts them."""
    report = await fetch_report(client)
    if report.restores:
        console.print()
        console.print(render_restores(report.restores))
