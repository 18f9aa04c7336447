"""A repository's own tests as a fix's judges: real tests in the real sandbox."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deltaloom_server.context.roots import name_roots
from deltaloom_server.security import sandbox
from deltaloom_server.security.copying import folder_state
from deltaloom_server.security.own_tests import OwnTests
from deltaloom_server.settings import SecuritySettings, Settings, WorkspaceSettings

Make = Callable[..., OwnTests]

RIGHT = "def add(a, b):\n    return b + a\n"
WRONG = "def add(a, b):\n    return a - b\n"

needs_sandbox = pytest.mark.skipif(sandbox.available() is not None, reason=str(sandbox.available()))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "calc.py").write_text("def add(a, b):\n    return a + b\n")
    (tmp_path / "test_calc.py").write_text(
        "from calc import add\n\n\ndef test_add():\n    assert add(1, 2) == 3\n"
    )
    return tmp_path


@pytest.fixture
def own(server: Any, root: Path) -> Make:
    server.session.roots = name_roots([str(root)])

    def make(*command: str) -> OwnTests:
        server.session.settings = Settings(
            security=SecuritySettings(run_tests=True, test_command=command),
            workspace=WorkspaceSettings(trusted=True),
        )
        return OwnTests(server)

    return make


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each run of tests that takes place: is it of a changed copy?"""
    real, seen = sandbox.run_tests, list[bool]()

    async def counted(root: Path, changed: Any, *more: Any) -> sandbox.TestRun:
        seen.append(bool(changed))
        return await real(root, changed, *more)

    monkeypatch.setattr(sandbox, "run_tests", counted)
    return seen


@needs_sandbox
async def test_tests_that_fail_without_the_fix_are_told_from_those_that_it_breaks(
    own: Make, root: Path
) -> None:
    passed, said = await own().run_if_asked("calc.py", WRONG)
    assert not passed
    assert said == "the repository's tests fail with it (1 failed)"
    (root / "test_other.py").write_text("def test_other():\n    assert False\n")
    passed, said = await own().run_if_asked("calc.py", RIGHT)
    assert not passed
    assert said == "the repository's tests fail already without it: 1 failed, 1 passed"


@needs_sandbox
async def test_a_repository_without_tests_says_so(own: Make, root: Path) -> None:
    (root / "test_calc.py").unlink()
    passed, said = await own().run_if_asked("calc.py", RIGHT)
    assert (passed, said) == (
        False,
        "the repository's tests fail already without it: no tests ran",
    )


@needs_sandbox
async def test_tests_that_the_fix_mends_accept_it(own: Make, root: Path) -> None:
    (root / "calc.py").write_text(WRONG)
    assert await own().run_if_asked("calc.py", RIGHT) == (True, "1 passed")


@needs_sandbox
async def test_the_unchanged_folder_is_tested_only_after_a_failure_and_once_for_each_state(
    own: Make, root: Path, runs: list[bool]
) -> None:
    tests = own("sh", "-c", "! grep -q 'a - b' calc.py")
    await tests.run_if_asked("calc.py", RIGHT)
    assert runs == [True]
    await asyncio.gather(*(tests.run_if_asked("calc.py", WRONG) for _ in range(3)))
    assert sorted(runs) == [False, True, True, True, True]
    (root / "calc.py").write_text(WRONG)
    _, said = await tests.run_if_asked("calc.py", WRONG)
    assert said == "the repository's tests fail already without it: ended with status 1"
    assert runs.count(False) == 2


@needs_sandbox
async def test_what_can_not_be_run_is_a_refusal_and_no_error(own: Make) -> None:
    passed, said = await own("no-such-program").run_if_asked("calc.py", RIGHT)
    assert (passed, said) == (False, "no-such-program is not an executable file; name one that is")


async def test_a_folder_that_is_too_large_to_copy_is_a_refusal_and_no_error(
    own: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> sandbox.TestRun:
        raise sandbox.SandboxError("/x can't be copied to be tested: it holds more than 50000 files")

    monkeypatch.setattr(sandbox, "available", lambda: None)
    monkeypatch.setattr(sandbox, "run_tests", refuse)
    passed, said = await own().run_if_asked("calc.py", RIGHT)
    assert not passed
    assert "can't be copied" in said


async def test_asking_whether_there_is_a_sandbox_does_not_hold_the_server_up(
    own: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_in: list[threading.Thread] = []

    def available() -> str:
        asked_in.append(threading.current_thread())
        return "Nothing can be isolated: no."

    monkeypatch.setattr(sandbox, "available", available)
    assert await own().run_if_asked("calc.py", RIGHT) == (False, "Nothing can be isolated: no")
    assert asked_in
    assert threading.main_thread() not in asked_in


@needs_sandbox
async def test_a_file_is_written_in_its_own_encoding(own: Make, root: Path) -> None:
    (root / "calc.py").write_bytes(b"# coding: latin-1\nname = '\xe9'\n")
    (root / "test_calc.py").write_text(
        "import calc\n\n\ndef test_name():\n    assert calc.name == '\\xe9' + '!'\n"
    )
    assert await own().run_if_asked("calc.py", "# coding: latin-1\nname = '\xe9!'\n") == (True, "1 passed")
    passed, said = await own().run_if_asked("calc.py", "# coding: latin-1\nname = '\u4e16'\n")
    assert (passed, said) == (False, "calc.py can't be written to be tested (in latin-1)")


@needs_sandbox
async def test_a_file_keeps_its_mark_and_one_that_is_write_protected_is_written(root: Path) -> None:
    (root / "calc.py").write_bytes(b"\xef\xbb\xbfx = 1\r\n")
    (root / "calc.py").chmod(0o444)
    (root / "data.bin").write_bytes(b"\0\1")
    async with sandbox.Sandbox(root) as copy:
        copy.write("calc.py", "x = 2\r\n")
        copy.write("new/é.txt", "é\n")
        assert (copy.folder / "calc.py").read_bytes() == b"\xef\xbb\xbfx = 2\r\n"
        assert (copy.folder / "new/é.txt").read_bytes() == "é\n".encode()
        for name, why in (("data.bin", "binary"), ("calc.py/x", "can't be written"), ("b.py", "in utf-8")):
            with pytest.raises(sandbox.SandboxError, match=why):
                copy.write(name, "'\ud800'")


def test_a_folders_state_changes_with_what_is_copied_of_it_and_with_nothing_else(root: Path) -> None:
    states = [folder_state(root)]

    def changed() -> bool:
        states.append(folder_state(root))
        return states[-1] != states[-2]

    assert not changed()
    (root / "__pycache__").mkdir()
    (root / "__pycache__" / "calc.pyc").write_text("")
    assert not changed()
    (root / "calc.py").write_text("x = 1\n")
    assert changed()
    (root / "link").symlink_to("calc.py")
    assert changed()
    (root / "calc.py").chmod(0o755)
    assert changed()
    (root / "empty").mkdir()
    assert changed()
    assert len(set(states)) == 5
