"""What is typed stays in memory: in no log, no status and no other file, and on no network."""

from __future__ import annotations

import json
import socket
import stat
from pathlib import Path
from typing import Any

import psutil
import pytest

MARK = "zebra_crossing_4711"
NETWORK = {socket.AF_INET, socket.AF_INET6}


def holders(home: Any) -> list[str]:
    """The names of the files in which the mark stands."""
    return [path.name for path in home.kept() if MARK.encode() in path.read_bytes()]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
async def talkative(home, start_server, workspace: Path):
    """A server that logs all it ever logs."""
    (workspace / "marked.py").write_text(f"{MARK} = 1\n")
    server = await start_server(home, engine="build")
    await server.initialize([workspace], {"log": {"level": "debug"}})
    await server.until_context()
    return server


async def leave_logs(server: Any) -> None:
    """End the session with something in the log of both processes."""
    assert await server.leave() == 0
    names = {path.name for path in server.home.kept()}
    assert "server.log" in names
    assert any(name.startswith("worker-") for name in names)


async def test_a_session_leaves_no_source_in_any_file(talkative, home, workspace: Path) -> None:
    uri = talkative.open(workspace / "new.py", f"# {MARK}\nalpha")
    assert await talkative.ghost(uri, 1, 5) == ["ALPHA"]
    home.script("say", f"{MARK}_suggested")
    talkative.insert(uri, 1, 5, f" = {MARK}")
    assert await talkative.ghost(uri, 1, 8 + len(MARK)) == [f"{MARK}_suggested"]
    talkative.close(uri)
    await talkative.until(lambda: list(home.runtime.glob("server-*.json")))
    assert MARK not in json.dumps(await talkative.status())
    assert holders(home) == []
    await leave_logs(talkative)
    assert holders(home) == []


async def test_what_fails_is_logged_without_what_it_failed_on(talkative, home, workspace: Path) -> None:
    uri = talkative.open(workspace / "new.py", f"# {MARK}\nalpha {MARK}")
    home.script("raise new.py")
    assert await talkative.ghost(uri, 1, 6 + len(MARK)) == []
    assert "RuntimeError" in await talkative.reason()
    talkative.send_changes(uri, [{"text": MARK, "range": {"start": MARK, "end": MARK}}])
    talkative.notify("textDocument/didOpen", {"textDocument": {"uri": uri, "text": [MARK]}})
    talkative.notify("textDocument/didSave", {"textDocument": MARK, "text": {"is": MARK}})
    with pytest.raises(Exception, match="aren't valid"):
        await talkative.request("textDocument/completion", {"textDocument": MARK, "position": MARK})
    talkative.send_bytes(b"Content-Length: 30\r\n\r\n" + f'{{"text": "{MARK}'.encode().ljust(30))
    talkative.send({"id": 4711, "error": {"code": 1, "message": MARK}})
    talkative.send_bytes(f"{MARK} = a stray line\r\n".encode())
    await talkative.until_shown("out of step")
    assert MARK not in json.dumps([await talkative.status(), talkative.errors, talkative.notifications])
    await leave_logs(talkative)
    assert holders(home) == []
    log = next(path for path in home.kept() if path.name == "server.log").read_text()
    assert "Invalid parameters of textDocument/completion" in log


async def test_only_its_user_can_read_what_it_keeps(talkative, home) -> None:
    await talkative.until(lambda: list(home.runtime.glob("server-*.json")))
    assert mode(home.runtime) == 0o700
    assert mode(home.root / "state" / "deltaloom" / "log") == 0o700
    sockets = list(home.runtime.glob("*.sock"))
    assert len(sockets) == 1
    for path in [*home.kept(), *sockets]:
        assert mode(path) == 0o600, path


async def test_a_folder_that_others_can_enter_holds_no_socket(home, start_server, workspace: Path) -> None:
    home.runtime.mkdir(mode=0o755)
    server = await start_server(home, engine="build")
    await server.initialize([workspace])
    uri = server.open(workspace / "new.py", "alpha")
    assert await server.ghost(uri, 0, 5) == ["ALPHA"]
    assert list(home.runtime.iterdir()) == []
    (path,) = (home.root / "cache").rglob("*.sock")
    assert mode(path.parent) == 0o700


AUDIT = """
import os, sys

def note(event, arguments):
    # Also what lasts a moment only, which a look at the open connections would miss.
    if event.startswith(("socket.", "urllib.", "http.", "ftplib.", "smtplib.")):
        if not (event == "socket.__new__" and arguments[1] == 1) and not (
            event in ("socket.connect", "socket.bind") and isinstance(arguments[1], (str, bytes))
        ):
            with open(os.path.join(os.environ["SCRIPT_FOLDER"], "network"), "a") as file:
                file.write(f"{os.getpid()} {event}\\n")

sys.addaudithook(note)
open(os.path.join(os.environ["SCRIPT_FOLDER"], f"audited-{os.getpid()}"), "w").close()
"""


async def test_neither_process_touches_the_network(home, start_server, workspace: Path) -> None:
    """With the real model, whose libraries would have their reasons to call home."""
    home.script("sitecustomize.py", AUDIT)
    scripts = str(home.root / "script")
    server = await start_server(home, environment={"PYTHONPATH": scripts})
    await server.initialize([workspace])
    uri = server.open(workspace / "report.py")
    await server.until_context()
    assert len(await server.ghost(uri, 6, 23)) == 1
    (worker,) = home.processes()
    for process in (worker, psutil.Process(server.process.pid)):
        assert (home.root / "script" / f"audited-{process.pid}").exists()
        assert {connection.family for connection in process.net_connections("all")} & NETWORK == set()
    assert await server.leave() == 0
    assert not (home.root / "script" / "network").exists(), (home.root / "script" / "network").read_text()


async def test_a_worker_is_called_by_whoever_has_its_token_alone(talkative, home) -> None:
    (path,) = home.runtime.glob("*.sock")
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.settimeout(20)
        stranger.connect(str(path))
        stranger.sendall(b"\x00\x00\x00\x05hello")
        assert stranger.recv(100) == b""
    report = await talkative.status()
    assert report["worker"]["state"] == "ready"
