"""What files a model folder is made of, by SHA-256, and one hash for the whole model.

Invariant: where `manifest.json` exists, no file of the model is used whose size and SHA-256 it doesn't state.
Torch-free, so that a server can compare its model with a worker's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from deltaloom_model.errors import ModelLoadError

MANIFEST_NAME = "manifest.json"
INDEX_NAME = "model.safetensors.index.json"
_MAX_MANIFEST_BYTES = 1 << 20
_FORMAT = 1


class FileEntry(msgspec.Struct, frozen=True):
    """One file: its size in bytes and the SHA-256 of its content in hex."""

    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """The content of `manifest.json`: the files that are loaded, by name."""

    files: dict[str, FileEntry]
    format: int = _FORMAT


def read_manifest(folder: Path) -> Manifest | None:
    """The folder's manifest, or None if it has none. Raises `ModelLoadError` if it is damaged."""
    path = folder / MANIFEST_NAME
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_MANIFEST_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ModelLoadError(f"{path} can't be read ({error.strerror}); check its permissions.") from error
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except msgspec.MsgspecError as error:
        raise ModelLoadError(f"{path} is damaged ({error}); take the model again.") from error
    if len(content) > _MAX_MANIFEST_BYTES or manifest.format != _FORMAT:
        raise ModelLoadError(f"{path} is of an unknown format; take a newer Deltaloom or the model again.")
    return manifest


def write_manifest(folder: Path, names: Iterable[str]) -> Manifest:
    """Hash the named files and write `manifest.json` beside them; equal files give equal bytes."""
    files = {name: FileEntry((folder / name).stat().st_size, sha256_of(folder / name)) for name in names}
    manifest = Manifest(dict(sorted(files.items())))
    encoded = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    (folder / MANIFEST_NAME).write_bytes(encoded + b"\n")
    return manifest


def verify_files(folder: Path, manifest: Manifest, names: Iterable[str]) -> None:
    """Raises `ModelLoadError` unless every named file is listed and is what the manifest says."""
    for name in names:
        path, entry = folder / name, manifest.files.get(name)
        if entry is None:
            raise ModelLoadError(f"{path} isn't listed in {MANIFEST_NAME}; take the model again.")
        try:
            size = path.stat().st_size
            same = size == entry.bytes and sha256_of(path) == entry.sha256
        except OSError as error:
            raise ModelLoadError(f"{path} can't be read ({error.strerror}); take the model again.") from error
        if not same:
            raise ModelLoadError(f"{path} differs from {MANIFEST_NAME}; take the model again.")


def model_hash(folder: Path) -> str:
    """One SHA-256, in hex, over config, tokenizer and weights. Reads no weights where there is a manifest.

    Config and tokenizer are hashed as they are now. Weights count by the manifest's SHA-256 (loading
    verifies it) or, in a folder without one, by name, size and modification time. Raises `ModelLoadError`
    when a file is missing.
    """
    manifest = read_manifest(folder)
    digest = hashlib.sha256()
    try:
        weights = sorted(path.name for path in folder.glob("*.safetensors"))
        if not weights:
            raise ModelLoadError(f"{folder} holds no model.safetensors; choose a model folder.")
        for name in ("config.json", "tokenizer.json"):
            digest.update(f"{name}\0{sha256_of(folder / name)}\n".encode())
        for name in weights:
            digest.update(f"{name}\0{_weight_key(folder / name, manifest)}\n".encode())
    except OSError as error:
        raise ModelLoadError(
            f"{error.filename} can't be read ({error.strerror}); take the model again."
        ) from error
    return digest.hexdigest()


def _weight_key(path: Path, manifest: Manifest | None) -> str:
    entry = manifest.files.get(path.name) if manifest is not None else None
    if entry is not None:
        return entry.sha256
    info = path.stat()
    return f"{info.st_size} {info.st_mtime_ns}"


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
