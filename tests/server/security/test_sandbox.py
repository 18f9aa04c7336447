"""Real processes in the real sandbox: what they can't reach, and that nothing of them is left."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path

import psutil
import pytest

from deltaloom_server.security.copying import CopyLimits
from deltaloom_server.security.sandbox import (
    Limits,
    Sandbox,
    SandboxError,
    available,
    run_tests,
)

pytestmark = pytest.mark.skipif(available() is not None, reason=str(available()))
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="namespaces are Linux's")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    root = tmp_path / "workspace"
    root.mkdir()
    (root / "prices.py").write_text("def total(items):\n    return sum(items)\n")
    (root / "test_prices.py").write_text(
        "from prices import total\n\n\ndef test_total():\n    assert total([1, 2]) == 3\n"
    )
    return root


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


async def test_a_listener_outside_cannot_be_reached(workspace: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            pass
        async with Sandbox(workspace) as sandbox:
            done = await sandbox.run(
                python(f"import socket; socket.create_connection(('127.0.0.1', {port})); print('in')")
            )
    assert done.status == 1
    assert "ConnectionRefusedError" in done.output or "PermissionError" in done.output


@linux
async def test_a_server_of_its_own_can_be_reached_inside(workspace: Path) -> None:
    code = (
        "import socket\n"
        "with socket.create_server(('127.0.0.1', 0)) as server:\n"
        "    socket.create_connection(server.getsockname()).close()\n"
        "print('reached')"
    )
    async with Sandbox(workspace) as sandbox:
        done = await sandbox.run(python(code))
    assert done.output == "reached\n"


@linux
async def test_no_socket_file_of_other_programs_can_be_reached(workspace: Path) -> None:
    folder = Path("/tmp") / f"deltaloom-test-{os.getpid()}"
    folder.mkdir(mode=0o700)
    path = folder / "other.sock"
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            code = f"import socket; socket.socket(socket.AF_UNIX).connect({str(path)!r})"
            async with Sandbox(workspace) as sandbox:
                done = await sandbox.run(python(code))
    finally:
        path.unlink(missing_ok=True)
        folder.rmdir()
    assert "FileNotFoundError" in done.output


async def test_what_it_writes_stays_in_the_copy(workspace: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    code = (
        "from pathlib import Path\n"
        "Path('prices.py').write_text('changed')\n"
        "import tempfile; tempfile.mkstemp()\n"
        "(Path.home() / 'note').write_text('x')\n"
        f"Path({str(outside)!r}).write_text('escaped')"
    )
    async with Sandbox(workspace) as sandbox:
        done = await sandbox.run(python(code))
        assert (sandbox.folder / "prices.py").read_text() == "changed"
        base = sandbox.folder.parent
    assert done.status == 1, done.output
    assert not outside.exists()
    assert "def total" in (workspace / "prices.py").read_text()
    assert not base.exists()


@linux
async def test_a_program_in_a_covered_folder_still_runs_there_and_alone(workspace: Path) -> None:
    folder = Path("/tmp") / f"deltaloom-test-{os.getpid()}"
    folder.mkdir(mode=0o700)
    script = "#!/bin/sh\nls /tmp; echo more >> $0\n"
    try:
        (folder / "tool").write_text(script)
        (folder / "tool").chmod(0o700)
        async with Sandbox(workspace) as sandbox:
            done = await sandbox.run((str(folder / "tool"),))
            base = sandbox.folder.parent
        assert (folder / "tool").read_text() == script
    finally:
        (folder / "tool").unlink()
        folder.rmdir()
    seen = {line for line in done.output.splitlines() if "Read-only" not in line}
    assert seen == {folder.name, *([base.name] if base.parent == Path("/tmp") else [])}
    assert "Read-only" in done.output


@linux
async def test_the_cuts_cannot_be_undone_from_inside(workspace: Path) -> None:
    script = (
        "umount /tmp; mount -o remount,rw /; unshare -Urm mount -o remount,rw /; "
        "grep -E '^Cap(Eff|Prm|Bnd)' /proc/self/status"
    )
    async with Sandbox(workspace) as sandbox:
        done = await sandbox.run(("/bin/sh", "-c", script))
        attempt = await sandbox.run(python("open('/deltaloom-was-here', 'w')"))
    assert done.output.count("\t0000000000000000") == 3, done.output
    assert attempt.status == 1
    assert not Path("/deltaloom-was-here").exists()


async def test_the_environment_holds_no_token(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGE_TOKEN", "t0p-s3cret")
    code = (
        "import os, pathlib\n"
        "print(sorted(os.environ))\n"
        "for one in pathlib.Path('/proc').glob('[0-9]*/environ'):\n"
        "    try: print('t0p-' + 's3cret' in one.read_text(errors='replace'))\n"
        "    except OSError: pass\n"
    )
    async with Sandbox(workspace) as sandbox:
        done = await sandbox.run(python(code))
        home = await sandbox.run(python("import os; print(os.path.expanduser('~'))"))
        base = sandbox.folder.parent
    assert "FORGE_TOKEN" not in done.output
    assert "True" not in done.output
    assert home.output.strip() == str(base / "home")


async def test_time_running_out_ends_grandchildren_in_other_sessions(workspace: Path) -> None:
    mark = f"deltaloom-mark-{os.getpid()}"
    code = (
        "import subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)', {mark!r}],"
        " start_new_session=True)\n"
        "print('started', flush=True)\n"
        "time.sleep(600)\n"
    )
    async with Sandbox(workspace, Limits(seconds=3)) as sandbox:
        done = await sandbox.run(python(code))
    assert done.timed_out
    assert done.output == "started\n"
    assert not _marked(mark)


async def test_a_cancelled_run_leaves_no_process(workspace: Path) -> None:
    mark = f"deltaloom-cancel-{os.getpid()}"
    async with Sandbox(workspace) as sandbox:
        run = asyncio.create_task(
            sandbox.run((sys.executable, "-c", "open('up', 'w'); import time; time.sleep(600)", mark))
        )
        while not (sandbox.folder / "up").exists():
            assert not run.done()
            await asyncio.sleep(0.01)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert not _marked(mark)


async def test_what_is_left_behind_in_the_background_ends_with_the_command(workspace: Path) -> None:
    mark = f"deltaloom-left-{os.getpid()}"
    code = (
        "import subprocess, sys\n"
        f"subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)', {mark!r}],"
        " start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
    )
    async with Sandbox(workspace) as sandbox:
        done = await sandbox.run(python(code))
    assert done.status == 0
    if sys.platform.startswith("linux"):
        assert not _marked(mark)


def _marked(mark: str) -> list[int]:
    """Processes with a mark on their command line."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        if mark in (process.info["cmdline"] or ()) and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process.pid)
    return found


