"""Documents stay the editor's: in any encoding, and after whatever a client sends about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


def text_above(home: Any) -> str:
    """What the model read above the cursor's line, the last time it was asked."""
    return str((home.root / "script" / "prefix").read_bytes().decode())


def place(line: int, character: int) -> dict[str, int]:
    return {"line": line, "character": character}


def span(first: tuple[int, int], last: tuple[int, int]) -> dict[str, Any]:
    return {"start": place(*first), "end": place(*last)}


@pytest.mark.parametrize(
    ("offered", "chosen", "fox"),
    [
        (["utf-8", "utf-16"], "utf-8", 4),
        (["utf-32"], "utf-32", 1),
        (["utf-16", "utf-32"], "utf-16", 2),
        (["koi8-r"], "utf-16", 2),
        (None, "utf-16", 2),
    ],
)
async def test_columns_are_counted_in_the_units_that_were_agreed_on(
    home, start_server, workspace: Path, offered: list[str] | None, chosen: str, fox: int
) -> None:
    server = await start_server(home, engine="build")
    general = {"general": {"positionEncodings": offered}} if offered else {}
    await server.initialize([workspace], capabilities=general)
    assert server.capabilities["positionEncoding"] == chosen
    uri = server.open(workspace / "fox.py", "🦊🦊b\n")
    server.insert(uri, 0, 2 * fox, "=")
    server.insert(uri, 0, fox, " ")
    answer = await server.request(
        "textDocument/inlineCompletion",
        {
            "textDocument": {"uri": uri},
            "position": place(0, 2 * fox + 2),
            "context": {"triggerKind": 1},
        },
    )
    assert "begin fox.py 🦊 🦊=" in home.journal()
    (item,) = answer["items"]
    assert item["range"] == span((0, 2 * fox + 2), (0, 2 * fox + 2))


async def test_a_column_inside_a_character_is_its_start(scripted, home, workspace: Path) -> None:
    uri = scripted.open(workspace / "fox.py", "a🦊b")
    scripted.insert(uri, 0, 2, "=")
    await scripted.ghost(uri, 0, 2)
    assert "begin fox.py a=" in home.journal()


async def test_a_document_with_crlf_gets_lines_that_end_so(scripted, home, workspace: Path) -> None:
    home.script("say", "\n    one()\n    two()\n")
    uri = scripted.open(workspace / "new.py", "if True:\r\n    pass\r\n\r\nif x:")
    (text,) = await scripted.ghost(uri, 3, 5)
    assert text == "\r\n    one()\r\n    two()"
    # What the model reads has plain newlines.
    assert text_above(home) == "if True:\n    pass\n\n"


async def test_lines_end_where_the_protocol_says_and_nowhere_else(scripted, home, workspace: Path) -> None:
    uri = scripted.open(workspace / "odd.py", "a\x0cb\u2028c\x85d\n")
    scripted.insert(uri, 1, 0, "x = 1\rlast")
    await scripted.ghost(uri, 2, 4)
    assert "begin odd.py last" in home.journal()
    assert text_above(home) == "a\x0cb\u2028c\x85d\nx = 1\n"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param([{"text": 5}], id="a number as text"),
        pytest.param([{"text": None}], id="null as text"),
        pytest.param([{"range": span((0, 0), (0, 0)), "text": ["x"]}], id="a list as text"),
        pytest.param([{"range": span((0, 0), (0, 0))}], id="no text"),
        pytest.param([{"range": span((0, -1), (0, 0)), "text": "x"}], id="a negative column"),
        pytest.param([{"range": span((-1, 0), (0, 0)), "text": "x"}], id="a negative line"),
        pytest.param([{"range": {"start": place(0, 0)}, "text": "x"}], id="half a range"),
        pytest.param([{"range": "all", "text": "x"}], id="a text as range"),
        pytest.param([{"text": "good"}, {"text": None}], id="a good and a bad one"),
        pytest.param("text", id="a text as list"),
        pytest.param(None, id="null"),
    ],
)
async def test_a_change_that_cannot_be_read_leaves_no_wrong_text(
    scripted, home, workspace: Path, changes: object
) -> None:
    other = scripted.open(workspace / "other.py", "beta")
    uri = scripted.open(workspace / "new.py", "alpha")
    scripted.send_changes(uri, changes)
    assert "new.py" in await scripted.until_shown("out of step")
    with pytest.raises(Exception, match=r"new\.py isn't open here") as refused:
        await scripted.ghost(uri, 0, 5)
    assert refused.value.code == -32602
    assert await scripted.ghost(other, 0, 4) == ["BETA"]
    # Further changes of a text that isn't known are not applied to anything.
    scripted.insert(uri, 0, 0, "x")
    assert (await scripted.status())["documents"] == 1
    scripted.open(workspace / "new.py", "alpha beta")
    assert await scripted.ghost(uri, 0, 10) == ["ALPHA BETA"]


