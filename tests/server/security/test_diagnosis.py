"""Open documents: told quickly while a person types, in full in the pauses, and never of another text."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from typing import Any

import pytest
from lsprotocol.types import TextDocumentContentChangeWholeDocument

from deltaloom_model.api import text_digest
from deltaloom_server.context.roots import name_roots
from deltaloom_server.errors import UnknownDocument
from deltaloom_server.security import diagnosis as module
from deltaloom_server.security.diagnosis import Diagnosis
from deltaloom_server.settings import SecuritySettings, Settings

TORCH = "import torch\n\nmodel = torch.load('m.pt')\n"
KEY = "AKIA" + "IOSFODNN7" + "EXAMPLQ"


class Editor:
    """Opens and changes documents, and hears of news."""

    def __init__(self, server: Any, events: Any) -> None:
        self._server, self._events = server, events
        self.news: list[str] = server.news
        self.version = 1

    @property
    def diagnosis(self) -> Diagnosis:
        found: Diagnosis = self._server.security.diagnosis
        return found

    def open(self, uri: str, text: str, language: str = "python") -> None:
        self._server.session.open_document(uri, language, 1, text)
        self.diagnosis.changed(uri)

    def change(self, uri: str, text: str) -> None:
        self.version += 1
        change = TextDocumentContentChangeWholeDocument(text=text)
        self._server.session.change_document(uri, self.version, [change])
        self.diagnosis.changed(uri)

    async def rules(self, uri: str) -> list[str]:
        _, inspection = await self.diagnosis.current(uri)
        return [one.rule for one in self.diagnosis.shown(inspection)]

    async def until_news(self, count: int = 1) -> None:
        async with asyncio.timeout(60):
            while len(self.news) < count:
                await asyncio.sleep(0.01)


@pytest.fixture
def folder(server: Any, tmp_path: Path) -> Path:
    server.session.roots = name_roots([str(tmp_path)])
    return tmp_path


@pytest.fixture
def editor(server: Any, events: Any, folder: Path) -> Editor:
    return Editor(server, events)


@pytest.fixture
def never_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.Diagnosis._look_later, "__defaults__", (3600.0,))


@pytest.mark.usefixtures("never_idle")
async def test_in_full_at_first_and_quickly_while_typing(editor: Editor, folder: Path) -> None:
    uri = (folder / "a.py").as_uri()
    editor.open(uri, TORCH)
    assert await editor.rules(uri) == ["B614"]
    editor.change(uri, "x = 1\n" + TORCH + "eval(x)\n")
    assert await editor.rules(uri) == ["B614", "S307"]
    _, inspection = await editor.diagnosis.current(uri)
    assert inspection.digest == text_digest("x = 1\n" + TORCH + "eval(x)\n")
    assert "bandit" not in inspection.scanners
    editor.change(uri, "x = 1\n")
    assert await editor.rules(uri) == []


async def test_whoever_asks_again_and_again_does_not_put_the_slow_scanners_off(
    editor: Editor, folder: Path
) -> None:
    uri = (folder / "a.py").as_uri()
    editor.open(uri, "x = 1\n")
    assert await editor.rules(uri) == []
    editor.change(uri, TORCH)
    async with asyncio.timeout(60):
        while await editor.rules(uri) != ["B614"]:
            await asyncio.sleep(0.05)
    assert editor.news == [uri]


async def test_news_are_told_only_where_something_is_new(editor: Editor, folder: Path) -> None:
    first, second = (folder / "a.py").as_uri(), (folder / "b.py").as_uri()
    for uri in (first, second):
        editor.open(uri, "x = 1\n")
        await editor.rules(uri)
    editor.change(first, "x = 2\n")
    await editor.rules(first)
    editor.change(second, TORCH)
    await editor.rules(second)
    await editor.until_news()
    async with asyncio.timeout(60):
        while (found := editor.diagnosis.inspection(first)) is None or "bandit" not in found.scanners:
            await asyncio.sleep(0.01)
    assert editor.news == [second]


@pytest.mark.usefixtures("never_idle")
async def test_saving_has_all_scanners_look_at_once(editor: Editor, folder: Path) -> None:
    uri = (folder / "a.py").as_uri()
    editor.open(uri, "x = 1\n")
    await editor.rules(uri)
    editor.change(uri, TORCH)
    assert await editor.rules(uri) == []
    editor.diagnosis.saved(uri)
    await editor.until_news()
    assert await editor.rules(uri) == ["B614"]


@pytest.mark.usefixtures("never_idle")
async def test_a_credential_that_was_committed_meanwhile_is_old_once_the_file_is_saved(
    editor: Editor, folder: Path
) -> None:
    def git(*arguments: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True)

    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "x")
    text = f"[a]\nkey = {KEY}\n"
    (folder / "a.ini").write_text(text)
    uri = (folder / "a.ini").as_uri()
    editor.open(uri, text, "ini")
    assert len(await editor.rules(uri)) == 1
    git("add", ".")
    git("commit", "-q", "-m", "y")
    editor.diagnosis.saved(uri)
    await editor.until_news()
    assert await editor.rules(uri) == []


@pytest.mark.usefixtures("never_idle")
async def test_what_is_closed_or_switched_off_is_forgotten(editor: Editor, server: Any, folder: Path) -> None:
    uri = (folder / "a.py").as_uri()
    editor.open(uri, TORCH)
    await editor.rules(uri)
    assert len(editor.diagnosis.inspections()) == 1
    server.session.close_document(uri)
    editor.diagnosis.closed(uri)
    assert editor.diagnosis.inspections() == []
    assert editor.diagnosis.inspection(uri) is None
    with pytest.raises(UnknownDocument):
        await editor.diagnosis.current(uri)
    editor.diagnosis.closed(uri)


async def test_a_document_that_is_closed_while_it_is_looked_at_is_not_told_of(
    editor: Editor, server: Any, folder: Path
) -> None:
    uri = (folder / "a.py").as_uri()
    editor.open(uri, TORCH)
    looking = asyncio.create_task(editor.diagnosis.current(uri))
    await asyncio.sleep(0)
    server.session.close_document(uri)
    editor.diagnosis.closed(uri)
    snapshot, inspection = await looking
    assert inspection.digest == text_digest(snapshot.text)
    assert editor.news == []
    assert editor.diagnosis.inspections() == []


@pytest.mark.usefixtures("never_idle")
async def test_other_settings_are_looked_at_anew(editor: Editor, server: Any, folder: Path) -> None:
    uri = (folder / "a.py").as_uri()
    editor.open(uri, TORCH)
    assert await editor.rules(uri) == ["B614"]
    server.session.settings = Settings(security=SecuritySettings(ignore=("B614",)))
    editor.diagnosis.forget()
    await editor.until_news()
    assert await editor.rules(uri) == []


@pytest.mark.parametrize(
    ("uri", "language", "text", "rules"),
    [
        ("untitled:Untitled-1", "python", "x = eval(y)\n", ["S307"]),
        ("untitled:Untitled-1", "plaintext", "x = eval(y)\n", []),
        ("file:///nowhere/script", "python", "x = eval(y)\n", ["S307"]),
        ("vscode-notebook-cell:/a.ipynb#1", "python", "x = eval(y)\n", ["S307"]),
    ],
)
async def test_a_document_without_a_telling_name_is_of_its_language(
    editor: Editor, uri: str, language: str, text: str, rules: list[str]
) -> None:
    editor.open(uri, text, language)
    assert await editor.rules(uri) == rules


@pytest.mark.usefixtures("never_idle")
async def test_typing_fast_is_answered_from_the_text_that_was_asked_about(
    editor: Editor, folder: Path
) -> None:
    uri = (folder / "a.py").as_uri()
    editor.open(uri, "x = 1\n")
    await editor.rules(uri)
    asked = []
    for number in range(6):
        editor.change(uri, f"x = {number}\n" + "eval(x)\n" * number)
        asked.append(asyncio.create_task(editor.diagnosis.current(uri)))
        await asyncio.sleep(0)
    for number, (snapshot, inspection) in enumerate(await asyncio.gather(*asked)):
        assert inspection.digest == text_digest(snapshot.text)
        assert len(inspection.findings) == snapshot.text.count("eval"), number
