"""From a keystroke to ghost text, with the embedded model."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def uri(path: Path) -> dict[str, Any]:
    return {"textDocument": {"uri": path.as_uri()}}


async def test_the_server_says_what_it_can_do(start: Any, workspace: Path) -> None:
    async with start(workspace) as server:
        offered = server.client.capabilities
        assert offered["positionEncoding"] == "utf-16"
        assert offered["inlineCompletionProvider"] is not None
        assert offered["completionProvider"]["resolveProvider"]
        assert offered["textDocumentSync"]["change"] == 2
        report = await server.ready()
        assert sorted(file.path for file in report.context.files) == ["shop/cart.py", "shop/money.py"]


async def test_a_keystroke_reads_the_line_and_not_the_repository(start: Any, workspace: Path) -> None:
    cart = workspace / "shop/cart.py"
    async with start(workspace, completion={"reuse": False}) as server:
        await server.ready()
        server.editor.open(cart)
        first, report = await server.ask(cart, "total = ")
        assert first.text
        assert report.last_completion.source == "model"
        assert report.last_completion.read["anchor"] > 0
        line, column = 8, len("        total = ")
        server.editor.insert(cart, line, column, "(")
        again = await server.editor.ghost_text(cart, line, column + 1)
        read = (await server.report()).last_completion.read
        assert again.text
        assert set(read) <= {"typed", "decode"}
        assert 0 < read["typed"] < 12


async def test_typing_that_agrees_is_answered_without_the_model(start: Any, workspace: Path) -> None:
    cart = workspace / "shop/cart.py"
    async with start(workspace) as server:
        await server.ready()
        server.editor.open(cart)
        first, before = await server.ask(cart, "for item in self")
        assert len(first.text) > 1
        line, column = 9, len("        for item in self")
        server.editor.insert(cart, line, column, first.text[0])
        second = await server.editor.ghost_text(cart, line, column + 1)
        after = await server.report()
        assert second.text == first.text[1:]
        assert after.last_completion.source == "cache"
        assert after.counters == before.counters


async def test_an_edit_of_another_file_reaches_the_next_answer(start: Any, workspace: Path) -> None:
    cart, money = workspace / "shop/cart.py", workspace / "shop/money.py"
    async with start(workspace, completion={"reuse": False}) as server:
        await server.ready()
        server.editor.open(cart)
        _, before = await server.ask(cart, "total = ")
        server.editor.open(money)
        server.editor.insert(money, 0, 0, "LIMIT = 100\n")
        server.editor.save(money)
        answer, after = await server.ask(cart, "total = ")
        assert answer.text
        assert before.last_completion.logits_digest != after.last_completion.logits_digest
        assert after.context.log_tokens > 0
        server.editor.replace_all(money, money.read_text().removeprefix("LIMIT = 100\n"))
        server.editor.save(money)
        _, back = await server.ask(cart, "total = ")
        assert back.last_completion.logits_digest == before.last_completion.logits_digest


async def test_a_file_changed_outside_the_editor_is_read(start: Any, workspace: Path) -> None:
    async with start(workspace) as server:
        await server.ready()
        (workspace / "shop/late.py").write_text("def late():\n    return 1\n", encoding="utf-8")
        report = await server.until(lambda r: any(f.path == "shop/late.py" for f in r.context.files))
        assert report.context.log_tokens > 0


async def test_several_folders_make_one_context(start: Any, workspace: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "tool.py").write_text("def tool():\n    return 2\n", encoding="utf-8")
    async with start(workspace, other) as server:
        paths = {file.path for file in (await server.ready()).context.files}
        assert paths == {"other/tool.py", "repository/shop/cart.py", "repository/shop/money.py"}


async def test_columns_are_counted_in_the_editors_units_and_lines_end_as_they_do(
    start: Any, workspace: Path
) -> None:
    text = 'name = "🦊🦊"; values = [1]\r\n\r\n\r\ndef double(values):\r\n    \r\n'
    path = workspace / "fox.py"
    path.write_bytes(text.encode("utf-8"))
    async with start(workspace) as server:
        await server.ready()
        server.editor.open(path)
        server.editor.insert(path, 0, len('name = "🦊🦊"; values = [1'), ", 2")
        await server.editor.ghost_text(path, 0, 0)
        answer = await server.client.request(
            "textDocument/inlineCompletion",
            {**uri(path), "position": {"line": 4, "character": 4}, "context": {"triggerKind": 1}},
        )
        (item,) = answer["items"]
        assert item["range"]["start"] == item["range"]["end"] == {"line": 4, "character": 4}
        assert "\n" not in item["insertText"].replace("\r\n", "")
        assert server.editor.text(path).startswith('name = "🦊🦊"; values = [1, 2]\r\n')


async def test_a_client_without_ghost_text_gets_an_entry_and_its_text(raw: Any, workspace: Path) -> None:
    from deltaloom_server.session import file_path

    cart = workspace / "shop/cart.py"
    assert file_path(cart.as_uri()) == str(cart)
    options = {"model": {"threads": 1}, "worker": {"idle_seconds": 1}}
    folders = [{"uri": workspace.as_uri(), "name": "repository"}]
    await raw.initialize(workspaceFolders=folders, initializationOptions=options)
    await raw.notify("initialized", {})
    item = {"uri": cart.as_uri(), "languageId": "python", "version": 1, "text": cart.read_text()}
    await raw.notify("textDocument/didOpen", {"textDocument": item})
    position = {"line": 9, "character": len("        for item in self")}
    answer = await raw.request("textDocument/completion", {**uri(cart), "position": position}, 2)
    (entry,) = answer["result"]["items"]
    assert answer["result"]["isIncomplete"]
    assert entry["textEdit"]["newText"].startswith("self")
    assert entry["textEdit"]["range"]["end"] == position
    assert "documentation" not in entry
    resolved = await raw.request("completionItem/resolve", entry, 3)
    assert "result" in resolved, resolved
    # Markdown is for clients that say they show it.
    assert resolved["result"]["documentation"] == entry["textEdit"]["newText"]


async def test_progress_is_shown_from_beginning_to_end(start: Any, workspace: Path) -> None:
    async with start(workspace) as server:
        await server.ready()
        await server.until(lambda _: any(k == "end" for k in _kinds(server.notifications)))
        kinds = _kinds(server.notifications)
        assert kinds[0] == "begin"
        assert kinds.count("begin") == kinds.count("end")


def _kinds(notifications: list[tuple[str, dict[str, Any]]]) -> list[str]:
    return [params["value"]["kind"] for method, params in notifications if method == "$/progress"]


async def test_a_file_outside_every_folder_is_answered_alone(
    start: Any, workspace: Path, tmp_path: Path
) -> None:
    path = tmp_path / "alone.py"
    path.write_text("def twice(value):\n    return \n", encoding="utf-8")
    async with start(workspace) as server:
        await server.ready()
        server.editor.open(path)
        answer, report = await server.ask(path, "return ")
        assert answer.text
        assert not report.last_completion.repository_context
