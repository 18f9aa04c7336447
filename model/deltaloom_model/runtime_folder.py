"""Where workers and servers meet: a folder only this user can enter, with one socket per kind of worker.

Invariant: nothing is read from or listened on in a folder that another user owns or can enter, and two
workers that differ in version, protocol, model or spec never share a name.
"""

from __future__ import annotations

import os
import secrets
import socket
import stat
import struct
import sys
import tempfile
import warnings
from hashlib import blake2b
from pathlib import Path

import msgspec
import platformdirs

from deltaloom_model._version import __version__
from deltaloom_model.api import PROTOCOL_VERSION, ModelSpec
from deltaloom_model.errors import UnsupportedPlatform, WorkerUnavailable

APP_NAME = "deltaloom"
_SOCKET_PATH_BYTES = 100
"""`sun_path` holds 104 bytes on macOS and 108 on Linux, the closing zero included."""
_HASHED_WHOLE_BYTES = 4 << 20
"""Configs, tokenizers and manifests are smaller; a weights file is known by its name, size and time."""


def require_unix_sockets() -> None:
    """Raises UnsupportedPlatform where there are no Unix sockets with owners (Windows)."""
    if os.name != "posix" or not hasattr(socket, "AF_UNIX"):
        raise UnsupportedPlatform("Deltaloom needs Unix sockets; on Windows, run it inside WSL.")


def model_folder(spec: ModelSpec) -> Path:
    """The absolute folder that `spec.path` means ("nano" is the embedded model's)."""
    if spec.path == "nano":
        return Path(__file__).resolve().parent / "nano"
    return Path(spec.path).expanduser().resolve()


def absolute_spec(spec: ModelSpec) -> ModelSpec:
    """The spec with its model's folder made absolute, so that it means the same in another working folder."""
    return spec if spec.path == "nano" else msgspec.structs.replace(spec, path=str(model_folder(spec)))


def model_identity(spec: ModelSpec) -> str:
    """A digest that changes when the model's files do, without reading weights or importing torch.

    BLAKE2b-128 in hex over every file of the model's folder, by name: small ones whole, large ones by size
    and modification time. A missing folder has an identity too; loading it is what fails.
    """
    folder = model_folder(spec)
    digest = blake2b(os.fsencode(folder), digest_size=16)
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file())
    except OSError:
        return digest.hexdigest()
    for path in files:
        if path.suffix in {".py", ".pyc"}:
            continue
        digest.update(b"\0" + os.fsencode(path.name) + b"\0")
        try:
            info = path.stat()
            if info.st_size <= _HASHED_WHOLE_BYTES and path.suffix != ".safetensors":
                digest.update(path.read_bytes())
            else:
                digest.update(f"{info.st_size} {info.st_mtime_ns}".encode())
        except OSError:
            digest.update(b"unreadable")
    return digest.hexdigest()


def worker_identity(spec: ModelSpec, engine: str | None = None) -> str:
    """What both ends of a connection must agree on: version, protocol, spec, model files, engine factory."""
    parts = [__version__, PROTOCOL_VERSION, msgspec.to_builtins(spec), model_identity(spec), engine or ""]
    return blake2b(msgspec.json.encode(parts), digest_size=16).hexdigest()


def runtime_folder(requested: Path | None = None) -> Path:
    """The folder for sockets, created with mode 0700: `requested`, or the user's runtime folder.

    Falls back to the user's cache folder where there is no runtime folder, and to a short folder of the
    user's own below the temporary one where a socket's path would be too long. Raises WorkerUnavailable when
    the folder belongs to someone else or can't be made.
    """
    if requested is not None:
        return private_folder(_shortened(requested.expanduser().absolute()))
    with warnings.catch_warnings():  # platformdirs warns that there is no XDG_RUNTIME_DIR; the cache will do
        warnings.simplefilter("ignore")
        standard = platformdirs.user_runtime_path(APP_NAME)
    if _is_own_folder(standard.parent):
        try:
            return private_folder(_shortened(standard))
        except WorkerUnavailable:
            pass
    return private_folder(_shortened(platformdirs.user_cache_path(APP_NAME) / "run"))


