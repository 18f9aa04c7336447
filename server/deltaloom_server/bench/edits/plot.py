"""The plot: tokens read after an edit against the context's size, one small panel for each kind of edit.

Invariant: all panels have the same axes, both logarithmic, and each shows the first reading of the very same
run; a kind's line is its dearest scenario, never its mean. Equal results give the equal file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deltaloom_server.errors import DeltaloomError

from .result import LLAMA_IN_PLACE, LLAMA_LOG, OURS, SYSTEMS, Result, SizeRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Points = Sequence[tuple[int, int]]
"""(context's size, tokens read), smallest size first."""

_COLUMNS = 4
_PANEL_INCHES = (2.9, 2.2)
_HEADING_INCHES = 0.95
_COLD = "first reading"
_COLORS = {_COLD: "#8a8a8a", OURS: "#1f5fbf", LLAMA_IN_PLACE: "#c8501e", LLAMA_LOG: "#2e8b57"}
_DASHES = {_COLD: (4, 2), OURS: (), LLAMA_IN_PLACE: (), LLAMA_LOG: (1, 1)}
_WITHOUT_BOUND = "free"
_LOWEST = 0.25
"""Room below the lowest line for its figures; nothing read is drawn as one token."""


def plotted_groups(result: Result) -> list[str]:
    """The kinds of edits that have a bound, in the order in which they were first measured."""
    rows = [row for run in result.runs for row in run.rows]
    return list(dict.fromkeys(row.group for row in rows if row.rule != _WITHOUT_BOUND and not row.skipped))


def group_lines(result: Result, group: str) -> dict[str, Points]:
    """By system, the dearest scenario of this kind at each size; systems that measured none are left out."""
    lines: dict[str, Points] = {}
    for system in SYSTEMS:
        points = []
        for run in result.of(system):
            read = [row.tokens for row in run.rows if row.group == group and not row.skipped]
            if read:
                points.append((run.context, max(read)))
        if points:
            lines[system] = points
    return lines


def cold_points(runs: Sequence[SizeRun]) -> Points:
    """The first reading at each size."""
    return [(run.context, run.cold.tokens) for run in runs]


def write_plot(result: Result, path: Path) -> None:
    """Write the plot as SVG. Raises DeltaloomError without matplotlib, or where the file can't be written."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise DeltaloomError(
            "The plot needs matplotlib; install it with `pip install 'deltaloom[bench]'`."
        ) from None
    groups = plotted_groups(result)
    if not groups:
        raise DeltaloomError("There is nothing to plot: no edit was measured.")
    # Text stays text, and neither the time nor chance gets into the file.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "deltaloom", "font.size": 9}):
        figure = Figure()
        _draw(figure, result, groups)
        try:
            figure.savefig(path, format="svg", metadata={"Date": None})
        except OSError as error:
            raise DeltaloomError(f"{path} can't be written ({error.strerror}).") from None


def _draw(figure: Figure, result: Result, groups: Sequence[str]) -> None:
    columns = min(_COLUMNS, len(groups))
    rows = -(-len(groups) // columns)
    width, height = _PANEL_INCHES[0] * max(columns, 2), _PANEL_INCHES[1] * rows + _HEADING_INCHES
    figure.set_size_inches(width, height)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    figure.subplots_adjust(
        left=0.95 / width, right=1 - 0.2 / width, top=1 - 1.05 / height, bottom=0.55 / height,
        hspace=0.28, wspace=0.08,
    )  # fmt: skip
    sizes = sorted({run.context for run in result.runs})
    panels = [panel for line in grid for panel in line]
    for panel, group in zip(panels, groups, strict=False):
        lines = {_COLD: cold_points(result.of(OURS) or result.runs), **group_lines(result, group)}
        _draw_panel(panel, group, lines, sizes)
    for number, panel in enumerate(panels):
        if number >= len(groups):
            panel.set_visible(False)
        elif number + columns >= len(groups):
            panel.tick_params(labelbottom=True)
    handles = {line.get_label(): line for panel in panels for line in panel.get_lines()}
    figure.suptitle(
        "Tokens read after an edit, before the first new token", x=0.02, y=1 - 0.12 / height,
        ha="left", va="top", fontsize=12,
    )  # fmt: skip
    figure.legend(
        list(handles.values()), [str(label) for label in handles], loc="upper left", ncols=len(handles),
        frameon=False, bbox_to_anchor=(0.01, 1 - 0.36 / height), borderaxespad=0.2,
    )  # fmt: skip
    figure.supxlabel("tokens of context", y=0.1 / height, fontsize=9)
    figure.supylabel("tokens read", x=0.1 / width, fontsize=9)


def _draw_panel(panel: Axes, group: str, lines: Mapping[str, Points], sizes: Sequence[int]) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    for system, points in lines.items():
        panel.plot(
            [size for size, _ in points], [max(1, read) for _, read in points], label=system,
            color=_COLORS[system], dashes=_DASHES[system], linewidth=1.8 if system == OURS else 1.3,
            marker="o", markersize=3.5,
        )  # fmt: skip
    for size, read in lines.get(OURS, ()):
        panel.annotate(
            f"{read:,}", (size, max(1, read)), textcoords="offset points", xytext=(0, -10.5), ha="center",
            color=_COLORS[OURS], fontsize=7.5,
        )  # fmt: skip
    panel.set_title(group, loc="left", fontsize=9)
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_xlim(sizes[0] / 1.7, sizes[-1] * 1.7)
    panel.set_ylim(_LOWEST, sizes[-1] * 2.2)
    panel.xaxis.set_major_locator(FixedLocator([float(size) for size in sizes]))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _place: _short(value)))
    panel.yaxis.set_major_locator(FixedLocator([1.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0]))
    panel.yaxis.set_minor_locator(NullLocator())
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:,.0f}"))
    panel.grid(color="#e4e4e4", linewidth=0.6)
    panel.set_axisbelow(True)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)


def _short(tokens: float) -> str:
    """`4K` for 4096, the plain number where it isn't a whole multiple."""
    return f"{tokens / 1024:.0f}K" if tokens % 1024 == 0 else f"{tokens:,.0f}"
