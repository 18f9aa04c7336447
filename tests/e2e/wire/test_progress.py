"""Long work is shown to clients that can show it, may be cancelled by them, and never waits for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

SHOWS_PROGRESS = {"window": {"workDoneProgress": True}}
CREATE = "window/workDoneProgress/create"


def values(server: Any) -> list[tuple[str, dict[str, Any]]]:
    """(token, value) of each progress notification."""
    return [
        (params["token"], params["value"]) for name, params in server.notifications if name == "$/progress"
    ]


@pytest.fixture
async def slow(home, start_server, workspace):
    """A server whose first reading goes on until `hold sync` is taken away; progress has begun."""
    home.script("hold sync")
    server = await start_server(home, engine="build")
    await server.initialize([workspace], capabilities=SHOWS_PROGRESS)
    await server.until(lambda: any(value["kind"] == "report" for _, value in values(server)))
    return server


async def test_reading_is_shown_from_begin_to_end(slow, home) -> None:
    (home.root / "script" / "hold sync").unlink()
    await slow.until_context()
    await slow.until(lambda: values(slow)[-1][1]["kind"] == "end")
    (asked,) = [params["token"] for method, params in slow.requests if method == CREATE]
    assert {token for token, _ in values(slow)} == {asked}
    kinds = [value["kind"] for _, value in values(slow)]
    assert kinds == ["begin", *["report"] * (len(kinds) - 2), "end"]
    begin = values(slow)[0][1]
    assert begin["title"] == "Deltaloom"
    assert begin["cancellable"]
    shown = [value["percentage"] for _, value in values(slow) if value.get("percentage") is not None]
    assert shown == sorted(shown)
    assert shown[-1] == 100


async def test_a_cancel_stops_the_reading_and_completions_go_on_without_it(slow, home, workspace) -> None:
    token = values(slow)[0][0]
    slow.notify("window/workDoneProgress/cancel", {"token": token})
    report = await slow.until_context("cancelled")
    assert "was cancelled" in report["context"]["detail"]
    await slow.until(lambda: values(slow)[-1][1]["kind"] == "end")
    (home.root / "script" / "hold sync").unlink()
    uri = slow.open(workspace / "new.py", "alpha")
    assert await slow.ghost(uri, 0, 5) == ["ALPHA"]
    assert not any(line.startswith("sync") for line in home.journal())
    # A change of the workspace's folders begins anew.
    other = workspace.parent / "other"
    other.mkdir()
    added = {"uri": other.as_uri(), "name": "other"}
    slow.notify("workspace/didChangeWorkspaceFolders", {"event": {"added": [added], "removed": []}})
    await slow.until_context()


async def test_a_cancel_of_work_that_is_not_there_changes_nothing(slow, home) -> None:
    for token in ("unknown", 5):
        slow.notify("window/workDoneProgress/cancel", {"token": token})
    (home.root / "script" / "hold sync").unlink()
    await slow.until_context()
    slow.notify("window/workDoneProgress/cancel", {"token": values(slow)[0][0]})
    assert (await slow.until_context())["context"]["state"] == "ready"


async def test_a_client_that_shows_none_is_asked_nothing(scripted) -> None:
    assert scripted.requests == []
    assert values(scripted) == []


@pytest.mark.parametrize("answer", ["refuses", "never answers"])
async def test_a_client_that_does_not_accept_gets_none_and_the_work_goes_on(
    home, start_server, workspace: Path, answer: str
) -> None:
    server = await start_server(home, engine="build")
    server.refusals[CREATE] = None if answer == "never answers" else "no room for that"
    await server.initialize([workspace], capabilities=SHOWS_PROGRESS)
    await server.until_context()
    assert [method for method, _ in server.requests] == [CREATE]
    assert values(server) == []
    assert await server.leave() == 0