def private_folder(folder: Path) -> Path:
    """`folder`, made with mode 0700 if need be. Raises WorkerUnavailable unless it is this user's alone."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.mkdir(mode=0o700, exist_ok=True)
        info = folder.lstat()
        if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid():
            raise WorkerUnavailable(f"{folder} isn't a folder of yours; remove it, or set XDG_RUNTIME_DIR.")
        if stat.S_IMODE(info.st_mode) & 0o077:  # not ours to change: it may be a folder that others use
            raise WorkerUnavailable(f"Others can enter {folder}; run `chmod 700` on it.")
    except OSError as error:
        raise WorkerUnavailable(f"The folder {folder} can't be used ({error.strerror}).") from None
    return folder


def socket_path(folder: Path, identity: str) -> Path:
    """The socket of the worker with this identity."""
    return folder / f"w-{identity[:16]}.sock"


def socket_paths(folder: Path) -> list[Path]:
    """Every worker's socket in the folder, live or stale."""
    return sorted(folder.glob("w-*.sock"))


def token_path(socket_file: Path) -> Path:
    """The file beside a socket that holds the token its clients must show."""
    return socket_file.with_suffix(".token")


def lock_path(socket_file: Path) -> Path:
    """The file whose lock the worker of that socket holds as long as it lives; it is never removed."""
    return socket_file.with_suffix(".lock")


def log_folder() -> Path:
    """The user's log folder, created with mode 0700."""
    folder = platformdirs.user_log_path(APP_NAME)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def log_path(socket_file: Path) -> Path:
    """The log of the worker at that socket."""
    return log_folder() / f"worker-{socket_file.stem}.log"


def write_token(socket_file: Path) -> str:
    """Make a new token for the worker at that socket: 64 hex digits in a file of mode 0600."""
    token = secrets.token_hex(32)
    fresh = socket_file.with_suffix(f".token-{os.getpid()}")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(token)
    fresh.replace(token_path(socket_file))
    return token


def read_token(socket_file: Path) -> str:
    """The token of the worker at that socket.

    Raises FileNotFoundError when there is none (the worker is leaving), WorkerUnavailable unless only this
    user can read it.
    """
    path = token_path(socket_file)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise WorkerUnavailable(f"The worker's token {path} can't be read ({error.strerror}).") from None
    with os.fdopen(descriptor) as file:
        info = os.fstat(file.fileno())
        if info.st_uid != os.getuid() or stat.S_IMODE(info.st_mode) & 0o077:
            raise WorkerUnavailable(f"The worker's token {path} isn't private to you; delete it.")
        return file.read(256)


def peer_uid(connection: socket.socket) -> int | None:
    """The user at the other end of a Unix socket, or None where the system doesn't say."""
    if sys.platform == "linux":
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", credentials)[1])
    if sys.platform == "darwin":  # struct xucred of sys/ucred.h, read with LOCAL_PEERCRED at level 0
        return int(struct.unpack("Ii", connection.getsockopt(0, 1, 8))[1])
    return None


def is_own_peer(connection: socket.socket) -> bool:
    """Whether the other end runs as this user (or the system can't tell, and the folder's mode must do)."""
    return peer_uid(connection) in (None, os.getuid())


def _shortened(folder: Path) -> Path:
    if len(os.fsencode(socket_path(folder, "0" * 16))) <= _SOCKET_PATH_BYTES:
        return folder
    name = blake2b(os.fsencode(folder), digest_size=8).hexdigest()
    own = private_folder(Path(tempfile.gettempdir()) / f"{APP_NAME}-{os.getuid()}")
    return own / name


def _is_own_folder(folder: Path) -> bool:
    try:
        info = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(info.st_mode) and info.st_uid == os.getuid() and not info.st_mode & 0o022
