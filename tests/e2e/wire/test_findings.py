"""Diagnostics over the wire: asked for and pushed, of a document and of a workspace, while a person types."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

SHELL = 'import subprocess\n\n\ndef run(name):\n    return subprocess.run(f"ls {name}", shell=True)\n'
PULL = {
    "textDocument": {"diagnostic": {}, "inlineCompletion": {}},
    "workspace": {"diagnostics": {"refreshSupport": True}},
}


@pytest.fixture
async def server(home: Any, start_server: Any, tmp_path: Path) -> Any:
    """A server for a client that asks for diagnostics, on the scripted engine."""
    (tmp_path / "ws").mkdir()
    made = await start_server(home, engine="build")
    await made.initialize([tmp_path / "ws"], capabilities=PULL)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "ws"


async def _pull(server: Any, uri: str, **params: Any) -> dict[str, Any]:
    report: dict[str, Any] = await server.request(
        "textDocument/diagnostic", {"textDocument": {"uri": uri}, **params}
    )
    return report


def _rules(report: dict[str, Any]) -> list[str]:
    return [item["code"] for item in report["items"]]


async def _workspace(server: Any, previous: list[dict[str, str]] | None = None, **params: Any) -> Any:
    return await server.request("workspace/diagnostic", {"previousResultIds": previous or [], **params})


async def test_a_document_is_told_in_full_when_it_is_opened(server: Any, folder: Path) -> None:
    # torch.load is bandit's alone: what ruff says while one types would not have it.
    uri = server.open(folder / "a.py", SHELL + "import torch\nmodel = torch.load('m.pt')\n")
    report = await _pull(server, uri)
    assert _rules(report) == ["S602", "B614"]
    item = report["items"][0]
    assert item["range"] == {"start": {"line": 4, "character": 11}, "end": {"line": 4, "character": 25}}
    assert (item["source"], item["severity"]) == ("deltaloom", 1)
    assert "CWE-78" in item["message"]
    assert item["codeDescription"]["href"].startswith("https://")
    assert len(item["data"]["identity"]) == 32


async def test_an_unchanged_document_is_not_told_again(server: Any, folder: Path) -> None:
    uri = server.open(folder / "a.py", SHELL)
    first = await _pull(server, uri)
    again = await _pull(server, uri, previousResultId=first["resultId"])
    assert again == {"kind": "unchanged", "resultId": first["resultId"]}
    server.insert(uri, 0, 0, "\n")
    moved = await _pull(server, uri, previousResultId=first["resultId"])
    assert moved["items"][0]["range"]["start"]["line"] == 5
    assert moved["items"][0]["data"]["identity"] == first["items"][0]["data"]["identity"]


async def test_what_only_slow_scanners_see_stays_while_typing_and_goes_with_its_line(
    server: Any, folder: Path
) -> None:
    uri = server.open(folder / "a.py", "import torch\n\nmodel = torch.load('m.pt')\n")
    assert _rules(await _pull(server, uri)) == ["B614"]
    server.insert(uri, 1, 0, "x = 1\n")
    report = await _pull(server, uri)
    assert _rules(report) == ["B614"]
    assert report["items"][0]["range"]["start"]["line"] == 3
    end = {"line": 4, "character": 0}
    server.send_changes(uri, [{"range": {"start": {"line": 3, "character": 0}, "end": end}, "text": ""}])
    assert _rules(await _pull(server, uri)) == []


async def test_the_client_is_told_to_ask_again_when_the_slow_scanners_have_looked(
    server: Any, folder: Path
) -> None:
    uri = server.open(folder / "a.py", "import torch\n")
    assert _rules(await _pull(server, uri)) == []
    server.insert(uri, 1, 0, "model = torch.load('m.pt')\n")
    assert _rules(await _pull(server, uri)) == []
    await server.until(lambda: ("workspace/diagnostic/refresh", None) in server.requests)
    assert _rules(await _pull(server, uri)) == ["B614"]


async def test_columns_are_in_the_clients_units(server: Any, folder: Path) -> None:
    uri = server.open(folder / "a.py", "import yaml\n\nx = '😀é'; y = yaml.load(x)\n")
    report = await _pull(server, uri)
    assert report["items"][0]["range"]["start"] == {"line": 2, "character": 15}


async def test_a_client_that_does_not_ask_is_told(home: Any, start_server: Any, folder: Path) -> None:
    folder.mkdir()
    server = await start_server(home, engine="build")
    await server.initialize([folder])
    uri = server.open(folder / "a.py", SHELL)

    def told() -> list[list[str]]:
        sent = (params for method, params in server.notifications if method.endswith("publishDiagnostics"))
        return [[item["code"] for item in params["diagnostics"]] for params in sent if params["uri"] == uri]

    await server.until(lambda: told()[-1:] == [["S602"]])
    server.close(uri)
    await server.until(lambda: told()[-1] == [])


async def test_suppressions_count_and_unused_ones_are_faded(server: Any, folder: Path) -> None:
    text = SHELL.rstrip("\n") + "  # nosec B602\ny = 1  # nosec B101\nz = 2  # noqa: E501\n"
    report = await _pull(server, server.open(folder / "a.py", text))
    assert _rules(report) == ["DL001"]
    assert report["items"][0]["tags"] == [1]
    assert report["items"][0]["range"]["start"]["line"] == 5


async def test_settings_decide_what_is_shown_and_count_at_once(server: Any, folder: Path) -> None:
    uri = server.open(folder / "a.py", SHELL + "assert run\n")
    assert _rules(await _pull(server, uri)) == ["S602"]
    for settings, rules in (
        ({"severity": "low"}, {"S404", "S602", "S101"}),
        ({"severity": "low", "ignore": ["S6", "CWE-617"]}, {"S404"}),
        ({"severity": "low", "select": ["B101"]}, {"S101"}),
        ({"enabled": False}, set()),
    ):
        settings = {"settings": {"security": settings}}
        server.notify("workspace/didChangeConfiguration", settings)
        assert set(_rules(await _pull(server, uri))) >= rules
        assert bool(_rules(await _pull(server, uri))) == bool(rules)


async def test_a_workspace_is_told_in_pieces_and_again_only_when_it_changed(
    server: Any, folder: Path
) -> None:
    for number in range(120):
        (folder / f"m{number}.py").write_text(SHELL if number % 2 else "x = 1\n")
    (folder / "node_modules").mkdir()
    (folder / "node_modules" / "m.py").write_text(SHELL)
    answer = await _workspace(server, partialResultToken="piece", workDoneToken="work")
    pieces = [p["value"] for m, p in server.notifications if m == "$/progress" and p["token"] == "piece"]
    told = [item for piece in pieces for item in piece["items"]] + answer["items"]
    assert len(pieces) > 1
    assert sorted(Path(item["uri"]).name for item in told) == sorted(f"m{n}.py" for n in range(1, 120, 2))
    assert {item["items"][0]["code"] for item in told} == {"S602"}
    kinds = [
        p["value"]["kind"] for m, p in server.notifications if m == "$/progress" and p["token"] == "work"
    ]
    assert (kinds[0], kinds[-1]) == ("begin", "end")

    previous = [{"uri": item["uri"], "value": item["resultId"]} for item in told]
    waiting = asyncio.ensure_future(_workspace(server, previous))
    await asyncio.sleep(0)
    (folder / "m1.py").write_text("x = 1\n")
    server.notify(
        "workspace/didChangeWatchedFiles", {"changes": [{"uri": (folder / "m1.py").as_uri(), "type": 2}]}
    )
    again = {Path(item["uri"]).name: item for item in (await waiting)["items"]}
    assert again["m1.py"]["items"] == []
    assert {item["kind"] for name, item in again.items() if name != "m1.py"} == {"unchanged"}


async def test_a_pass_over_the_workspace_can_be_cancelled(server: Any, folder: Path) -> None:
    for number in range(300):
        (folder / f"m{number}.py").write_text(SHELL * 20)
    identifier, answer = server.begin("workspace/diagnostic", {"previousResultIds": []})
    server.notify("$/cancelRequest", {"id": identifier})
    with pytest.raises(Exception, match="-32800"):
        await answer
    assert (await server.status())["pid"]


async def test_what_was_not_scanned_is_said(server: Any, folder: Path) -> None:
    for name, text in (
        ("broken.py", "def broken(:\n"),
        ("deep.py", "x = " + "-" * 100_000 + "1\n"),
        ("large.py", "x = [\n" + "    1234567890,\n" * 180_000 + "]\n"),
    ):
        report = await _pull(server, server.open(folder / name, text))
        assert _rules(report)[0] == "DL000", name
        assert "Not scanned by" in report["items"][0]["message"]
    report = await _pull(server, server.open(folder / "a.py", SHELL))
    assert _rules(report) == ["S602"]


async def test_binary_and_foreign_files_of_a_workspace_are_said_and_hurt_nothing(
    server: Any, folder: Path
) -> None:
    (folder / "binary.py").write_bytes(b"\0\1\2" * 100)
    (folder / "latin.py").write_bytes(b"# -*- coding: latin-1 -*-\nname = '\xe9'\nx = eval(name)\n")
    (folder / "wrong.py").write_bytes(b"name = '\xe9\xff'\n")
    (folder / "loop.py").symlink_to(folder / "loop.py")
    (folder / "a.py").write_text(SHELL)
    told = {Path(i["uri"]).name: i["items"] for i in (await _workspace(server))["items"]}
    assert {item["code"] for item in told["a.py"]} == {"S602"}
    assert "S307" in {item["code"] for item in told["latin.py"]}
    assert {item["code"] for item in told["binary.py"]} == {"DL000"}
    assert {item["code"] for item in told["wrong.py"]} == {"DL000"}


async def test_a_hostile_configuration_runs_nothing_and_hides_nothing_silently(
    server: Any, folder: Path
) -> None:
    (folder / ".bandit").write_text("[bandit]\nskips: B602,B307\nexclude: /\n")
    (folder / "ruff.toml").write_text('[lint]\nignore = ["S"]\n')
    (folder / "setup.cfg").write_text("[flake8]\nenable-extensions = evil\n[bandit]\nskips = B602\n")
    (folder / "pyproject.toml").write_text('[tool.bandit]\nskips = ["B602"]\n')
    (folder / "deltaloom.toml").write_text('[security]\nignore = ["S3"]\n')
    (folder / "a.py").write_text(SHELL + "x = eval(run)\n")
    report = await _workspace(server)
    assert [i["code"] for i in report["items"][0]["items"]] == ["S602", "S307"]
    notes = " ".join((await server.request("deltaloom/securityReport"))["notes"])
    for name in (".bandit", "ruff.toml", "setup.cfg", "pyproject.toml"):
        assert name in notes


async def test_a_project_file_that_hides_findings_is_told(home: Any, start_server: Any, folder: Path) -> None:
    folder.mkdir()
    (folder / "deltaloom.toml").write_text('[security]\nignore = ["S6"]\n')
    (folder / "a.py").write_text(SHELL)
    server = await start_server(home, engine="build")
    await server.initialize([folder], capabilities=PULL)
    assert (await _workspace(server))["items"] == []
    notes = (await server.request("deltaloom/securityReport"))["notes"]
    assert "deltaloom.toml sets security.ignore to S6." in notes


async def test_credentials_are_looked_for_in_changed_lines_only(server: Any, folder: Path) -> None:
    key = "AKIA" + "IOSFODNN7" + "EXAMPLQ"
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    (folder / "old.txt").write_text(f"aws = {key}\n")
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "x"], check=True)
    (folder / "new.txt").write_text(f"one\naws = {key}\n")
    told = {Path(i["uri"]).name: i["items"] for i in (await _workspace(server))["items"]}
    assert list(told) == ["new.txt"]
    assert told["new.txt"][0]["code"].startswith("secret/")
    assert key not in json.dumps(told)
    uri = server.open(folder / "old.txt", language="plaintext")
    assert _rules(await _pull(server, uri)) == []
    server.insert(uri, 1, 0, f"aws = {key[:-1]}R\n")
    await server.until(lambda: ("workspace/diagnostic/refresh", None) in server.requests)
    report = await _pull(server, uri)
    assert [item["range"]["start"]["line"] for item in report["items"]] == [1]


async def test_no_source_code_is_logged(server: Any, folder: Path, home: Any) -> None:
    uri = server.open(folder / "a.py", SHELL.replace("name", "very_private_name"))
    await _pull(server, uri)
    await server.leave()
    for path in home.kept():
        if path.suffix == ".log":
            assert b"very_private_name" not in path.read_bytes()
