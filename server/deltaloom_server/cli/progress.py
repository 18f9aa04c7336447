"""The server's `$/progress` as bars on stderr.

Invariant: stdout is never touched, and where stderr isn't a terminal nothing is shown at all.
"""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class TerminalProgress:
    """Shows work that the server reports, while the `with` block runs. `take` is a notification handler."""

    def __init__(self) -> None:
        self._bars: Progress | None = _make_bars() if sys.stderr.isatty() else None
        self._tasks: dict[str | int, TaskID] = {}

    def __enter__(self) -> TerminalProgress:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def take(self, method: str, params: dict[str, Any]) -> None:
        """Follow one notification of the server; others than `$/progress` are passed over."""
        if self._bars is None or method != "$/progress":
            return
        token, value = params["token"], params["value"]
        if value["kind"] == "begin":
            known = value.get("percentage") is not None
            self._tasks[token] = self._bars.add_task(value["title"], total=100 if known else None, detail="")
        if (task := self._tasks.get(token)) is None:
            return
        if value["kind"] == "end":
            self._bars.remove_task(self._tasks.pop(token))
            return
        if (percentage := value.get("percentage")) is not None:
            self._bars.update(task, total=100, completed=percentage)
        if message := value.get("message"):
            self._bars.update(task, detail=message)


def _make_bars() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[detail]}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
