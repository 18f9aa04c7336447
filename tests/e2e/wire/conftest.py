"""A real server process, spoken to message by message, in a home of its own.

Invariant: what a test starts is found again by its home's folder in the command line, and is gone when the
home is; every wait ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

SERVER = [sys.executable, "-P", "-m", "deltaloom_server", "lsp", "--stdio"]
PATIENCE_SECONDS = 30.0
_POLL_SECONDS = 0.02


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(120))


@dataclass(frozen=True)
class Home:
    """Folders of one pretended user; `environment` is what its processes are started with."""

    root: Path
    environment: dict[str, str]

    @property
    def runtime(self) -> Path:
        return self.root / "run" / "deltaloom"

    def kept(self) -> list[Path]:
        """Every file in the folders for logs, caches, data and sockets."""
        found = [path for name in ("state", "cache", "data", "run") for path in (self.root / name).rglob("*")]
        return [path for path in found if path.is_file()]

    def journal(self) -> list[str]:
        """What the scripted engine wrote."""
        path = self.root / "script" / "journal"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def script(self, name: str, text: str = "") -> Path:
        """Put a file where the scripted engine looks; it says there what it knows."""
        path = self.root / "script" / name.replace("/", "|")
        path.write_text(text, encoding="utf-8")
        return path

    def processes(self) -> list[psutil.Process]:
        """Everything that runs with this home in its command line: the model workers."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def end_processes(self) -> None:
        # Asked again and again, not waited for: whose parent has gone stays as a zombie until init sees it.
        while processes := self.processes():
            for process in processes:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            time.sleep(0.005)

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            command = process.cmdline()
        except psutil.Error:
            return False
        return "deltaloom_model.worker" in command and any(str(self.root) in part for part in command)


@contextlib.contextmanager
def _new_home() -> Iterator[Home]:
    # Not tmp_path: a Unix socket's path may hold about a hundred bytes.
    root = Path(tempfile.mkdtemp(prefix="dl-"))
    folders = {name: root / name for name in ("run", "cache", "state", "data", "home", "script")}
    for folder in folders.values():
        folder.mkdir(mode=0o700)
    names = {"run": "RUNTIME_DIR", "cache": "CACHE_HOME", "state": "STATE_HOME", "data": "DATA_HOME"}
    environment = {
        **os.environ,
        **{f"XDG_{variable}": str(folders[name]) for name, variable in names.items()},
        "HOME": str(folders["home"]),
        "SCRIPT_FOLDER": str(folders["script"]),
        "PYTHONPATH": str(Path(__file__).parent),  # where the worker finds the scripted engine
        "OMP_NUM_THREADS": "1",
        "NO_COLOR": "1",
    }
    home = Home(root, environment)
    try:
        yield home
    finally:
        home.end_processes()
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def home() -> Iterator[Home]:
    """A home for one test."""
    with _new_home() as made:
        yield made


@pytest.fixture(scope="module")
def shared_home() -> Iterator[Home]:
    """A home for a module's tests that need the real model, whose worker is then started once."""
    with _new_home() as made:
        yield made


class ResponseError(Exception):
    """The server answered a request with an error."""

    def __init__(self, error: Mapping[str, Any]) -> None:
        super().__init__(f"{error['code']}: {error['message']}")
        self.code: int = error["code"]
        self.message: str = error["message"]


