"""`deltaloom status`: what runs now, and what it has done.

Invariant: it only asks. No worker is started, and every number shown comes from a live worker or server.
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deltaloom_model.api import EngineStatus


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print all of it as JSON")
    parser.add_argument("--all", action="store_true", help="name every file that is left out")


def run(arguments: argparse.Namespace) -> int:
    """Exit status 0 when something runs, 1 when nothing does."""
    from deltaloom_model.client import ping_status
    from deltaloom_model.runtime_folder import runtime_folder
    from deltaloom_server.status_file import read_reports

    workers = ping_status()
    servers = read_reports(runtime_folder())
    if arguments.json:
        print(json.dumps(_as_builtins(workers, servers), indent=2))
    else:
        _show(workers, servers, arguments.all)
    return 0 if workers or servers else 1


def _as_builtins(workers: list[EngineStatus], servers: dict[int, dict[str, Any]]) -> dict[str, Any]:
    import msgspec

    return {
        "workers": msgspec.to_builtins(workers),
        "servers": [{"pid": pid, **report} for pid, report in servers.items()],
    }


def _show(workers: list[EngineStatus], servers: dict[int, dict[str, Any]], every_file: bool) -> None:
    from rich.console import Console

    from deltaloom_server.cli.server_report import parse_report
    from deltaloom_server.cli.server_view import render_server
    from deltaloom_server.cli.status_view import render_worker

    console = Console(highlight=False)
    if not workers:
        console.print("No model worker is running; one starts with the first request.")
    for worker in workers:
        console.print(render_worker(worker))
    if not servers:
        console.print("No language server is running.")
    for pid, report in servers.items():
        console.print(render_server(pid, parse_report(report), every_file))
