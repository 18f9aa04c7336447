"""`Sandbox`: a command run on a copy of a folder, cut off from the network and from everything else.

Invariant: the original folder is never written to, no process outlives its run, and where the network can't
be cut off nothing is run at all (`available` says why).

Linux: namespaces of the kernel's own, by `sandbox_launcher`. macOS: a profile of `sandbox-exec` (written from
its manual and not tested by us: no machine of that kind is at hand).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import ClassVar, Final

from deltaloom_server import private_folders
from deltaloom_server.errors import DeltaloomError
from deltaloom_server.security import sandbox_launcher
from deltaloom_server.security.copying import CopyLimits, copy_folder
from deltaloom_server.security.source_text import decode_source

PYTEST: Final = (sys.executable, "-m", "pytest", "-q", "-x")
_COVERED: Final = ("/tmp", "/var/tmp", "/run", "/var/run", "/dev/shm")


class SandboxError(DeltaloomError):
    """Something can't be run in a sandbox here; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one run. Memory and file size hold for each process, `output_bytes` for what is kept."""

    seconds: float = 60.0
    memory_bytes: int = 4 << 30
    processes: int = 256
    file_bytes: int = 64 << 20
    output_bytes: int = 64 << 10


@dataclass(frozen=True, slots=True)
class Completed:
    """How a command ended. `status` is 128 + the signal where one ended it, None where time ran out.

    `output` is the end of stdout and stderr together; `dropped` counts the bytes before it.
    """

    status: int | None
    output: str
    dropped: int = 0

    @property
    def timed_out(self) -> bool:
        return self.status is None


@dataclass(frozen=True, slots=True)
class TestRun:
    """What the repository's own tests say of a change."""

    __test__: ClassVar[bool] = False  # pytest: not a class of tests, in spite of its name

    passed: bool
    summary: str
    output_tail: str


@cache
def available() -> str | None:
    """None where commands can be isolated here; else why not, in one sentence. Starts one process, once."""
    if sys.platform == "darwin":
        return (
            None if shutil.which("sandbox-exec") else "sandbox-exec is missing, so nothing can be isolated."
        )
    if not sys.platform.startswith("linux"):
        return f"No sandbox is known for {sys.platform}, so tests are not run here."
    with private_folders.folder("sandbox") as base:
        order = _order(Path(base), Path(base), (sys.executable, "-I", "-S", "-c", ""), {}, Limits())
        try:
            probe = subprocess.run(_launch(order), capture_output=True, text=True, timeout=30)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"The sandbox does not start: {error}."
    if probe.returncode == 0:
        return None
    reason = probe.stderr.strip().splitlines()
    return f"Nothing can be isolated: {reason[-1] if reason else f'status {probe.returncode}'}."


class Sandbox:
    """A copy of a folder, and commands run on it: `async with Sandbox(root) as it: await it.run(command)`.

    Raises SandboxError on entering where nothing can be isolated, or where the folder is too large to copy.
    """

    def __init__(
        self, root: Path, limits: Limits | None = None, copy_limits: CopyLimits | None = None
    ) -> None:
        self.limits = limits or Limits()
        self._root = root
        self._copy_limits = copy_limits or CopyLimits()
        self._base = Path()

    @property
    def folder(self) -> Path:
        """The copy."""
        return self._base / "copy"

    async def __aenter__(self) -> Sandbox:
        if (reason := await asyncio.to_thread(available)) is not None:
            raise SandboxError(reason)
        await asyncio.to_thread(private_folders.sweep_once, "sandbox")
        self._base = Path(private_folders.make("sandbox")).resolve()
        try:
            for name in ("home", "tmp"):
                (self._base / name).mkdir()
            await _to_its_end(lambda: copy_folder(self._root, self.folder, self._copy_limits))
        except BaseException as error:
            self._remove()
            if isinstance(error, OSError | ValueError):
                raise SandboxError(f"{self._root} can't be copied to be tested: {error}") from error
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.shield(asyncio.to_thread(self._remove))

    def write(self, path: str, text: str) -> None:
        """Change a file of the copy, in the encoding that it has, or make one in UTF-8; `path` is relative to
        the copy, with forward slashes.

        Raises SandboxError for one that leaves the copy, and for a text that can't be written there.
        """
        pure = PurePosixPath(path)
        target = (self.folder / pure).resolve()
        if pure.is_absolute() or not target.is_relative_to(self.folder.resolve()):
            raise SandboxError(f"{path} is not inside the folder, so it is not changed.")
        try:
            data = _encoded(target, text)
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():
                target.chmod(target.stat().st_mode | stat.S_IWUSR)
            target.write_bytes(data)
        except (OSError, UnicodeEncodeError) as error:
            why = f"in {error.encoding}" if isinstance(error, UnicodeEncodeError) else error.strerror
            raise SandboxError(f"{path} can't be written to be tested ({why}).") from error

    async def run(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        seconds: float | None = None,
    ) -> Completed:
        """Run a command in the copy, to its end or its limits. A cancelled run kills all it started.

        Raises SandboxError where the program doesn't exist or the isolation fails after all.
        """
        limits = self.limits if seconds is None else replace(self.limits, seconds=seconds)
        program = shutil.which(command[0], path=_path())
        if program is None:
            raise SandboxError(f"{command[0]} is not an executable file; name one that is.")
        order = _order(self._base, self.folder, (program, *command[1:]), environment or {}, limits)
        process = await asyncio.create_subprocess_exec(
            *_launch(order),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={"PATH": _path()},
            start_new_session=True,
        )
        assert process.stdout is not None
        kept = _Tail(limits.output_bytes)
        status: int | None = None
        try:
            async with asyncio.timeout(limits.seconds):
                await kept.follow(process.stdout)
                status = await process.wait()
        except TimeoutError:
            pass
        finally:
            await _kill(process)
        completed = Completed(status, kept.text(), kept.dropped)
        if status == sandbox_launcher.REFUSED and "this system does not let a process" in completed.output:
            raise SandboxError(f"Nothing was run: {completed.output.strip()}.")
        return completed

    def _remove(self) -> None:
        if self._base != Path():
            private_folders.remove(os.fspath(self._base))