class Server:
    """One server process and the client's end of its pipes."""

    def __init__(self, process: asyncio.subprocess.Process, home: Home) -> None:
        self.process = process
        self.home = home
        self.notifications: list[tuple[str, Any]] = []
        self.requests: list[tuple[str, Any]] = []
        """What the server asked for; answered with null, or as `refusals` says."""
        self.refusals: dict[str, str | None] = {}
        """By method the error that is answered, or None for no answer at all."""
        self.errors: list[dict[str, Any]] = []
        """Error answers that belong to no request (their id is null)."""
        self.capabilities: dict[str, Any] = {}
        self._ids = itertools.count(1)
        self._pending: dict[int | str, asyncio.Future[Any]] = {}
        self._versions: dict[str, int] = {}
        self._reading = asyncio.create_task(self._read())

    # -- the wire --------------------------------------------------------------------------------------------

    def send_bytes(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)

    def send(self, message: Mapping[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.send_bytes(b"Content-Length: %d\r\n\r\n" % len(body) + body)

    def notify(self, method: str, params: Any) -> None:
        self.send({"method": method, "params": params})

    def begin(self, method: str, params: Any = None) -> tuple[int, asyncio.Future[Any]]:
        """Send a request: its id, and the future of its result (`ResponseError` for an error)."""
        identifier = next(self._ids)
        future = self.expect(identifier)
        self.send({"id": identifier, "method": method, "params": params})
        return identifier, future

    def expect(self, identifier: int | str) -> asyncio.Future[Any]:
        """The future of the answer to a request with this id, which the test sends itself."""
        future = self._pending[identifier] = asyncio.get_running_loop().create_future()
        return future

    async def request(self, method: str, params: Any = None) -> Any:
        return await asyncio.wait_for(self.begin(method, params)[1], PATIENCE_SECONDS)

    async def _read(self) -> None:
        assert self.process.stdout is not None
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                header = await self.process.stdout.readuntil(b"\r\n\r\n")
                length = int(header.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                self._take(json.loads(await self.process.stdout.readexactly(length)))
        for future in self._pending.values():
            future.cancel()

    def _take(self, message: dict[str, Any]) -> None:
        if "method" in message and "id" in message:
            self.requests.append((message["method"], message.get("params")))
            refusal = self.refusals.get(message["method"], "")
            if refusal:
                self.send({"id": message["id"], "error": {"code": -32603, "message": refusal}})
            elif refusal is not None:
                self.send({"id": message["id"], "result": None})
        elif "method" in message:
            self.notifications.append((message["method"], message.get("params")))
        elif message.get("id") is None:
            self.errors.append(message["error"])
        elif (future := self._pending.pop(message["id"])).done():
            return
        elif "error" in message:
            future.set_exception(ResponseError(message["error"]))
        else:
            future.set_result(message["result"])

    # -- a session -------------------------------------------------------------------------------------------

    async def initialize(
        self,
        roots: Sequence[Path] = (),
        options: Mapping[str, Any] | None = None,
        *,
        capabilities: Mapping[str, Any] | None = None,
        initialized: bool = True,
        **params: Any,
    ) -> dict[str, Any]:
        """The handshake, as a client with ghost text; the model reads on one thread."""
        options = {**(options or {})}
        options["model"] = {"threads": 1, **options.get("model", {})}
        asked = {
            "processId": os.getpid(),
            "rootUri": None,
            "workspaceFolders": [{"uri": root.as_uri(), "name": root.name} for root in roots] or None,
            "capabilities": {"textDocument": {"inlineCompletion": {}}, **(capabilities or {})},
            "initializationOptions": options,
            **params,
        }
        result: dict[str, Any] = await self.request("initialize", asked)
        self.capabilities = result["capabilities"]
        if initialized:
            self.notify("initialized", {})
        return result

    def open(self, path: Path | str, text: str | None = None, language: str = "python") -> str:
        """Open a file with its text on disk, or this one; returns its uri."""
        uri = path if isinstance(path, str) else path.as_uri()
        if text is None:
            text = Path(path).read_bytes().decode()
        self._versions[uri] = 1
        item = {"uri": uri, "languageId": language, "version": 1, "text": text}
        self.notify("textDocument/didOpen", {"textDocument": item})
        return uri

    def insert(self, uri: str, line: int, character: int, text: str) -> None:
        place = {"line": line, "character": character}
        self.send_changes(uri, [{"range": {"start": place, "end": place}, "text": text}])

    def send_changes(self, uri: str, changes: Any) -> None:
        self._versions[uri] = self._versions.get(uri, 0) + 1
        document = {"uri": uri, "version": self._versions[uri]}
        self.notify("textDocument/didChange", {"textDocument": document, "contentChanges": changes})

    def close(self, uri: str) -> None:
        self.notify("textDocument/didClose", {"textDocument": {"uri": uri}})

    def begin_ghost(
        self, uri: str, line: int, character: int, *, invoked: bool = True
    ) -> tuple[int, asyncio.Future[list[str]]]:
        """Ask for an inline completion: the request's id, and the future of its texts (one, or none)."""
        params = {
            "textDocument": {"uri": uri},
            "position": {"line": line, "character": character},
            "context": {"triggerKind": 1 if invoked else 2},
        }
        identifier, answer = self.begin("textDocument/inlineCompletion", params)

        async def texts() -> list[str]:
            return [item["insertText"] for item in (await answer)["items"]]

        return identifier, asyncio.ensure_future(texts())

    async def ghost(self, uri: str, line: int, character: int, *, invoked: bool = True) -> list[str]:
        """The texts of an inline completion: one, or none."""
        future = self.begin_ghost(uri, line, character, invoked=invoked)[1]
        return await asyncio.wait_for(future, PATIENCE_SECONDS)

    # -- what can be seen of it ------------------------------------------------------------------------------

    async def status(self) -> dict[str, Any]:
        report: dict[str, Any] = await self.request("deltaloom/status")
        return report

    async def reason(self) -> str:
        """Why the last completion gave nothing; "" when it gave something."""
        return str((await self.status())["last_completion"]["reason"])

    async def source(self) -> str:
        """Where the last completion came from: model, cache or none."""
        return str((await self.status())["last_completion"]["source"])

    async def until_status(self, holds: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """The first status for which `holds`."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not holds(report := await self.status()):
                await asyncio.sleep(_POLL_SECONDS)
        return report

    async def until_context(self, state: str = "ready") -> dict[str, Any]:
        """The status once the workspace's context is in this state."""
        return await self.until_status(lambda report: report["context"]["state"] == state)

    async def until_journal(self, line: str) -> None:
        """Wait until the scripted engine has written this line."""
        await self.until(lambda: line in self.home.journal())

    @staticmethod
    async def until(holds: Callable[[], object]) -> None:
        """Wait for a condition that nothing announces, asking for it again and again."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not holds():
                await asyncio.sleep(_POLL_SECONDS)

    @property
    def shown(self) -> list[str]:
        """The sentences of `window/showMessage`."""
        return [params["message"] for method, params in self.notifications if method == "window/showMessage"]

    async def until_shown(self, part: str) -> str:
        """The first shown sentence with `part` in it; it is one sentence, shown once."""
        await self.until(lambda: any(part in sentence for sentence in self.shown))
        (sentence,) = [sentence for sentence in self.shown if part in sentence]
        assert "\n" not in sentence
        assert sentence.startswith("Deltaloom: ")
        assert sentence.endswith((".", "?"))
        return sentence

    # -- the end ---------------------------------------------------------------------------------------------

    async def leave(self) -> int:
        """`shutdown`, `exit`: the exit status."""
        assert await self.request("shutdown") is None
        self.notify("exit", None)
        return await self.exit_status()

    async def exit_status(self) -> int:
        """The exit status, once the process has ended."""
        return await asyncio.wait_for(self.process.wait(), PATIENCE_SECONDS)

    async def end(self) -> None:
        """Whatever state it is in, end it."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
        await self.process.wait()
        await asyncio.wait([self._reading])


@pytest.fixture
async def start_server() -> AsyncIterator[Callable[..., Awaitable[Server]]]:
    """Starts servers in a home: `await start_server(home)`, with `engine="build"` on the scripted engine."""
    servers: list[Server] = []

    async def start(home: Home, *, engine: str = "", environment: Mapping[str, str] | None = None) -> Server:
        process = await asyncio.create_subprocess_exec(
            *SERVER,
            *(["--engine", f"scripted_home:{engine}"] if engine else []),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=64 << 20,
            env={**home.environment, **(environment or {})},
            cwd=home.root,
        )
        servers.append(Server(process, home))
        return servers[-1]

    yield start
    for server in servers:
        await server.end()


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A small workspace: `report.py` uses what `shapes.py` defines."""
    root = tmp_path / "workspace"
    root.mkdir()
    (root / "shapes.py").write_text(
        "class Shape:\n    def __init__(self, width, height):\n        self.width = width\n"
        "        self.height = height\n\n    def area(self):\n        return self.width * self.height\n"
    )
    (root / "report.py").write_text(
        "from shapes import Shape\n\n\ndef total_area(shapes):\n    total = 0\n    for shape in shapes:\n"
        "        total += shape.\n    return total\n"
    )
    return root


@pytest.fixture
async def scripted(home: Home, start_server: Any, workspace: Path) -> Server:
    """A server on the scripted engine, with the workspace in place."""
    server: Server = await start_server(home, engine="build")
    await server.initialize([workspace])
    await server.until_context()
    return server
