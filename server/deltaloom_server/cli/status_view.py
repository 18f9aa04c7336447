"""How a worker's status looks in the terminal.

Invariant: shows what the worker said, in its order; computes nothing but sums and units.
"""

from __future__ import annotations

from pathlib import PurePath

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from deltaloom_model.api import ContextInfo, EngineStatus, ModelInfo, Restore, TierInfo
from deltaloom_server.cli.sizes import format_bytes, format_milliseconds

_SHOWN_RESTORES = 8


def render_worker(status: EngineStatus) -> RenderableType:
    """Model, memory, contexts, counters and last restores of one worker."""
    heading = Text.assemble(("Model worker", "bold"), f"  process {status.pid}, {status.state}")
    if status.detail:
        heading.append(f": {status.detail}")
    facts = facts_table()
    if status.model is not None:
        facts.add_row("model", _describe_model(status.model))
    facts.add_row("memory", _describe_memory(status))
    facts.add_row("checkpoints", f"{status.checkpoints}, {format_bytes(status.checkpoint_bytes)}")
    for tier in status.tiers:
        if tier.budget_bytes or tier.refusal:
            facts.add_row(f"kept on {tier.name}", _describe_tier(tier))
    if status.counters:
        counted = ", ".join(f"{name} {count:,}" for name, count in status.counters.items())
        facts.add_row("tokens read", counted)
    parts: list[RenderableType] = [heading, Padding(facts, (0, 0, 0, 2))]
    if status.contexts:
        parts.append(Padding(_contexts_table(status.contexts), (0, 0, 0, 2)))
    if status.restores:
        parts.append(Padding(render_restores(status.restores[-_SHOWN_RESTORES:]), (0, 0, 0, 2)))
    return Group(*parts, "")


def facts_table() -> Table:
    """Two columns without lines: what it is, and what it says."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def plain_table(title: str, *columns: str) -> Table:
    """A small table whose first column is text and whose other columns are numbers."""
    table = Table(title=title, title_justify="left", title_style="dim", box=None, padding=(0, 2, 0, 0))
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", header_style="dim")
    return table


def _describe_model(model: ModelInfo) -> str:
    parts = [model.name, model.hash[:12], model.architecture]
    if model.parameters:
        parts.append(f"{model.parameters / 1e6:,.1f}M parameters")
    parts += [model.quantization, model.dtype, model.device]
    if model.context_limit:
        parts.append(f"context {model.context_limit:,} tokens")
    return ", ".join(part for part in parts if part)


def _describe_memory(status: EngineStatus) -> str:
    weights, cache = format_bytes(status.weight_bytes), format_bytes(status.kv_bytes)
    return f"{format_bytes(status.resident_bytes)} resident; weights {weights}, keys and values {cache}"


def _describe_tier(tier: TierInfo) -> str:
    used, budget = format_bytes(tier.used_bytes), format_bytes(tier.budget_bytes)
    parts = [f"{used} of {budget}", f"{tier.checkpoints} checkpoints"]
    if tier.hits:
        parts.append(f"{tier.hits} taken up")
    if tier.refused:
        parts.append(f"{tier.refused} refused")
    return ", ".join(parts) + (f" ({tier.refusal})" if tier.refusal else "")


def _contexts_table(contexts: list[ContextInfo]) -> Table:
    table = plain_table("contexts", "workspace", "segments", "tokens", "in place", "revision")
    for context in contexts:
        name = PurePath(context.workspace).name or context.workspace
        counts = (context.segments, context.tokens, context.done, context.revision)
        table.add_row(name, *(f"{count:,}" for count in counts))
    return table


def render_restores(restores: list[Restore]) -> Table:
    """Where texts diverged, where state was taken up, and what was read again."""
    table = plain_table("last restores", "cause", "divergence", "checkpoint", "read again", "time")
    for restore in restores:
        counts = (f"{count:,}" for count in (restore.divergence, restore.checkpoint, restore.read))
        table.add_row(restore.cause, *counts, format_milliseconds(restore.milliseconds))
    return table