async def run_tests(
    root: Path, changed: Mapping[str, str], command: Sequence[str] = PYTEST, seconds: float = 60.0
) -> TestRun:
    """Run the tests of the workspace folder `root` on a copy in which `changed` files have new texts.

    `command` may come from the user's own settings only, never from the workspace's. Raises SandboxError
    where they can't be run at all (which is no word about the change).
    """
    async with Sandbox(root, Limits(seconds=seconds)) as sandbox:
        for path, text in changed.items():
            sandbox.write(path, text)
        # A development install of the workspace must not put the original before the copy.
        own = os.pathsep.join(str(one) for one in (sandbox.folder / "src", sandbox.folder) if one.is_dir())
        done = await sandbox.run(command, {"PYTHONPATH": own})
    return TestRun(done.status == 0, _summary(done, seconds), done.output[-4000:])


def _encoded(target: Path, text: str) -> bytes:
    """A text as its file would hold it. Raises OSError, UnicodeEncodeError and SandboxError."""
    if not target.is_file():
        return text.encode()
    source = decode_source(target.read_bytes(), is_python=target.suffix in (".py", ".pyi"))
    if isinstance(source, str):
        raise SandboxError(f"{target.name} can't be changed to be tested: {source}.")
    return source.encode(text)


def _summary(done: Completed, seconds: float) -> str:
    """pytest's last line without its decoration, or what else can be said."""
    if done.timed_out:
        return f"not finished after {seconds:g} s"
    lines = [line.strip("= \t") for line in done.output.splitlines() if line.strip("= \t")]
    last = lines[-1] if lines else ""
    if re.match(r"(\d+|no) \w+", last):
        return re.sub(r" in [\d.]+s.*$", "", last)
    return "passed" if done.status == 0 else f"ended with status {done.status}"


async def _to_its_end(work: Callable[[], None]) -> None:
    """Blocking work in a thread, that has ended when this has, cancelled or not: its folder can go then."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


class _Tail:
    """The last bytes of a stream that may be endless."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept = bytearray()
        self.dropped = 0

    async def follow(self, stream: asyncio.StreamReader) -> None:
        while chunk := await stream.read(1 << 16):
            self._kept += chunk
            if (excess := len(self._kept) - self._size) > 0:
                del self._kept[:excess]
                self.dropped += excess

    def text(self) -> str:
        return self._kept.decode("utf-8", "replace")


async def _kill(process: asyncio.subprocess.Process) -> None:
    """End all that runs. Linux's launcher, asked politely, ends only when nothing of it is left."""
    if process.returncode is not None and sys.platform.startswith("linux"):
        return
    if sys.platform.startswith("linux"):
        with contextlib.suppress(TimeoutError, ProcessLookupError):
            process.terminate()
            async with asyncio.timeout(5):
                await process.wait()
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _launch(order: Mapping[str, object]) -> tuple[str, ...]:
    launcher = (sys.executable, "-I", "-S", sandbox_launcher.__file__, json.dumps(order))
    if sys.platform != "darwin":
        return launcher
    return ("sandbox-exec", "-p", _profile(str(order["base"])), *launcher)


def _profile(base: str) -> str:
    """For macOS: all may be read, only the sandbox's folder written, and no network."""
    quoted = json.dumps(base)
    return (
        "(version 1)(allow default)(deny network*)(deny file-write*)"
        f'(allow file-write* (subpath {quoted}) (literal "/dev/null") (literal "/dev/tty"))'
    )


def _order(
    base: Path, folder: Path, command: Sequence[str], environment: Mapping[str, str], limits: Limits
) -> dict[str, object]:
    """All that the launcher has to know."""
    linux = sys.platform.startswith("linux")
    cover = [one for one in map(Path, _COVERED) if linux and os.path.isdir(one) and not one.is_symlink()]
    # What the command itself needs and a cover would hide, shown again through it.
    needed = {
        Path(sys.prefix),
        Path(sys.base_prefix),
        Path(command[0]).parent,
        Path(command[0]).resolve().parent,
    }
    keep = [
        one
        for one in sorted(needed)
        if os.path.isdir(one) and any(one.is_relative_to(over) for over in cover)
    ]
    return {
        "system": "linux" if sys.platform.startswith("linux") else sys.platform,
        "base": str(base),
        "folder": str(folder),
        "command": list(command),
        "cover": [str(one) for one in cover],
        "keep": [str(one) for one in keep],
        "cover_bytes": limits.file_bytes * 4,
        "environment": {
            "PATH": _path(),
            "HOME": str(base / "home"),
            "TMPDIR": str(base / "tmp"),
            "LANG": "C.UTF-8",
            "PYTHONNOUSERSITE": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            **environment,
        },
        "limits": {
            "RLIMIT_AS": limits.memory_bytes,
            "RLIMIT_NPROC": limits.processes,
            "RLIMIT_FSIZE": limits.file_bytes,
            "RLIMIT_CPU": max(1, int(limits.seconds) + 1),
            "RLIMIT_CORE": 0,
        },
    }


def _path() -> str:
    """The interpreter's own folder, and the system's."""
    return os.pathsep.join((os.path.dirname(sys.executable), "/usr/local/bin", "/usr/bin", "/bin"))
