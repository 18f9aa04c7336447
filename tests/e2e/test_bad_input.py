"""Whatever a workspace or a client brings: one clear sentence, and the session goes on."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

POSITION = {"line": 1, "character": 11}


async def answers(server: Any, folder: Path) -> str:
    """What a fresh file of this folder is completed with: the proof that the session goes on."""
    path = folder / "proof.py"
    path.write_text("def proof(value):\n    return \n", encoding="utf-8")
    server.editor.open(path)
    answer, _ = await server.ask(path, "return ")
    return str(answer.text)


async def test_an_empty_folder_has_an_empty_context(start: Any, tmp_path: Path) -> None:
    async with start(tmp_path) as server:
        report = await server.ready()
        assert report.context.files == []
        assert await answers(server, tmp_path)


async def test_without_any_folder_files_are_answered_alone(start: Any, tmp_path: Path) -> None:
    async with start() as server:
        assert await answers(server, tmp_path)
        assert not (await server.report()).last_completion.repository_context


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git to be left out")
async def test_files_that_cannot_be_shown_are_left_out_with_a_reason(start: Any, workspace: Path) -> None:
    (workspace / "huge.py").write_bytes(b"x = 1\n" * (50 * 1024 * 1024 // 6))
    (workspace / "picture.py").write_bytes(b"\x00\x01\x02" * 100)
    (workspace / "latin.py").write_bytes("# caf\u00e9\n".encode("latin-1") * 10)
    (workspace / "loop").symlink_to(workspace, target_is_directory=True)
    (workspace / "self.py").symlink_to(workspace / "self.py")
    (workspace / "gone.py").symlink_to(workspace / "nowhere.py")
    (workspace / ".env").write_text("TOKEN=abc\n", encoding="utf-8")
    os.mkfifo(workspace / "pipe.py")
    async with start(workspace) as server:
        report = await server.ready()
        assert {file.path for file in report.context.files} >= {"shop/cart.py", "shop/money.py"}
        left_out = {entry.path: entry.reason for entry in report.context.left_out}
        assert {"huge.py", "picture.py", "latin.py", ".env"} <= set(left_out)
        assert len({left_out[name] for name in ("huge.py", "picture.py", ".env")}) == 3
        shown = {file.path for file in report.context.files}
        assert not shown & {"self.py", "gone.py", "pipe.py", "loop/shop/cart.py"}
        assert await answers(server, workspace)


async def test_a_huge_open_file_is_answered_from_its_own_end(start: Any, workspace: Path) -> None:
    path = workspace / "long.py"
    path.write_text("value = 1\n" * 400_000, encoding="utf-8")
    async with start(workspace) as server:
        await server.ready()
        server.editor.open(path)
        server.editor.insert(path, 300_000, 0, "total = ")
        answer = await server.editor.ghost_text(path, 300_000, len("total = "))
        assert answer.text
        assert (await server.report()).last_completion.context_tokens < 8192


async def test_a_deleted_workspace_is_told_and_survived(start: Any, workspace: Path) -> None:
    async with start(workspace) as server:
        await server.ready()
        shutil.rmtree(workspace)
        assert "deleted" in await server.until_shown(str(workspace))
        elsewhere = workspace.parent
        assert await answers(server, elsewhere)


async def test_settings_that_cannot_be_used_are_named(start: Any, workspace: Path) -> None:
    settings = {"completion": {"multilines": True, "max_new_tokens": "many"}, "colour": {"ink": 1}}
    (workspace / "deltaloom.toml").write_text('[model]\npath = "/tmp/evil"\n', encoding="utf-8")
    async with start(workspace, **settings) as server:
        await server.ready()
        told = "\n".join(server.shown)
        assert 'did you mean "completion.multiline"?' in told
        assert '"completion.max_new_tokens"' in told
        assert '"colour"' in told
        assert '"model.path" is ignored in deltaloom.toml' in told
        assert await answers(server, workspace)


@pytest.mark.parametrize("damage", ["missing", "truncated", "not a model"])
async def test_a_model_that_cannot_be_loaded_is_told_once(
    start: Any, workspace: Path, tmp_path: Path, damage: str
) -> None:
    import deltaloom_model

    folder = tmp_path / "model"
    shutil.copytree(Path(deltaloom_model.__file__).parent / "nano", folder)
    weights = folder / "model.safetensors"
    if damage == "missing":
        weights.unlink()
    elif damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:100_000])
    else:
        shutil.rmtree(folder)
    async with start(workspace, model={"path": str(folder), "threads": 1}) as server:
        await server.until(lambda report: report.engine["state"] == "failed")
        cart = workspace / "shop/cart.py"
        server.editor.open(cart)
        answer, report = await server.ask(cart, "total = ")
        assert answer.text == ""
        assert report.last_completion.reason
        assert len([sentence for sentence in server.shown if "model" in sentence.lower()]) >= 1
        assert all("\n" not in sentence for sentence in server.shown)


async def test_a_client_that_never_says_initialized_is_served(raw: Any, workspace: Path) -> None:
    await raw.initialize(
        workspaceFolders=[{"uri": workspace.as_uri(), "name": "r"}],
        initializationOptions={"model": {"threads": 1}, "worker": {"idle_seconds": 1}},
    )
    cart = workspace / "shop/cart.py"
    item = {"uri": cart.as_uri(), "languageId": "python", "version": 1, "text": cart.read_text()}
    await raw.notify("textDocument/didOpen", {"textDocument": item})
    params = {
        "textDocument": {"uri": cart.as_uri()},
        "position": {"line": 8, "character": len("        total = ")},
        "context": {"triggerKind": 1},
    }
    answer = await raw.request("textDocument/inlineCompletion", params, 5)
    assert answer["result"]["items"]


async def test_a_request_before_initialize_is_refused(raw: Any) -> None:
    answer = await raw.request("textDocument/inlineCompletion", {})
    assert answer["error"]["code"] == -32002
    assert "result" in await raw.initialize()


async def test_malformed_messages_are_answered_and_passed_over(raw: Any) -> None:
    await raw.initialize()
    await raw.notify("initialized", {})
    await raw.send(b'{"jsonrpc": "2.0", "id": 7, "meth')
    assert (await raw.answer(None))["error"]["code"] == -32700
    await raw.send_bytes(b"Content-Length: nonsense\r\n\r\n")
    assert (await raw.answer(None))["error"]["code"] == -32700
    assert (await raw.request("no/such", {}, 8))["error"]["code"] == -32601
    broken = {"textDocument": {"uri": "file:///x.py"}, "position": {"line": "one"}}
    assert (await raw.request("textDocument/inlineCompletion", broken, 9))["error"]["code"] == -32602
    assert (await raw.request("deltaloom/status", None, 10))["result"]["documents"] == 0


async def test_a_change_that_cannot_be_read_drops_the_document_and_tells_so(
    start: Any, workspace: Path
) -> None:
    cart = workspace / "shop/cart.py"
    async with start(workspace) as server:
        await server.ready()
        server.editor.open(cart)
        document = {"uri": cart.as_uri(), "version": 2}
        server.client.notify(
            "textDocument/didChange", {"textDocument": document, "contentChanges": [{"range": {"start": 1}}]}
        )
        assert "cart.py" in await server.until_shown("out of step")
        assert (await server.report()).documents == 0
        server.editor.open(cart)
        answer, _ = await server.ask(cart, "total = ")
        assert answer.text


async def test_positions_that_cannot_be_are_clamped_or_refused(start: Any, workspace: Path) -> None:
    from deltaloom_server.cli.lsp_client import ServerFailed

    cart = workspace / "shop/cart.py"
    async with start(workspace) as server:
        await server.ready()
        server.editor.open(cart)
        params = {"textDocument": {"uri": cart.as_uri()}, "context": {"triggerKind": 1}}
        beyond = {**params, "position": {"line": 10**6, "character": 10**6}}
        assert "items" in await server.client.request("textDocument/inlineCompletion", beyond)
        negative = {**params, "position": {"line": -1, "character": 0}}
        with pytest.raises(ServerFailed):
            await server.client.request("textDocument/inlineCompletion", negative)
        unknown = {**params, "textDocument": {"uri": "file:///unknown.py"}, "position": POSITION}
        with pytest.raises(ServerFailed, match="isn't open"):
            await server.client.request("textDocument/inlineCompletion", unknown)
