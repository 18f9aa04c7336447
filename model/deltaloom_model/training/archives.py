"""Reads the files of a package: from a wheel, a source archive or the running Python's standard library.

Invariant: nothing is executed or unpacked to disk; paths are relative, with forward slashes.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from pathlib import Path

STANDARD_LIBRARY = "python-stdlib"
_MAX_FILE = 4 << 20


class CorpusError(Exception):
    """The corpus can't be built; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Package:
    """A package at hand. `sha256` is its archive's, "" for the standard library."""

    name: str
    version: str
    metadata: Message
    sha256: str
    files: list[tuple[str, bytes]]


def find_archive(name: str, version: str, folder: Path) -> Path | None:
    """The archive of a pinned package in `folder`; wheels before source archives."""
    stem = name.lower().replace("-", "_").replace(".", "_")
    for path in sorted(folder.glob("*"), key=lambda p: (p.suffix != ".whl", p.name)):
        base = path.name[:-7] if path.name.endswith(".tar.gz") else path.stem
        parts = base.split("-")
        file_version = parts[1] if path.suffix == ".whl" and len(parts) > 1 else parts[-1]
        file_name = parts[0] if path.suffix == ".whl" else "-".join(parts[:-1])
        if file_name.lower().replace("-", "_").replace(".", "_") == stem and file_version == version:
            return path
    return None


def download(name: str, version: str, folder: Path) -> Path:
    """Have pip fetch one pinned package without its dependencies. Raises `CorpusError`."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--only-binary", ":all:"]
    done = subprocess.run(
        [*command, "-d", str(folder), f"{name}=={version}"], capture_output=True, check=False
    )
    archive = find_archive(name, version, folder)
    if done.returncode or archive is None:
        raise CorpusError(f"{name}=={version} can't be downloaded; correct it in the package list.")
    return archive


def read_archive(path: Path, name: str, version: str) -> Package:
    """A wheel or a .tar.gz source archive. Raises `CorpusError` when it holds no metadata."""
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    raw = sorted(_wheel_files(path) if path.suffix == ".whl" else _sdist_files(path))
    metadata: Message | None = None
    files = []
    for file_path, data in raw:
        if file_path.endswith(".dist-info/METADATA") or file_path == "PKG-INFO":
            metadata = BytesParser().parsebytes(data)
        elif ".dist-info/" not in file_path and ".data/" not in file_path and ".egg-info/" not in file_path:
            files.append((file_path, data))
    if metadata is None:
        raise CorpusError(f"{path.name} holds no package metadata; take the archive again.")
    return Package(name, version, metadata, sha256, _with_readme(files, metadata))


def read_standard_library() -> Package:
    """The running Python's own modules (PSF-2.0), without what is installed beside them."""
    root = Path(sysconfig.get_paths()["stdlib"])
    files = []
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root).as_posix()
        if not relative.startswith(("site-packages/", "dist-packages/")) and path.is_file():
            files.append((relative, path.read_bytes()))
    metadata = Message()
    metadata["License-Expression"] = "PSF-2.0"
    return Package(STANDARD_LIBRARY, sys.version.split()[0], metadata, "", files)


def _with_readme(files: list[tuple[str, bytes]], metadata: Message) -> list[tuple[str, bytes]]:
    """A wheel carries its README only as the metadata's description."""
    kind = str(metadata.get("Description-Content-Type", ""))
    body = metadata.get_payload(decode=True)
    if (
        "markdown" not in kind
        or not isinstance(body, bytes)
        or any(p.lower() == "readme.md" for p, _ in files)
    ):
        return files
    return [*files, ("README.md", body)]


def _wheel_files(path: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if not entry.is_dir() and entry.file_size <= _MAX_FILE:
                if entry.filename.endswith((".so", ".dll", ".dylib", ".pyd", ".a")):
                    continue
                yield entry.filename, archive.read(entry)


def _sdist_files(path: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path, "r:gz") as archive:
        for entry in archive:
            _, _, relative = entry.name.partition("/")
            if entry.isfile() and relative and entry.size <= _MAX_FILE:
                stream = archive.extractfile(entry)
                if stream is not None:
                    yield relative, stream.read()
