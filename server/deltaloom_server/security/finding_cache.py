"""What scanners said of texts seen before, in the user's cache folder, for the next run.

Invariant: an entry is found only for the same text, kind of file, scanners and rules; what can't be read is
as if it weren't there. Holds findings (which quote no source beyond names in messages), never a text.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import platformdirs

from deltaloom_server.logs import get_logger
from deltaloom_server.security.analysis.messages import ScanResult
from deltaloom_server.security.finding import Inspection

_FORMAT = 2
_BATCH = 500
_MOST_ENTRIES = 200_000
_LOG = get_logger("findings")


class Remembered(msgspec.Struct, frozen=True):
    """What the scanners said of a text, and what became of it without looking for credentials."""

    result: ScanResult
    inspection: Inspection


def default_path() -> Path:
    """Where the cache stands."""
    return platformdirs.user_cache_path("deltaloom") / "findings" / f"{_FORMAT}.sqlite"


class FindingCache:
    """Blocking; several threads may share it, and several processes the file."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._decoder = msgspec.msgpack.Decoder(Remembered)
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.RLock()

    def find(self, keys: Sequence[bytes]) -> dict[bytes, Remembered]:
        """What is known under these keys."""
        found: dict[bytes, Remembered] = {}
        with self._opened() as connection:
            if connection is None:
                return {}
            for start in range(0, len(keys), _BATCH):
                batch = keys[start : start + _BATCH]
                marks = ",".join("?" * len(batch))
                # Only question marks are put together here; the keys are parameters.
                query = f"SELECT key, value FROM results WHERE key IN ({marks})"
                for key, value in connection.execute(query, batch):
                    with contextlib.suppress(msgspec.DecodeError, msgspec.ValidationError):
                        found[key] = self._decoder.decode(value)
        return found

    def keep(self, results: Mapping[bytes, Remembered]) -> None:
        """Remember these; the oldest leave when there are too many."""
        rows = [(key, msgspec.msgpack.encode(result)) for key, result in results.items()]
        with self._opened() as connection:
            if connection is None or not rows:
                return
            with connection:
                connection.executemany("INSERT OR REPLACE INTO results(key, value) VALUES (?, ?)", rows)
                connection.execute(
                    "DELETE FROM results WHERE rowid <= (SELECT MAX(rowid) FROM results) - ?",
                    (_MOST_ENTRIES,),
                )

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection | None]:
        """The connection, None where the file can't be used; what fails inside is as if nothing were kept."""
        with self._lock:
            try:
                connection = self._connect()
            except sqlite3.DatabaseError as error:
                self._give_up(error)
                connection = None
            try:
                yield connection
            except sqlite3.DatabaseError as error:
                self._give_up(error)

    def _give_up(self, error: sqlite3.DatabaseError) -> None:
        """Let go of the file; a damaged one is removed, so that the next one to need it begins anew."""
        _LOG.warning("the findings cache can't be used (%s)", type(error).__name__)
        self.close()
        if self._path is None or isinstance(error, sqlite3.OperationalError):
            return
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(OSError):
                os.unlink(f"{self._path}{suffix}")

    def _connect(self) -> sqlite3.Connection | None:
        if self._connection is not None or self._path is None:
            return self._connection
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600))
        except OSError:
            self._path = None
            return None
        connection = sqlite3.connect(self._path, timeout=2.0, check_same_thread=False)
        try:
            connection.execute("PRAGMA synchronous=OFF")  # losing an entry costs a scan, nothing else
            # Two processes may make it at once. Who begins to write at the start waits for the other; who
            # finds out later that it must (as a switch to a write-ahead log does) is refused at once.
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("CREATE TABLE IF NOT EXISTS results(key BLOB UNIQUE, value BLOB)")
            connection.commit()
        except sqlite3.DatabaseError:
            connection.close()
            raise
        self._connection = connection
        return connection
