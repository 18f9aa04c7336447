"""What an item says: where it begins, what it replaces, and in which of an editor's places it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


def span(line: int, first: int, last: int) -> dict[str, Any]:
    return {"start": {"line": line, "character": first}, "end": {"line": line, "character": last}}


async def item_at(server: Any, uri: str, line: int, character: int, **context: Any) -> dict[str, Any]:
    params = {
        "textDocument": {"uri": uri},
        "position": {"line": line, "character": character},
        "context": {"triggerKind": 1, **context},
    }
    (item,) = (await server.request("textDocument/inlineCompletion", params))["items"]
    return dict(item)


async def test_an_entry_chosen_in_the_editors_list_is_gone_on_from(scripted, home, workspace: Path) -> None:
    home.script("say", "(item)")
    uri = scripted.open(workspace / "new.py", "items.ap")
    chosen = {"range": span(0, 6, 8), "text": "append"}
    item = await item_at(scripted, uri, 0, 8, selectedCompletionInfo=chosen)
    assert "begin new.py items.append" in home.journal()
    assert item["insertText"] == "append(item)"
    assert item["range"] == span(0, 6, 8)


async def test_a_range_stays_on_its_line_and_takes_closing_characters_along(
    scripted, home, workspace: Path
) -> None:
    home.script("say", "one, two)\n")
    uri = scripted.open(workspace / "new.py", "first()\ncall()\nlast()\n")
    item = await item_at(scripted, uri, 1, 5)
    assert item["range"]["start"] == {"line": 1, "character": 5}
    assert item["range"]["end"]["line"] == 1
    end = item["range"]["end"]["character"]
    assert "call(" + item["insertText"] + "call()"[end:] == "call(one, two)"


@pytest.mark.parametrize(
    ("menu", "ghost_text", "expected"),
    [("auto", True, 0), ("auto", False, 1), ("always", True, 1), ("never", False, 0)],
)
async def test_the_editors_list_has_an_entry_where_it_is_wanted(
    home, start_server, workspace: Path, menu: str, ghost_text: bool, expected: int
) -> None:
    server = await start_server(home, engine="build")
    text_document = {"inlineCompletion": {}} if ghost_text else {}
    await server.initialize(
        [workspace], {"completion": {"menu": menu}}, capabilities={"textDocument": text_document}
    )
    uri = server.open(workspace / "new.py", "x = alpha")
    params = {"textDocument": {"uri": uri}, "position": {"line": 0, "character": 9}}
    answer = await server.request("textDocument/completion", params)
    assert answer["isIncomplete"]
    assert len(answer["items"]) == expected
    for item in answer["items"]:
        # The editor filters by the word that stands there, so the entry begins with it.
        assert item["textEdit"] == {"range": span(0, 4, 9), "newText": "alphaX = ALPHA"}
        assert item["filterText"].startswith("alpha")


async def test_a_trigger_inside_a_word_or_before_code_gives_nothing_and_says_why(
    scripted, workspace: Path
) -> None:
    uri = scripted.open(workspace / "new.py", "alphabet\ncall(one)\n")
    assert await scripted.ghost(uri, 0, 5, invoked=False) == []
    assert "within a word" in await scripted.reason()
    assert await scripted.ghost(uri, 1, 0, invoked=False) == []
    assert await scripted.reason()
    assert await scripted.source() == "none"
