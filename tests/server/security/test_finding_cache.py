"""What is remembered of texts: found again for the same key, and never in the way."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from deltaloom_server.security import finding_cache
from deltaloom_server.security.analysis.messages import ScanResult
from deltaloom_server.security.finding import Finding, Inspection, Span
from deltaloom_server.security.finding_cache import FindingCache, Remembered


def remembered(name: str) -> Remembered:
    finding = Finding("S602", f"about {name}", "a.py", Span(0, 0, 0, 4), "high", "high", ("ruff",))
    return Remembered(ScanResult((finding,)), Inspection("a.py", name, (finding,), (), ("ruff",)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "findings.sqlite"


@pytest.fixture
def opened(path: Path) -> Iterator[Callable[[], FindingCache]]:
    made: list[FindingCache] = []

    def make() -> FindingCache:
        made.append(FindingCache(path))
        return made[-1]

    yield make
    for cache in made:
        cache.close()


def test_what_was_kept_is_found_by_the_next_process_too(opened: Callable[[], FindingCache]) -> None:
    first = opened()
    assert first.find([b"one"]) == {}
    first.keep({b"one": remembered("1"), b"two": remembered("2")})
    assert first.find([b"two", b"three"]) == {b"two": remembered("2")}
    first.close()
    assert opened().find([b"one"]) == {b"one": remembered("1")}
    assert first.find([b"one"]) == {b"one": remembered("1")}  # opened again when it is needed again


def test_more_keys_than_one_question_takes_are_all_found(opened: Callable[[], FindingCache]) -> None:
    keys = [number.to_bytes(16, "big") for number in range(2 * finding_cache._BATCH + 3)]
    cache = opened()
    cache.keep({key: remembered(key.hex()) for key in keys})
    found = cache.find(keys)
    assert {key: one.inspection.digest for key, one in found.items()} == {key: key.hex() for key in keys}


def test_the_file_is_the_users_alone(opened: Callable[[], FindingCache], path: Path) -> None:
    opened().keep({b"one": remembered("1")})
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_cache_without_a_place_remembers_nothing_and_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "link.sqlite").symlink_to(tmp_path / "elsewhere.sqlite")
    for path in (None, tmp_path / "file" / "findings.sqlite", tmp_path / "link.sqlite", tmp_path):
        cache = FindingCache(path)
        cache.keep({b"one": remembered("1")})
        assert cache.find([b"one"]) == {}
        cache.close()
    assert not (tmp_path / "elsewhere.sqlite").exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"this is no database" * 500,
        lambda data: data[:100] + b"\xff" * (len(data) - 100),
        lambda data: data[:2048],
        lambda data: b"",
    ],
    ids=["foreign", "overwritten", "cut", "empty"],
)
def test_a_damaged_file_is_no_error_and_is_made_anew(
    opened: Callable[[], FindingCache], path: Path, damage: Callable[[bytes], bytes]
) -> None:
    first = opened()
    first.keep({number.to_bytes(2, "big"): remembered(str(number)) for number in range(400)})
    first.close()
    path.write_bytes(damage(path.read_bytes()))
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    cache = opened()
    for _ in range(2):
        cache.find([b"\0\1"])
        cache.keep({b"new": remembered("new")})
    assert cache.find([b"new"]) == {b"new": remembered("new")}


def test_an_entry_that_can_not_be_read_is_as_if_it_were_not_there(
    opened: Callable[[], FindingCache], path: Path
) -> None:
    cache = opened()
    cache.keep({b"one": remembered("1"), b"two": remembered("2"), b"three": remembered("3")})
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE results SET value = ? WHERE key = ?", (b"\xc1", b"one"))
        other = msgspec.msgpack.encode({"result": 1})
        connection.execute("UPDATE results SET value = ? WHERE key = ?", (other, b"two"))
    connection.close()
    assert cache.find([b"one", b"two", b"three"]) == {b"three": remembered("3")}


def test_the_oldest_entries_leave(
    opened: Callable[[], FindingCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding_cache, "_MOST_ENTRIES", 10)
    cache = opened()
    for number in range(25):
        cache.keep({bytes([number]): remembered(str(number))})
    assert sorted(cache.find([bytes([number]) for number in range(25)])) == [
        bytes([number]) for number in range(15, 25)
    ]


def test_threads_may_share_it(opened: Callable[[], FindingCache]) -> None:
    cache = opened()

    def work(thread: int) -> bool:
        for number in range(40):
            key = bytes([thread, number])
            cache.keep({key: remembered(key.hex())})
            if cache.find([key]) != {key: remembered(key.hex())}:
                return False
        return True

    with ThreadPoolExecutor(max_workers=6) as executor:
        assert all(executor.map(work, range(6)))
    assert len(cache.find([bytes([t, n]) for t in range(6) for n in range(40)])) == 240


_WRITER = """
import sys
from pathlib import Path
from deltaloom_server.security.analysis.messages import ScanResult
from deltaloom_server.security.finding import Inspection
from deltaloom_server.security.finding_cache import FindingCache, Remembered
sys.stdin.readline()
cache = FindingCache(Path(sys.argv[1]))
for number in range(60):
    key = f"{sys.argv[2]} {number}".encode()
    cache.keep({key: Remembered(ScanResult(()), Inspection("a.py", key.decode()))})
    assert cache.find([key])[key].inspection.digest == key.decode()
cache.close()
"""


def test_two_processes_may_share_the_file(path: Path, opened: Callable[[], FindingCache]) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-P", "-c", _WRITER, os.fspath(path), name], stdin=subprocess.PIPE, text=True
        )
        for name in ("a", "b")
    ]
    for writer in writers:  # both at once
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate()
    assert [writer.returncode for writer in writers] == [0, 0]
    keys = [f"{name} {number}".encode() for name in ("a", "b") for number in range(60)]
    assert sorted(opened().find(keys)) == sorted(keys)
