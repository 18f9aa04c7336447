"""The repository's own tests, run on a copy with the fix in it, where the person has asked for that.

Invariant: nothing of a workspace is run unless the person's own settings both trust it and ask for its tests;
what is run is named by those settings, never by the workspace. Where no tests can be run, or they tell
nothing, that is a sentence and no error.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from deltaloom_server.context.roots import split_shown
from deltaloom_server.security import sandbox
from deltaloom_server.security.copying import folder_state

if TYPE_CHECKING:
    from deltaloom_server.language_server import DeltaloomServer

_PYTEST = (sys.executable, "-m", "pytest", "-q", "-x")


class OwnTests:
    """Runs them for one session."""

    def __init__(self, server: DeltaloomServer) -> None:
        self._server = server
        self._unchanged: dict[tuple[str, tuple[str, ...], int], tuple[bytes, sandbox.TestRun]] = {}
        """What they said without any fix, by folder, command and time limit, and of which state."""
        self._lock = asyncio.Lock()

    async def run_if_asked(self, path: str, text: str) -> tuple[bool, str]:
        """Do the tests pass with `text` in place of the file at `path`, and what they said.

        True and "" where they aren't asked for. Tests that fail without the fix as well refuse it all the
        same, since they can't vouch for it; what is said is then that they do.
        """
        session = self._server.session
        settings = session.settings.security
        if not settings.run_tests:
            return True, ""
        if not session.settings.workspace.trusted:
            return False, "the workspace isn't trusted, so its tests can't be run; turn workspace.trusted on"
        found = split_shown(path, session.roots)
        if found is None:
            return False, "the file lies in no workspace folder"
        if (why := await asyncio.to_thread(sandbox.available)) is not None:
            return False, why.rstrip(".")
        command = settings.test_command or _PYTEST
        root, relative = found
        try:
            run = await _run(root.real, {relative: text}, command, settings.test_seconds)
            if run.passed:
                return True, run.summary
            before = await self._without(root.real, command, settings.test_seconds)
        except (sandbox.SandboxError, OSError) as error:
            return False, str(error).rstrip(".")
        if before.passed:
            return False, f"the repository's tests fail with it ({run.summary})"
        return False, f"the repository's tests fail already without it: {before.summary}"

    async def _without(self, root: str, command: tuple[str, ...], seconds: int) -> sandbox.TestRun:
        """The tests on the folder as it is; run once for each state. Raises SandboxError, OSError."""
        key = (root, command, seconds)
        async with self._lock:
            state = await asyncio.to_thread(folder_state, Path(root))
            known = self._unchanged.get(key)
            if known is not None and known[0] == state:
                return known[1]
            run = await _run(root, {}, command, seconds)
            self._unchanged[key] = (state, run)
            return run


async def _run(
    root: str, changed: Mapping[str, str], command: tuple[str, ...], seconds: int
) -> sandbox.TestRun:
    return await sandbox.run_tests(Path(root), changed, command, seconds)
