"""Run a case's two tests on one version of its program.

Invariant: a test file counts as passed only where at least one test of it ran and none failed, was skipped or
could not be imported; an exit status alone says nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from deltaloom_server.evaluate import outcomes_plugin
from deltaloom_server.evaluate.case import EXPLOIT_TEST, FUNCTION_TEST, STUBS, Case
from deltaloom_server.security.sandbox import Limits, Sandbox

Ended = Literal["passed", "failed", "errored"]

_LIMITS = Limits(seconds=60.0, memory_bytes=2 << 30, processes=64, file_bytes=32 << 20)


class Verdicts(msgspec.Struct, frozen=True):
    """How the two files ended. `errored`: not one test of it could do its work. `why` tells of the first test
    that didn't pass."""

    function: Ended
    exploit: Ended
    why: str = ""

    @property
    def correct(self) -> bool:
        """Does the program do what it did, and no longer what it shouldn't?"""
        return self.function == "passed" and self.exploit == "passed"


_Line = tuple[str, str, str, str]
"""Node, phase, outcome, text."""


async def try_version(case: Case, changed: Mapping[str, str]) -> Verdicts:
    """Run both tests in a sandbox, with these files in place of the case's own. Raises SandboxError."""
    async with Sandbox(case.folder, _LIMITS) as sandbox:
        for path, text in {**case.shared_stubs(), **changed}.items():
            sandbox.write(path, text)
        # Last, so that no fix can bring tests of its own.
        for name in (FUNCTION_TEST, EXPLOIT_TEST):
            sandbox.write(name, (case.folder / name).read_text(encoding="utf-8"))
        plugin = "deltaloom_outcomes"
        sandbox.write(f"{plugin}.py", Path(outcomes_plugin.__file__).read_text(encoding="utf-8"))
        notes = sandbox.folder.parent / "outcomes"
        command = (
            sys.executable, "-m", "pytest", "-q", "-p", plugin, "-p", "no:cacheprovider", "--rootdir=.",
            "--continue-on-collection-errors",
            FUNCTION_TEST, EXPLOIT_TEST,
        )  # fmt: skip
        environment = {
            "PYTHONPATH": f"{sandbox.folder}:{sandbox.folder / STUBS}",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "DELTALOOM_OUTCOMES": str(notes),
        }
        done = await sandbox.run(command, environment)
        lines = _read(notes)
    if done.timed_out:
        return Verdicts("errored", "errored", f"not finished after {_LIMITS.seconds:g} s")
    function, exploit = (_ended(lines, name) for name in (FUNCTION_TEST, EXPLOIT_TEST))
    if not lines:
        return Verdicts(function, exploit, done.output.strip()[-600:] or f"status {done.status}, no test ran")
    return Verdicts(function, exploit, _first_failure(lines))


def _read(notes: Path) -> list[_Line]:
    try:
        return [msgspec.json.decode(line, type=_Line) for line in notes.read_bytes().splitlines()]
    except (OSError, msgspec.MsgspecError):
        return []


def _ended(lines: list[_Line], name: str) -> Ended:
    own = [line for line in lines if line[0].partition("::")[0] == name]
    calls = [outcome for _, phase, outcome, _ in own if phase == "call"]
    if any(outcome != "passed" for _, phase, outcome, _ in own if phase != "call") or "skipped" in calls:
        return "errored"
    if not calls:
        return "errored"
    return "failed" if "failed" in calls else "passed"


def _first_failure(lines: list[_Line]) -> str:
    for node, _, outcome, text in lines:
        if outcome != "passed":
            last = next((line for line in reversed(text.splitlines()) if line.strip()), "")
            return f"{node}: {last.strip()}"[:300]
    return ""
