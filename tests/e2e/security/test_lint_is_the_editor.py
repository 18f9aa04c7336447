"""An editor with its own units, open files and unsaved edits sees what `deltaloom lint` reports: the same
findings of the same identities, and fixes of the same bytes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from deltaloom_server.cli.editor import HeadlessEditor
from deltaloom_server.cli.lsp_client import LspClient, server_command
from deltaloom_server.lint import runner
from deltaloom_server.lint.in_process import CAPABILITIES
from deltaloom_server.lint.options import LintOptions
from deltaloom_server.lint.outcome import Outcome
from deltaloom_server.positions import PositionEncoding, column_of_units, split_lines


def _options(root: Path, **changes: Any) -> LintOptions:
    return LintOptions(os.fspath(root), (os.fspath(root),), cache=False, **changes)


class Editor(HeadlessEditor):
    """One that counts in UTF-16 and shows diagnostics."""

    def __init__(self, client: LspClient, root: Path) -> None:
        super().__init__(client)
        self.client, self.root = client, root

    async def diagnostics(self, path: Path) -> list[dict[str, Any]]:
        report = await self.client.request(
            "textDocument/diagnostic", {"textDocument": {"uri": path.as_uri()}}
        )
        items: list[dict[str, Any]] = report["items"]
        return items

    async def of_the_workspace(self) -> dict[str, list[dict[str, Any]]]:
        report = await self.client.request("workspace/diagnostic", {"previousResultIds": []})
        return {
            Path(item["uri"].removeprefix("file://")).relative_to(self.root).as_posix(): item["items"]
            for item in report["items"]
        }

    async def fix_all(self, path: Path) -> bool:
        """`source.fixAll.deltaloom`, as an editor does on save; False where it has nothing."""
        place = {"line": 0, "character": 0}
        params = {
            "textDocument": {"uri": path.as_uri()},
            "range": {"start": place, "end": place},
            "context": {"diagnostics": [], "only": ["source.fixAll"]},
        }
        menu = await self.client.request("textDocument/codeAction", params)
        if not menu:
            return False
        with contextlib.suppress(Exception):
            action = await self.client.request("codeAction/resolve", menu[0])
            (change,) = action["edit"]["documentChanges"]
            assert change["textDocument"]["version"] == self.version(path)
            text = self.text(path)
            for edit in sorted(change["edits"], key=lambda one: _key(one["range"]["start"]), reverse=True):
                start, end = (_offset(text, edit["range"][side]) for side in ("start", "end"))
                text = text[:start] + edit["newText"] + text[end:]
            self.change_to(path, text)
            return True
        return False


def _key(place: dict[str, int]) -> tuple[int, int]:
    return place["line"], place["character"]


def _offset(text: str, place: dict[str, int]) -> int:
    lines = split_lines(text)
    column = column_of_units(lines[place["line"]], place["character"], PositionEncoding.UTF16)
    return sum(map(len, lines[: place["line"]])) + column


@contextlib.asynccontextmanager
async def _editor(root: Path, environment: dict[str, str]) -> AsyncIterator[Editor]:
    process = await asyncio.create_subprocess_exec(
        *server_command(), stdin=-1, stdout=-1, stderr=-1, limit=16 << 20, env=environment
    )
    client = LspClient(process, lambda _method, _params: None)
    try:
        general = {"general": {"positionEncodings": ["utf-16"]}}
        await client.initialize([root], {"security": {"model_fixes": False}}, {**CAPABILITIES, **general})
        # The base class merges section by section: utf-32 must not have been offered.
        assert client.position_encoding == "utf-16"
        yield Editor(client, root)
    finally:
        await client.close()


@pytest.fixture
def editor(
    environment: dict[str, str],
) -> Callable[[Path], contextlib.AbstractAsyncContextManager[Editor]]:
    return lambda root: _editor(root, environment)


def _lint(outcome: Outcome) -> dict[str, list[tuple[str, str, int]]]:
    """By path: (rule, identity, line) of what is shown."""
    found: dict[str, list[tuple[str, str, int]]] = {}
    for one in outcome.findings:
        if one.finding.suppressed is None:
            entry = (one.finding.rule, one.finding.identity, one.finding.span.start_line)
            found.setdefault(one.finding.path, []).append(entry)
    return {path: sorted(entries) for path, entries in found.items()}


def _shown(items: list[dict[str, Any]]) -> list[tuple[str, str, int]]:
    return sorted(
        (item["code"], item["data"]["identity"], item["range"]["start"]["line"])
        for item in items
        if "identity" in item["data"]
    )


def _text(path: Path) -> str:
    """A file as an editor opens it: without its mark, and in the encoding that it says."""
    data = path.read_bytes()
    return data.decode("latin-1" if re.search(rb"coding: latin-1", data) else "utf-8-sig")


def _paths(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*.*") if path.suffix in (".py", ".js", ".ini"))


async def test_an_editor_shows_what_the_command_reports(workspace: Any, at_home: None, editor: Any) -> None:
    found = _lint(await runner.run(_options(workspace.root)))
    assert len(found["app/commands.py"]) >= 2
    assert found["settings.ini"][0][0].startswith("secret/")
    async with editor(workspace.root) as at:
        on_disk = await at.of_the_workspace()
        assert {path: _shown(items) for path, items in on_disk.items() if _shown(items)} == found
        for path in _paths(workspace.root):
            at.open(path, _text(path))
        opened = await at.of_the_workspace()
        assert {path: _shown(items) for path, items in opened.items() if _shown(items)} == found
        for path in _paths(workspace.root):
            name = path.relative_to(workspace.root).as_posix()
            assert _shown(await at.diagnostics(path)) == found.get(name, []), name
        not_scanned = {name for name, items in opened.items() if any(i["code"] == "DL000" for i in items)}
        assert "app/broken.py" in not_scanned


async def test_identities_outlive_edits_that_move_lines(workspace: Any, at_home: None, editor: Any) -> None:
    before = _lint(await runner.run(_options(workspace.root)))
    async with editor(workspace.root) as at:
        for path in _paths(workspace.root):
            if path.suffix != ".py" or path.name == "broken.py":
                continue
            at.open(path, _text(path))
            end = "\r\n" if "\r\n" in at.text(path) else "\n"
            line = 1 if "coding" in at.text(path) else 0
            at.insert(path, line, 0, f"# moved 😀{end}{end}")
            at.insert(path, line + 1, 0, f"value = 'é'{end}")
            name = path.relative_to(workspace.root).as_posix()
            items = (await at.of_the_workspace()).get(name, [])
            moved = _shown(items)
            assert [one[:2] for one in moved] == [one[:2] for one in before.get(name, [])], name
            assert [one[2] - 3 for one in moved] == [one[2] for one in before.get(name, [])], name
            text = at.text(path).replace("😀", "") if "latin" in name else at.text(path)
            coding = "latin-1" if "latin" in name else "utf-8"
            path.write_bytes(text.encode(coding))
            at.close(path)
        after = _lint(await runner.run(_options(workspace.root)))
        assert {path: sorted(one[:2] for one in entries) for path, entries in after.items()} == {
            path: sorted(one[:2] for one in entries) for path, entries in before.items()
        }


async def test_fixing_everything_in_an_editor_gives_the_files_that_the_command_writes(
    workspace: Any, at_home: None, editor: Any
) -> None:
    workspace.write("app/many.py", (
        "import tempfile\nimport yaml\nimport requests\n\n\ndef get(url, text):\n"
        "    a = requests.get(url, verify=False), yaml.load(text), yaml.load(url)\n"
        "    b = yaml.load(text)  # nosec B602\n    c = yaml.load(text)\n    c = yaml.load(text)\n"
        "    return a, b, c, tempfile.mktemp()\n"
    ))  # fmt: skip
    texts: dict[str, bytes] = {}
    before = {path: path.read_bytes() for path in _paths(workspace.root)}
    async with editor(workspace.root) as at:
        for path in _paths(workspace.root):
            text = _text(path)
            at.open(path, text)
            await at.diagnostics(path)
            if await at.fix_all(path):
                coding = "latin-1" if path.name == "latin.py" else "utf-8"
                mark = b"\xef\xbb\xbf" if path.name == "marked.py" else b""
                texts[path.name] = mark + at.text(path).encode(coding)
            assert path.read_bytes() == before[path]
    assert {"many.py", "crlf.py", "marked.py"} <= set(texts)
    outcome = await runner.run(_options(workspace.root, fix=True))
    assert {Path(one.path).name for one in outcome.fixed} == set(texts)
    assert {name: workspace.root.joinpath("app", name).read_bytes() for name in texts} == texts
    assert all(before[workspace.root / "app" / name] != text for name, text in texts.items())
