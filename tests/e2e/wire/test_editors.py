"""The main path with the embedded model, through another project's client and real editors' capabilities."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types
from pytest_lsp import LanguageClient, client_capabilities, make_test_lsp_client

# What a client can't take is an error here: its capabilities are checked against all it gets.
pytestmark = pytest.mark.filterwarnings("error::pytest_lsp.LspSpecificationWarning")

AFTER_SHAPE = types.Position(6, 23)  # "total += shape." of report.py
EDITORS = ["neovim", "visual_studio_code", "emacs"]


@pytest.fixture
async def connect(shared_home) -> AsyncIterator[Callable[..., Awaitable[LanguageClient]]]:
    """`await connect(capabilities, *roots)`: a client whose session has begun; the worker is shared."""
    clients: list[LanguageClient] = []

    async def begin(
        capabilities: types.ClientCapabilities, *roots: Path, **options: Any
    ) -> tuple[LanguageClient, types.ServerCapabilities]:
        client = make_test_lsp_client()
        client.feature(types.CLIENT_REGISTER_CAPABILITY)(lambda _params: None)
        await client.start_io(
            sys.executable, "-P", "-m", "deltaloom_server", "lsp", env=shared_home.environment
        )
        clients.append(client)
        folders = [types.WorkspaceFolder(root.as_uri(), root.name) for root in roots]
        result = await client.initialize_session(
            types.InitializeParams(
                capabilities=capabilities,
                workspace_folders=folders,
                initialization_options={"model": {"threads": 1}, **options},
            )
        )
        return client, result.capabilities

    yield begin
    for client in clients:
        await client.shutdown_session()
        await client.stop()
        assert client.error is None


def with_ghost_text(editor: str = "neovim") -> types.ClientCapabilities:
    capabilities = client_capabilities(editor)
    assert capabilities.text_document is not None
    capabilities.text_document.inline_completion = types.InlineCompletionClientCapabilities()
    return capabilities


async def status(client: LanguageClient) -> Any:
    """`deltaloom/status`; its answer comes as an object, whose fields are read by name."""
    return await client.protocol.send_request_async("deltaloom/status", None)


async def until_ready(client: LanguageClient) -> Any:
    async with asyncio.timeout(30):
        while (report := await status(client)).context.state != "ready":
            await asyncio.sleep(0.02)
    return report


def open_document(client: LanguageClient, path: Path, text: str | None = None) -> str:
    text = path.read_bytes().decode() if text is None else text
    item = types.TextDocumentItem(path.as_uri(), "python", 1, text)
    client.text_document_did_open(types.DidOpenTextDocumentParams(item))
    return path.as_uri()


def insert(client: LanguageClient, uri: str, version: int, at: types.Position, text: str) -> None:
    change = types.TextDocumentContentChangePartial(range=types.Range(at, at), text=text)
    document = types.VersionedTextDocumentIdentifier(version, uri)
    client.text_document_did_change(types.DidChangeTextDocumentParams(document, [change]))


async def ghost(client: LanguageClient, uri: str, at: types.Position) -> list[types.InlineCompletionItem]:
    context = types.InlineCompletionContext(types.InlineCompletionTriggerKind.Invoked)
    answer = await client.text_document_inline_completion_async(
        types.InlineCompletionParams(context, types.TextDocumentIdentifier(uri), at)
    )
    assert isinstance(answer, types.InlineCompletionList)
    return list(answer.items)


async def test_what_is_offered(connect, workspace: Path) -> None:
    _, offered = await connect(with_ghost_text(), workspace)
    assert offered.position_encoding == types.PositionEncodingKind.Utf8
    assert offered.inline_completion_provider
    assert offered.completion_provider.resolve_provider
    sync = offered.text_document_sync
    assert (sync.change, sync.open_close) == (types.TextDocumentSyncKind.Incremental, True)
    assert not sync.save.include_text
    assert offered.workspace.workspace_folders.supported
    # Nothing is offered that isn't there.
    assert offered.hover_provider is None
    assert offered.rename_provider is None
    assert offered.code_action_provider.resolve_provider
    assert offered.diagnostic_provider.workspace_diagnostics


async def test_a_keystroke_reads_what_was_typed_and_agreeing_ones_read_nothing(
    connect, workspace: Path
) -> None:
    client, _ = await connect(with_ghost_text(), workspace)
    uri = open_document(client, workspace / "report.py")
    await until_ready(client)
    (item,) = await ghost(client, uri, AFTER_SHAPE)
    assert item.insert_text
    assert item.range == types.Range(AFTER_SHAPE, AFTER_SHAPE)
    first = (await status(client)).last_completion
    assert first.source == "model"
    assert first.repository_context
    # What agrees comes from the cache.
    agreeing = item.insert_text[0]
    insert(client, uri, 2, AFTER_SHAPE, agreeing)
    one_further = types.Position(6, 24)
    left = await ghost(client, uri, one_further)
    assert [entry.insert_text for entry in left] == [item.insert_text[1:]][: len(item.insert_text) - 1]
    before = await status(client)
    if left:
        assert before.last_completion.source == "cache"
    # What doesn't costs its own line, and the anchor is there.
    insert(client, uri, 3, one_further, "(")
    await ghost(client, uri, types.Position(6, 25))
    after = await status(client)
    assert after.last_completion.source != "cache"
    counted = {
        cause: getattr(after.worker.counters, cause) - getattr(before.worker.counters, cause)
        for cause in ("base", "log", "anchor", "typed", "compaction")
    }
    assert 0 < counted.pop("typed") < 20
    assert set(counted.values()) == {0}


async def test_an_edit_of_another_file_changes_the_logits_and_its_undo_brings_them_back(
    connect, workspace: Path
) -> None:
    client, _ = await connect(with_ghost_text(), workspace, completion={"reuse": False})
    uri = open_document(client, workspace / "report.py")
    await until_ready(client)
    shapes = workspace / "shapes.py"
    text = shapes.read_text()
    digests = []
    for version, content in enumerate([text, text.replace("area", "surface"), text], 1):
        if version == 1:
            other = open_document(client, shapes)
        else:
            whole = types.TextDocumentContentChangeWholeDocument(content)
            document = types.VersionedTextDocumentIdentifier(version, other)
            client.text_document_did_change(types.DidChangeTextDocumentParams(document, [whole]))
            shapes.write_text(content)
            client.text_document_did_save(
                types.DidSaveTextDocumentParams(types.TextDocumentIdentifier(other))
            )
        assert await ghost(client, uri, AFTER_SHAPE)
        digests.append((await status(client)).last_completion.logits_digest)
    first, edited, undone = digests
    assert edited != first
    assert undone == first


@pytest.mark.parametrize("editor", EDITORS)
async def test_an_editor_without_ghost_text_gets_an_entry_and_its_text_in_full(
    connect, workspace: Path, editor: str
) -> None:
    client, _ = await connect(client_capabilities(editor), workspace)
    uri = open_document(client, workspace / "report.py")
    await until_ready(client)
    answer = await client.text_document_completion_async(
        types.CompletionParams(types.TextDocumentIdentifier(uri), AFTER_SHAPE)
    )
    assert isinstance(answer, types.CompletionList)
    assert answer.is_incomplete
    (item,) = answer.items
    assert item.text_edit.range.end == AFTER_SHAPE
    assert item.documentation is None
    assert item.label
    resolved = await client.completion_item_resolve_async(item)
    shown = resolved.documentation
    assert item.text_edit.new_text in (shown if isinstance(shown, str) else shown.value)
    assert resolved.text_edit == item.text_edit


async def test_an_editor_with_ghost_text_gets_no_entry_beside_it(connect, workspace: Path) -> None:
    client, _ = await connect(with_ghost_text(), workspace)
    uri = open_document(client, workspace / "report.py")
    await until_ready(client)
    answer = await client.text_document_completion_async(
        types.CompletionParams(types.TextDocumentIdentifier(uri), AFTER_SHAPE)
    )
    assert list(answer.items) == []


async def test_columns_behind_astral_characters_and_lines_that_end_in_crlf(connect, tmp_path: Path) -> None:
    root = tmp_path / "workspace"
    root.mkdir()
    path = root / "fox.py"
    path.write_bytes(
        'def speak():\r\n    fox = "🦊🦊"; sound = "ring"\r\n    if sound:\r\n        \r\n'.encode()
    )
    client, offered = await connect(with_ghost_text("visual_studio_code"), root)
    assert offered.position_encoding == types.PositionEncodingKind.Utf16
    uri = open_document(client, path)
    await until_ready(client)
    behind = types.Position(1, 17)  # each fox has two units
    insert(client, uri, 2, behind, " more = sound;")
    (item,) = await ghost(client, uri, types.Position(3, 8))
    assert item.insert_text.count("\n") == item.insert_text.count("\r\n")
    before = (await status(client)).last_completion.logits_digest
    # The very text as a whole: had the change gone elsewhere, the model would read something else.
    text = path.read_bytes().decode().replace('🦊";', '🦊"; more = sound;')
    whole = types.TextDocumentContentChangeWholeDocument(text)
    document = types.VersionedTextDocumentIdentifier(3, uri)
    client.text_document_did_change(types.DidChangeTextDocumentParams(document, [whole]))
    client.workspace_did_change_configuration(
        types.DidChangeConfigurationParams(
            {"deltaloom": {"model": {"threads": 1}, "completion": {"reuse": False}}}
        )
    )
    (again,) = await ghost(client, uri, types.Position(3, 8))
    assert again == item
    assert (await status(client)).last_completion.logits_digest == before


async def test_reading_is_shown_to_an_editor_that_shows_it(connect, workspace: Path) -> None:
    client, _ = await connect(client_capabilities("visual_studio_code"), workspace)
    await until_ready(client)
    (reports,) = client.progress_reports.values()
    kinds = [report.kind for report in reports]
    assert (kinds[0], kinds[-1]) == ("begin", "end")
