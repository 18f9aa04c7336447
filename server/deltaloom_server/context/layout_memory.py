"""What a context was laid out as, kept in the user's cache folder, so that the next session stands the same.

Invariant: what is loaded was written for the same workspace and in this format, whole; everything else is
removed and counts as nothing. Holds paths, digests, outlines and lists of names, never a file's text.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from hashlib import blake2b
from pathlib import Path

import msgspec
import platformdirs

from deltaloom_model.api import Segment, text_digest

from ..logs import get_logger
from .layout import BaseFile, Form
from .log import LogEntry

FORMAT = 1
_MOST_BYTES = 64 << 20

_LOG = get_logger("layout")


class RememberedFile(msgspec.Struct, frozen=True, array_like=True):
    """One `BaseFile`."""

    path: str
    absolute: str
    digest: str
    tokens: int
    form: Form
    source: str
    text: str
    weight: float

    @classmethod
    def of(cls, file: BaseFile) -> RememberedFile:
        return cls(
            file.path, file.absolute, file.digest, file.tokens, file.form, file.source, file.text, file.weight
        )

    def base_file(self) -> BaseFile:
        return BaseFile(
            self.path, self.absolute, self.digest, self.tokens, self.form, self.source, self.text, self.weight
        )


class RememberedEntry(msgspec.Struct, frozen=True, array_like=True):
    """One log entry, without its text."""

    path: str
    digest: str
    tombstone: bool
    tokens: int

    @classmethod
    def of(cls, entry: LogEntry, tokens: int) -> RememberedEntry:
        segment = entry.segment
        return cls(segment.path, segment.digest, segment.tombstone, tokens)

    def log_entry(self, number: int, live: str | None) -> LogEntry:
        """The entry again, with its text where the file still holds it."""
        segment = Segment(self.path, self.digest, "log", tombstone=self.tombstone)
        held = live is not None and text_digest(live) == self.digest
        return LogEntry(segment, live if held and live else "", number, is_lost=not (held or self.tombstone))


class LayoutMemory(msgspec.Struct, frozen=True):
    """A whole layout. `kept`: entries that outlived a compaction. `passed_over`: files that found no room.
    Tokens are those of the model with the hash `model`."""

    workspace: str
    budget: int
    model: str
    files: list[RememberedFile]
    entries: list[RememberedEntry] = []
    kept: int = 0
    passed_over: frozenset[str] = frozenset()
    forms: dict[str, Form] = {}
    purges: list[str] = []
    format: int = FORMAT

    def paths(self) -> set[str]:
        """Every path that it shows."""
        shown = {file.path for file in self.files if file.form != "names"}
        return shown.union(entry.path for entry in self.entries)


def memory_file(workspace: str) -> Path:
    """Where a workspace's layout is kept."""
    name = blake2b(workspace.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return platformdirs.user_cache_path("deltaloom") / "layouts" / f"{name}.json"


def load_memory(workspace: str) -> LayoutMemory | None:
    """The layout that was kept for this workspace, or None. Never raises; what can't be used is removed."""
    path = memory_file(workspace)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0))
        with open(descriptor, "rb") as file:
            if os.fstat(descriptor).st_uid != os.getuid():
                return None
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise ValueError("too large")
        memory = msgspec.json.decode(data, type=LayoutMemory)
        if memory.format != FORMAT or memory.workspace != workspace:
            raise ValueError("of another format or workspace")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, msgspec.DecodeError) as error:
        _LOG.warning("A remembered layout can't be used (%s) and is made anew.", type(error).__name__)
        with contextlib.suppress(OSError):
            path.unlink()
        return None
    return memory


def save_memory(memory: LayoutMemory) -> None:
    """Keep a layout, in one step. Never raises: without it, the next session reads more, nothing else."""
    path = memory_file(memory.workspace)
    temporary = path.with_name(f"tmp-{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        data = msgspec.json.encode(memory)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(data)
        temporary.replace(path)
    except (OSError, UnicodeError) as error:
        _LOG.warning("The layout can't be remembered (%s).", type(error).__name__)
        with contextlib.suppress(OSError):
            temporary.unlink()
