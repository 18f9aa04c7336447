"""Real server processes over stdio, with the embedded model, in folders of the test's own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from deltaloom_server.cli.editor import HeadlessEditor, Suggestion
from deltaloom_server.cli.lsp_client import LspClient, server_command, start_server
from deltaloom_server.cli.server_report import ServerReport, fetch_report, wait_until_ready

OPTIONS: dict[str, Any] = {"model": {"threads": 1}, "worker": {"idle_seconds": 1}}

FILES = {
    "shop/money.py": "class Money:\n    def __init__(self, amount):\n        self.amount = amount\n\n"
    "    def add(self, other):\n        return Money(self.amount + other.amount)\n",
    "shop/cart.py": "from .money import Money\n\n\nclass Cart:\n    def __init__(self):\n"
    "        self.items = []\n\n    def total(self):\n        total = Money(0)\n"
    "        for item in self.items:\n            total = total.add(item)\n        return total\n",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(120))


class Started:
    """One server, its client, and everything it said by itself."""

    def __init__(self, client: LspClient, notifications: list[tuple[str, dict[str, Any]]]) -> None:
        self.client = client
        self.editor = HeadlessEditor(client)
        self.notifications = notifications

    @property
    def pid(self) -> int:
        return self.client._process.pid

    @property
    def shown(self) -> list[str]:
        """The sentences of `window/showMessage`."""
        return [params["message"] for method, params in self.notifications if method == "window/showMessage"]

    async def report(self) -> ServerReport:
        return await fetch_report(self.client)

    async def ready(self) -> ServerReport:
        return await wait_until_ready(self.client)

    async def until(self, true_of: Callable[[ServerReport], bool]) -> ServerReport:
        """Poll the server's status until it is so."""
        while not true_of(report := await self.report()):
            await asyncio.sleep(0.02)
        return report

    async def until_shown(self, part: str) -> str:
        """Wait for a message to the user that has this in it."""
        while not (found := [sentence for sentence in self.shown if part in sentence]):
            await asyncio.sleep(0.02)
        return found[0]

    async def ask(self, path: Path, after: str, **changed: Any) -> tuple[Suggestion, ServerReport]:
        """The suggestion behind the first occurrence of a text in an open file, and the report then."""
        text = self.editor.text(path)
        line, column = place(text, after)
        return await self.editor.ghost_text(path, line, column), await self.report()


def place(text: str, after: str) -> tuple[int, int]:
    before = text[: text.index(after) + len(after)]
    return before.count("\n"), len(before) - before.rfind("\n") - 1


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    """Folders of its own for sockets, caches and logs; every worker started in it is ended."""
    folder = Path(tempfile.mkdtemp(prefix="dl-"))
    os.chmod(folder, 0o700)
    names = {"XDG_RUNTIME_DIR": "run", "XDG_CACHE_HOME": "cache", "XDG_STATE_HOME": "state"}
    for name in names.values():
        (folder / name).mkdir(mode=0o700)
    yield {**os.environ, **{variable: str(folder / name) for variable, name in names.items()}}
    for process in psutil.process_iter(["cmdline"]):
        if any(str(folder) in word for word in process.info["cmdline"] or ()):
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)
                process.wait(10)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


Start = Callable[..., contextlib.AbstractAsyncContextManager[Started]]


@pytest.fixture
def start(environment: dict[str, str]) -> Start:
    """`async with start(root, ..., **options) as server`: options are merged into `OPTIONS`."""

    @contextlib.asynccontextmanager
    async def started(*roots: Path, **options: Any) -> AsyncIterator[Started]:
        notifications: list[tuple[str, dict[str, Any]]] = []
        merged = {
            section: {**OPTIONS.get(section, {}), **options.get(section, {})}
            if isinstance(options.get(section, {}), dict)
            else options[section]
            for section in {*OPTIONS, *options}
        }
        note = lambda method, params: notifications.append((method, params))  # noqa: E731
        async with start_server(list(roots), merged, note, environment) as client:
            yield Started(client, notifications)

    return started


class RawServer:
    """A server spoken to in bytes, for what no client would send."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def send(self, message: object, *, length: int | None = None) -> None:
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        header = b"Content-Length: %d\r\n\r\n" % (len(body) if length is None else length)
        await self.send_bytes(header + body)

    async def send_bytes(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        await self.process.stdin.drain()

    async def request(self, method: str, params: object = None, identifier: int = 1) -> dict[str, Any]:
        await self.send({"jsonrpc": "2.0", "id": identifier, "method": method, "params": params})
        return await self.answer(identifier)

    async def notify(self, method: str, params: object) -> None:
        await self.send({"jsonrpc": "2.0", "method": method, "params": params})

    async def answer(self, identifier: int | None) -> dict[str, Any]:
        """The next answer to this id; notifications in between are passed over."""
        while True:
            message = await self.receive()
            if "method" not in message and message.get("id") == identifier:
                return message

    async def receive(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        header = await self.process.stdout.readuntil(b"\r\n\r\n")
        length = int(header.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        message: dict[str, Any] = json.loads(await self.process.stdout.readexactly(length))
        return message

    async def initialize(self, **changed: Any) -> dict[str, Any]:
        params = {"processId": None, "rootUri": None, "capabilities": {}, **changed}
        return await self.request("initialize", params, identifier=1000)


@pytest.fixture
async def raw(environment: dict[str, str]) -> AsyncIterator[RawServer]:
    process = await asyncio.create_subprocess_exec(
        *server_command(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=environment,
    )
    yield RawServer(process)
    if process.returncode is None:
        process.kill()
    await process.wait()
