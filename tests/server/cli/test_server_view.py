from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from deltaloom_server.cli.server_report import parse_report
from deltaloom_server.cli.server_view import render_server

REPORT: dict[str, Any] = {
    "version": "1",
    "roots": ["/shop"],
    "engine": {"state": "ready", "detail": ""},
    "context": {
        "state": "ready",
        "budget": 4096,
        "base_tokens": 900,
        "files": [
            {"path": "cart.py", "region": "base", "tokens": 500, "current": True, "form": "full"},
            {"path": "money.py", "region": "base", "tokens": 80, "current": True, "form": "outline"},
            {"path": "FILES", "region": "base", "tokens": 20, "current": True, "form": "names"},
            {"path": "stock.py", "region": "base", "tokens": 300, "current": False, "form": "full"},
            {"path": "stock.py", "region": "log", "tokens": 310, "current": True},
        ],
        "left_out": [
            {"path": "a/deep.py", "reason": "over budget, in as a name only"},
            {"path": "a/deeper.py", "reason": "over budget"},
        ],
        "left_out_by_reason": {"over budget, in as a name only": 1, "over budget": 1},
    },
}


def shown(every_file: bool) -> list[list[str]]:
    console = Console(width=160, file=io.StringIO())
    console.print(render_server(7, parse_report(REPORT), every_file))
    return [line.split() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_each_file_says_how_it_stands_and_each_other_one_why_it_does_not() -> None:
    lines = shown(every_file=True)
    assert ["cart.py", "in", "full", "base", "500"] in lines
    assert ["money.py", "outline", "base", "80"] in lines
    assert ["FILES", "names", "of", "other", "files", "base", "20"] in lines
    assert ["stock.py", "in", "full", "base,", "stale", "300"] in lines
    assert ["stock.py", "in", "full", "log", "310"] in lines
    assert ["a/deep.py", "over", "budget,", "in", "as", "a", "name", "only"] in lines
    assert ["a/deeper.py", "over", "budget"] in lines


def test_the_summary_counts_files_and_outlines_but_no_list_and_no_stale_copy() -> None:
    text = " ".join(" ".join(line) for line in shown(every_file=False))
    assert "3 files (1 as outlines), 900 of 4,096 tokens" in text
    assert "money.py" not in text


def test_a_server_that_says_nothing_of_forms_shows_full_files() -> None:
    files = [{"path": "cart.py", "region": "base", "tokens": 500}]
    report = parse_report({"context": {"state": "ready", "files": files}})
    assert report.context.files[0].form == "full"
    assert report.outlines == 0