async def test_endless_output_keeps_its_end_only(workspace: Path) -> None:
    code = "print('x' * 5_000_000); print('the end')"
    async with Sandbox(workspace, Limits(output_bytes=1000)) as sandbox:
        done = await sandbox.run(python(code))
    assert done.output.endswith("the end\n")
    assert len(done.output) == 1000
    assert done.dropped > 4_900_000


@linux
async def test_memory_and_file_sizes_are_bounded(workspace: Path) -> None:
    limits = Limits(memory_bytes=256 << 20, file_bytes=1 << 20)
    async with Sandbox(workspace, limits) as sandbox:
        memory = await sandbox.run(python("x = b'1' * (1 << 30)"))
        file = await sandbox.run(python("open('big', 'wb').write(b'1' * (1 << 22))"))
        assert (sandbox.folder / "big").stat().st_size <= 1 << 20
    assert "MemoryError" in memory.output
    assert file.status != 0


async def test_links_that_lead_out_and_histories_are_not_copied(workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("private")
    (workspace / ".git").mkdir()
    (workspace / ".git" / "config").write_text("[core]")
    (workspace / "out").symlink_to(tmp_path / "key")
    (workspace / "up").symlink_to(tmp_path)
    (workspace / "history").symlink_to(workspace / ".git")
    (workspace / "same.py").symlink_to(workspace / "prices.py")
    os.mkfifo(workspace / "pipe")
    async with Sandbox(workspace) as sandbox:
        assert sorted(one.name for one in sandbox.folder.iterdir()) == [
            "prices.py", "same.py", "test_prices.py",
        ]  # fmt: skip
        assert (sandbox.folder / "same.py").resolve() == sandbox.folder / "prices.py"


async def test_a_folder_beyond_the_limit_is_refused_and_nothing_is_left(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    (workspace / "data.bin").write_bytes(b"0" * 5000)
    with pytest.raises(SandboxError, match="more than"):
        async with Sandbox(workspace, copy_limits=CopyLimits(bytes=4000)):
            pass
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("path", ["../outside.py", "/etc/hosts", "pkg/../../outside.py"])
async def test_a_change_outside_the_copy_is_refused(workspace: Path, path: str) -> None:
    async with Sandbox(workspace) as sandbox:
        with pytest.raises(SandboxError, match="not inside"):
            sandbox.write(path, "x = 1\n")


async def test_run_tests_tells_a_change_that_holds_from_one_that_does_not(workspace: Path) -> None:
    good = await run_tests(workspace, {"prices.py": "def total(items):\n    return sum(tuple(items))\n"})
    bad = await run_tests(workspace, {"prices.py": "def total(items):\n    return 0\n"})
    assert (good.passed, good.summary) == (True, "1 passed")
    assert (bad.passed, bad.summary) == (False, "1 failed")
    assert "assert 0 == 3" in bad.output_tail
    assert not (workspace / ".pytest_cache").exists()


async def test_run_tests_says_when_there_are_none_or_they_hang(workspace: Path) -> None:
    (workspace / "test_prices.py").write_text("import time\n\n\ndef test_it():\n    time.sleep(600)\n")
    hung = await run_tests(workspace, {}, seconds=4)
    (workspace / "test_prices.py").unlink()
    none = await run_tests(workspace, {})
    assert (hung.passed, hung.summary) == (False, "not finished after 4 s")
    assert (none.passed, none.summary) == (False, "no tests ran")


async def test_a_program_that_does_not_exist_is_said(workspace: Path) -> None:
    with pytest.raises(SandboxError, match="no-such-program is not an executable file"):
        await run_tests(workspace, {}, command=("no-such-program",))


async def test_the_copy_goes_even_where_its_folders_were_closed(workspace: Path) -> None:
    async with Sandbox(workspace) as sandbox:
        await sandbox.run(python("import os; os.makedirs('a/b'); os.chmod('a/b', 0); os.chmod('a', 0)"))
        base = sandbox.folder.parent
    assert not base.exists()
