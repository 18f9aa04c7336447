"""Starting the worker: one process per socket, however many servers ask at the same time.

Invariant: a worker holds its socket's lock from before it exists (it inherits the locked file) until it ends,
so whoever gets the lock knows that no worker is there and that a socket left behind is stale.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future
from pathlib import Path

import msgspec

from deltaloom_model.api import ModelSpec
from deltaloom_model.errors import WorkerUnavailable
from deltaloom_model.runtime_folder import lock_path, log_path

START_SECONDS = 30.0
"""A worker listens before it loads anything; if it isn't listening after this long, something is wrong."""

READY = b"ready"


class WorkerProcess:
    """A worker this process started: it is waited for, so it never stays behind as a zombie."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._exit: Future[int] = Future()
        self._exit.set_running_or_notify_cancel()  # who stops waiting for it must not cancel it
        threading.Thread(target=self._wait, name="deltaloom-worker-exit", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    async def exit_sentence(self, seconds: float) -> str:
        """How it ended, as a clause ("it was killed by SIGKILL …"), or "" if it hasn't within `seconds`."""
        try:
            code = await asyncio.wait_for(asyncio.wrap_future(self._exit), seconds)
        except TimeoutError:
            return ""
        if code >= 0:
            return f"it ended with exit status {code}"
        with contextlib.suppress(ValueError):
            name = signal.Signals(-code).name
            return f"it was killed by {name}" + (", perhaps for want of memory" if name == "SIGKILL" else "")
        return f"it was killed by signal {-code}"

    def _wait(self) -> None:
        self._exit.set_result(self._process.wait())


def try_lock(socket_file: Path) -> int | None:
    """A descriptor that holds the socket's lock, or None while a worker (or its starter) holds it."""
    import fcntl

    descriptor = os.open(lock_path(socket_file), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


async def spawn_worker(
    socket_file: Path,
    spec: ModelSpec,
    *,
    lock: int,
    engine: str | None = None,
    idle_seconds: float = 600.0,
    watch_seconds: float = 5.0,
) -> WorkerProcess:
    """Start the worker of `socket_file` and wait until it listens. Takes over (closes) the `lock` descriptor.

    Raises WorkerUnavailable with the worker's own sentence, or how it ended, when it doesn't get that far.
    """
    read_end, write_end = os.pipe()
    options = ["--lock-fd", str(lock), "--ready-fd", str(write_end)]
    options += ["--idle-seconds", str(idle_seconds), "--watch-seconds", str(watch_seconds)]
    command = worker_command(socket_file, spec, engine) + options
    try:
        worker = await asyncio.to_thread(_start, command, socket_file, (lock, write_end))
        said = await asyncio.wait_for(_read_all(read_end), START_SECONDS)
    except TimeoutError:
        raise WorkerUnavailable(f"The model worker doesn't listen; see {log_path(socket_file)}.") from None
    except OSError as error:
        raise WorkerUnavailable(f"The model worker can't be started ({error.strerror}).") from None
    finally:
        os.close(read_end)
    if said == READY:
        return worker
    if said:
        raise WorkerUnavailable(said.decode("utf-8", "replace"))
    how = await worker.exit_sentence(5.0) or "it ended"
    raise WorkerUnavailable(f"The model worker didn't start: {how}; see {log_path(socket_file)}.")


def worker_command(socket_file: Path, spec: ModelSpec, engine: str | None = None) -> list[str]:
    """The command line of a worker; the interpreter is this one, and the working folder is never imported."""
    isolation = ["-I"] if sys.flags.isolated else ["-P"]
    command = [sys.executable, *isolation, "-X", "utf8", "-m", "deltaloom_model.worker"]
    command += ["--socket", str(socket_file), "--spec", msgspec.json.encode(spec).decode()]
    return command + (["--engine", engine] if engine else [])


def worker_environment() -> dict[str, str]:
    """This process's environment, made so that the worker finds this very package from a source tree too."""
    environment = dict(os.environ)
    root = Path(__file__).resolve().parent.parent
    if root.name not in {"site-packages", "dist-packages"}:
        known = environment.get("PYTHONPATH", "")
        environment["PYTHONPATH"] = f"{root}{os.pathsep}{known}" if known else str(root)
    return environment


def _start(command: list[str], socket_file: Path, descriptors: tuple[int, ...]) -> WorkerProcess:
    # Closes the descriptors itself: the coroutine that waits for this thread may be cancelled meanwhile.
    try:
        return WorkerProcess(
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=socket_file.parent,
                env=worker_environment(),
                pass_fds=descriptors,
                start_new_session=True,
            )
        )
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


async def _read_all(descriptor: int) -> bytes:
    reader = asyncio.StreamReader()
    pipe = os.fdopen(os.dup(descriptor), "rb", buffering=0)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), pipe
    )
    try:
        return await reader.read()
    finally:
        transport.close()
