"""The repository's own tests, run on a copy with the fix in it, where the person has asked for that.

Invariant: nothing of a workspace is run unless the person's own settings both trust it and ask for its tests;
what is run is named by those settings, never by the workspace.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from deltaloom_server.context.roots import split_shown
from deltaloom_server.security import sandbox

if TYPE_CHECKING:
    from deltaloom_server.language_server import DeltaloomServer

_PYTEST = (sys.executable, "-m", "pytest", "-q", "-x")


class OwnTests:
    """Runs them for one session."""

    def __init__(self, server: DeltaloomServer) -> None:
        self._server = server

    async def run_if_asked(self, path: str, text: str) -> tuple[bool, str]:
        """Do the tests pass with `text` in place of the file at `path`, and what they said.

        True and "" where they aren't asked for.
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
        if (why := sandbox.available()) is not None:
            return False, why.rstrip(".")
        command = settings.test_command or _PYTEST
        root, relative = found
        run = await sandbox.run_tests(Path(root.real), {relative: text}, command, settings.test_seconds)
        return run.passed, run.summary
