"""Build hook: a wheel knows which commit it was built from.

Invariant: the file `deltaloom_server/COMMIT` exists in wheels and sdists only, never in a checkout, where
git itself is asked; a build outside git (from an sdist) passes on the one it was given.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CommitHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds `COMMIT` (a short hash, `+changed` when files differ from it) to what is built."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        commit = self._commit()
        if not commit:
            return
        # hatchling reads the file after this returns, and has no hook for the end: it is left to the system.
        file = Path(tempfile.mkdtemp(prefix="deltaloom-build-")) / "COMMIT"
        file.write_text(commit + "\n", encoding="ascii")
        package = "server/deltaloom_server" if self.target_name == "sdist" else "deltaloom_server"
        build_data["force_include"][str(file)] = f"{package}/COMMIT"

    def _commit(self) -> str:
        root = Path(self.root)
        if (root / ".git").exists():
            command = ["git", "-C", str(root), "describe", "--always", "--dirty=+changed", "--abbrev=12"]
            try:
                return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
            except (OSError, subprocess.CalledProcessError):
                return ""
        given = root / "server" / "deltaloom_server" / "COMMIT"
        return given.read_text(encoding="ascii").strip() if given.is_file() else ""