async def test_a_text_lost_a_second_time_is_told_a_second_time(scripted, workspace: Path) -> None:
    for _ in range(2):
        uri = scripted.open(workspace / "new.py", "alpha")
        scripted.send_changes(uri, None)
    await scripted.until(lambda: sum("out of step" in sentence for sentence in scripted.shown) == 2)


async def test_an_open_without_text_leaves_no_wrong_text(scripted, workspace: Path) -> None:
    uri = scripted.open(workspace / "new.py", "alpha")
    item = {"uri": uri, "languageId": "python", "version": 2, "text": None}
    scripted.notify("textDocument/didOpen", {"textDocument": item})
    await scripted.until_shown("The text of new.py got out of step")
    assert (await scripted.status())["documents"] == 0


async def test_a_change_that_names_no_document_leaves_none_trusted(scripted, workspace: Path) -> None:
    uris = [scripted.open(workspace / name, "alpha") for name in ("one.py", "two.py")]
    scripted.notify("textDocument/didChange", {"contentChanges": [{"text": "x"}]})
    for name in ("one.py", "two.py"):
        await scripted.until_shown(f"The text of {name} got out of step")
    assert (await scripted.status())["documents"] == 0
    scripted.open(workspace / "one.py", "alpha")
    assert await scripted.ghost(uris[0], 0, 5) == ["ALPHA"]


async def test_a_text_that_was_lost_is_read_from_disk_in_the_context(scripted, home, workspace: Path) -> None:
    """The dropped document's last text must not stay in what the model reads about the file."""
    uri = scripted.open(workspace / "shapes.py")
    scripted.insert(uri, 0, 0, "# unsaved\n")
    other = scripted.open(workspace / "report.py")
    await scripted.ghost(other, 0, 0)
    report = await scripted.until_status(lambda report: report["context"]["log_tokens"])
    assert [f["region"] for f in report["context"]["files"] if f["path"] == "shapes.py" and f["current"]] == [
        "log"
    ]
    scripted.send_changes(uri, None)
    await scripted.until_shown("out of step")
    segments = (await scripted.status())["worker"]["contexts"][0]["segments"]
    await scripted.until_status(
        lambda report: (
            [f["current"] for f in report["context"]["files"] if f["path"] == "shapes.py"].count(True) == 1
            and report["worker"]["contexts"][0]["segments"] != segments
        )
    )


async def test_a_position_past_an_end_is_that_end(scripted, home, workspace: Path) -> None:
    uri = scripted.open(workspace / "new.py", "alpha\nbeta")
    assert await scripted.ghost(uri, 0, 10**6) == ["ALPHA"]
    for line, character in [(10**6, 0), (1, 10**6), (2**31 - 1, 2**31 - 1)]:
        assert await scripted.ghost(uri, line, character) == ["BETA"]
    begun = [line for line in home.journal() if line.startswith("begin")]
    assert begun == ["begin new.py alpha", "begin new.py beta"]  # the same end: answered from the cache


async def test_a_negative_position_is_refused_in_one_sentence(home, start_server, workspace: Path) -> None:
    server = await start_server(home, engine="build")
    await server.initialize([workspace], {"completion": {"menu": "always"}})
    uri = server.open(workspace / "new.py", "alpha")
    for method in ("textDocument/inlineCompletion", "textDocument/completion"):
        for position in (place(-1, 0), place(0, -1), place(-(2**31), 5)):
            params = {"textDocument": {"uri": uri}, "position": position, "context": {"triggerKind": 1}}
            with pytest.raises(Exception, match="aren't valid") as refused:
                await server.request(method, params)
            assert refused.value.code == -32602
    assert await server.ghost(uri, 0, 5) == ["ALPHA"]


async def test_what_is_said_about_documents_that_are_not_open_changes_nothing(
    scripted, workspace: Path
) -> None:
    uri = (workspace / "new.py").as_uri()
    scripted.close(uri)
    scripted.notify("textDocument/didSave", {"textDocument": {"uri": uri}})
    with pytest.raises(Exception, match=r"new\.py isn't open here"):
        await scripted.ghost(uri, 0, 0)
    scripted.open(workspace / "new.py", "alpha")
    scripted.open(workspace / "new.py", "beta")  # twice: the newer text counts
    assert await scripted.ghost(uri, 0, 4) == ["BETA"]
    scripted.close(uri)
    scripted.close(uri)
    assert (await scripted.status())["documents"] == 0


async def test_a_document_that_is_no_file_is_answered_alone(scripted, home) -> None:
    for uri in ("untitled:Untitled-1", "git:/repo/file.py?ref", "file://elsewhere/share/x.py", "no uri", ""):
        scripted.open(uri, "alpha")
        assert await scripted.ghost(uri, 0, 5) == ["ALPHA"], uri
    assert {line for line in home.journal() if line.startswith("sync")} == {"sync report.py shapes.py"}
    paths = {file["path"] for file in (await scripted.status())["context"]["files"]}
    assert paths == {"report.py", "shapes.py"}
