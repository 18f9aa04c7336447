"""Version, commit and model hash, as `deltaloom --version` and bug reports show them.

Invariant: nothing here imports torch, and a missing git or model shortens the line instead of failing.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from deltaloom_model._version import __version__

_PACKAGE = Path(__file__).resolve().parent.parent


def version_line() -> str:
    """For example `deltaloom 0.1.0 (commit 1a2b3c4d5e6f, nano 0f1e2d3c4b5a)`."""
    parts = []
    if commit := commit_name():
        parts.append(f"commit {commit}")
    if model := embedded_model_hash():
        parts.append(f"nano {model[:12]}")
    return f"deltaloom {__version__}" + (f" ({', '.join(parts)})" if parts else "")


def commit_name() -> str:
    """The commit this code is of: baked in when built, asked of git in a checkout, "" when unknown."""
    baked = _PACKAGE / "COMMIT"
    if baked.is_file():
        return baked.read_text(encoding="ascii", errors="replace").strip()
    checkout = _PACKAGE.parent.parent
    if not (checkout / ".git").exists() or not (checkout / "pyproject.toml").is_file():
        return ""
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty=+changed", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def embedded_model_hash() -> str:
    """SHA-256 over the embedded model's config, tokenizer and weights, in hex; "" when there is none."""
    from deltaloom_model.errors import ModelLoadError
    from deltaloom_model.loading.manifest import model_hash

    try:
        return model_hash(_embedded_model_folder())
    except ModelLoadError:
        return ""


def _embedded_model_folder() -> Path:
    from deltaloom_model.api import ModelSpec
    from deltaloom_model.runtime_folder import model_folder

    return model_folder(ModelSpec())
