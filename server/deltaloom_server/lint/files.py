"""Writing what a run makes: reports and baselines.

Invariant: a file is replaced as a whole or stays as it was.
"""

from __future__ import annotations

import os
import tempfile

from deltaloom_server.errors import WorkspaceError


def write_file(path: str, text: str) -> None:
    """Replace a file as a whole, or leave it as it was. Raises `WorkspaceError`."""
    target = os.path.realpath(path)
    data = text.encode("utf-8", "surrogateescape")
    try:
        # A device or a pipe (/dev/stdout) is written to, not replaced.
        if os.path.exists(path) and not os.path.isfile(path):
            with open(path, "wb") as file:
                file.write(data)
            return
        mode = os.stat(target).st_mode & 0o777 if os.path.exists(target) else 0o666 & ~_umask()
        _replace(target, data, mode)
    except OSError as error:
        raise WorkspaceError(f"{path} can't be written ({error.strerror}); name another file.") from None


def write_bytes(path: str, data: bytes) -> None:
    """Replace a regular file as a whole, its mode kept, or leave it as it was. Raises `WorkspaceError`."""
    try:
        _replace(path, data, os.stat(path).st_mode & 0o7777)
    except OSError as error:
        raise WorkspaceError(f"{path} can't be written ({error.strerror}); its fix is lost.") from None


def _replace(path: str, data: bytes, mode: int) -> None:
    handle, name = tempfile.mkstemp(prefix=".deltaloom-", dir=os.path.dirname(path))
    try:
        with open(handle, "wb") as file:
            file.write(data)
        os.chmod(name, mode)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
