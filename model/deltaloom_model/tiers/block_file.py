"""One cache file: the keys and values of some consecutive tokens, and the state after the last of them.

Invariant: what `read_block` returns is, bit for bit, what `write_block` was given for the same key and salt;
everything else (cut off, damaged, of another format or salt) is a `RefusedFile` with its reason.

The format is safetensors: names, shapes and bytes, nothing that could execute. Torch-free on purpose: files
are written on a thread of their own, and only the forward thread may use torch's thread pool.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

FORMAT = "deltaloom-state-1"
SUFFIX = ".safetensors"
_MOST_BYTES = 4 << 30

Arrays = Mapping[str, NDArray[Any]]


class RefusedFile(Exception):
    """A cache file that can't be used; its text is the reason, in a few words, without any path."""


@dataclass(frozen=True, slots=True)
class BlockRef:
    """A block by its file's name: tokens [start, end) of the line whose first `end` tokens hash to `key`.

    `parent` is the key at `start` (b"" at 0). Only with `has_state` can reading go on from its end.
    """

    key: bytes
    parent: bytes
    start: int
    end: int
    has_state: bool

    @property
    def name(self) -> str:
        kind = "s" if self.has_state else "k"
        return f"{self.key.hex()}.{self.parent.hex() or '0'}.{self.start}.{self.end}.{kind}{SUFFIX}"

    @classmethod
    def parse(cls, name: str) -> BlockRef | None:
        """The block of this file name; None for any other file."""
        parts = name.removesuffix(SUFFIX).split(".")
        if not name.endswith(SUFFIX) or len(parts) != 5 or parts[4] not in ("s", "k"):
            return None
        try:
            parent = b"" if parts[1] == "0" else bytes.fromhex(parts[1])
            ref = cls(bytes.fromhex(parts[0]), parent, int(parts[2]), int(parts[3]), parts[4] == "s")
        except ValueError:
            return None
        return ref if 0 <= ref.start < ref.end and ref.name == name else None


def write_file(path: Path, arrays: Arrays, facts: Mapping[str, Any]) -> int:
    """Write arrays and facts as one file, mode 0600, in one step; returns its size. Raises OSError."""
    # safetensors writes the memory behind an array, whatever its strides.
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    facts = {"format": FORMAT, **facts}
    metadata = {"facts": json.dumps(facts, sort_keys=True)}
    metadata["digest"] = _digest(arrays, metadata["facts"])
    data = save(arrays, metadata=metadata)
    temporary = path.with_name(f"tmp-{secrets.token_hex(8)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(data)
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    return len(data)


def read_file(path: Path, expected: Mapping[str, Any]) -> Arrays:
    """The arrays of a file whose facts include `expected`. Raises RefusedFile; FileNotFoundError if gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0))
        with open(descriptor, "rb") as file:
            info = os.fstat(file.fileno())
            if info.st_uid != os.getuid():
                raise RefusedFile("another user's file")
            if info.st_size > _MOST_BYTES:
                raise RefusedFile("too large")
            data = file.read()
        metadata = read_metadata(path)
        arrays = load(data)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise RefusedFile(f"unreadable ({error.strerror})") from None
    except (SafetensorError, ValueError, KeyError, TypeError):
        raise RefusedFile("cut off or damaged") from None
    facts_text = metadata.get("facts", "")
    if metadata.get("digest") != _digest(arrays, facts_text):
        raise RefusedFile("its content doesn't have its digest")
    facts = json.loads(facts_text)
    if facts.get("format") != FORMAT:
        raise RefusedFile("of another format")
    for name, value in expected.items():
        if facts.get(name) != value:
            raise RefusedFile(f"made for another {name}")
    return arrays


def read_metadata(path: Path) -> dict[str, str]:
    """What stands in the file's header. Raises OSError, SafetensorError."""
    with safe_open(str(path), framework="np") as file:
        return file.metadata() or {}


def read_facts(path: Path) -> dict[str, Any]:
    """The facts in the header, unverified; {} where there are none to be had."""
    try:
        facts = json.loads(read_metadata(path).get("facts", "{}"))
    except (OSError, SafetensorError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _digest(arrays: Arrays, facts: str) -> str:
    digest = blake2b(facts.encode(), digest_size=32)
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.data)
    return digest.hexdigest()
