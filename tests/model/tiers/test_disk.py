"""The disk tier: found again after a restart, refused when damaged, within its budget, purged."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deltaloom_model.checkpoint import PrefixHash
from deltaloom_model.tiers.block_file import BlockRef
from deltaloom_model.tiers.disk import DiskTier
from deltaloom_model.tiers.shelf import Salt
from deltaloom_model.token_sequence import TokenIds

SALT = Salt("w", b"w\0model")
PLENTY = 1 << 30
TEXT = np.arange(400, dtype=np.int32)


class Clock:
    """A time that goes on by a second whenever it is asked for, so that uses have an order."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


@pytest.fixture
def open_tier(tmp_path: Path) -> Callable[..., DiskTier]:
    clock = Clock()

    def make(budget: int = PLENTY) -> DiskTier:
        return DiskTier(tmp_path / "cache" / "state", budget, clock)

    return make


def prefix(salt: Salt = SALT) -> PrefixHash:
    return PrefixHash(salt.text)


def key_at(position: int, text: TokenIds = TEXT, salt: Salt = SALT) -> bytes:
    return next(prefix(salt).digests(text, 0, (position,)))[1]


def arrays(seed: int = 0, size: int = 64) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "keys": rng.standard_normal((2, 1, size, 4), dtype=np.float32),
        "hidden": rng.integers(-9, 9, 8).astype(np.int16),
    }


def keep(
    tier: DiskTier,
    *ends: int,
    text: TokenIds = TEXT,
    salt: Salt = SALT,
    states: Callable[[int], bool] = lambda end: True,
    paths: Callable[[int], set[str]] = lambda end: {f"file{end}.py"},
) -> None:
    """Blocks that end at these positions, each behind the one before it."""
    start = 0
    for end in ends:
        parent = key_at(start, text, salt) if start else b""
        ref = BlockRef(key_at(end, text, salt), parent, start, end, states(end))
        assert tier.write(salt, ref, arrays(end), paths(end))
        start = end
    assert tier.flush(10)


def found(
    tier: DiskTier, text: TokenIds = TEXT, salt: Salt = SALT, held: tuple[bytes, ...] = ()
) -> list[int]:
    return [ref.end for ref in tier.find(salt, prefix(salt), text, 0, lambda key: key in held)]


def files(tmp_path: Path) -> list[Path]:
    return sorted(path for path in (tmp_path / "cache").rglob("*") if path.is_file())


def test_blocks_are_found_by_a_later_process_and_read_bit_for_bit(open_tier: Callable[..., DiskTier]) -> None:
    keep(open_tier(), 100, 250, 400)
    tier = open_tier()
    assert found(tier) == [100, 250, 400]
    changed = TEXT.copy()
    changed[300] = 999
    assert found(tier, changed) == [100, 250], "never beyond where the texts differ"
    assert found(tier, TEXT[:99]) == []
    for ref in tier.find(SALT, prefix(), TEXT, 0, lambda key: False):
        read, expected = tier.read(SALT, ref), arrays(ref.end)
        assert read is not None
        assert set(read) == set(expected)
        assert all(np.array_equal(read[name], expected[name]) for name in expected)
        assert all(read[name].dtype == expected[name].dtype for name in expected)
    assert tier.info().hits == 3


def test_a_chain_ends_where_reading_can_go_on(open_tier: Callable[..., DiskTier]) -> None:
    tier = open_tier()
    keep(tier, 100, 250, 400, states=lambda end: end != 400)
    assert found(tier) == [100, 250], "from a block without a state, nothing can be read on"
    assert found(tier, held=(key_at(100),)) == [250], "what memory holds isn't read from disk"


def test_a_chain_with_a_gap_is_not_taken_up(open_tier: Callable[..., DiskTier], tmp_path: Path) -> None:
    keep(open_tier(), 100, 250, 400)
    next(path for path in files(tmp_path) if ".100.250." in path.name).unlink()
    assert found(open_tier()) == [100]


def test_another_salt_finds_nothing(open_tier: Callable[..., DiskTier]) -> None:
    tier = open_tier()
    keep(tier, 100)
    assert found(tier, salt=Salt("w", b"w\0other")) == []
    assert found(tier, salt=Salt("v", b"v\0model")) == []


def test_only_the_user_can_enter_and_nothing_names_a_path(
    open_tier: Callable[..., DiskTier], tmp_path: Path
) -> None:
    tier = open_tier()
    keep(tier, 100, paths=lambda end: {"secret_plans.py"})
    assert tier.write_ids(SALT, [("secret_plans.py", "d" * 32, TEXT)])
    assert tier.flush(10)
    written = files(tmp_path)
    assert len(written) == 2
    for path in written:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert b"secret_plans" not in path.read_bytes() + path.name.encode()


def cut_off(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


def header_of_gigabytes(path: Path) -> None:
    path.write_bytes(b"\xff" * 7 + b"\x7f" + path.read_bytes()[8:])


def pickled(path: Path) -> None:
    path.write_bytes(b"\x80\x04cposix\nsystem\n(S'false'\ntR.")


@pytest.mark.parametrize("damage", [cut_off, emptied, flipped, header_of_gigabytes, pickled])
def test_damaged_files_are_refused_with_a_reason_and_removed(
    open_tier: Callable[..., DiskTier], tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    keep(open_tier(), 100, 250)
    path = next(path for path in files(tmp_path) if ".100.250." in path.name)
    damage(path)
    tier = open_tier()
    chain = tier.find(SALT, prefix(), TEXT, 0, lambda key: False)
    assert tier.read(SALT, chain[0]) is not None
    assert tier.read(SALT, chain[1]) is None
    assert not path.exists()
    assert (tier.info().refused, bool(tier.info().refusal)) == (1, True)
    assert found(tier) == [100]
    keep(tier, 100, 250)
    assert found(open_tier()) == [100, 250], "it is made again"


def test_a_file_under_anothers_name_is_refused(open_tier: Callable[..., DiskTier], tmp_path: Path) -> None:
    """Bytes that are whole, but stand for other tokens, or come from another model."""
    other = TEXT + 1
    keep(open_tier(), 100)
    keep(open_tier(), 100, text=other)
    names = [path.name for path in files(tmp_path)]
    mine = next(path for path in files(tmp_path) if path.name.startswith(key_at(100).hex()))
    theirs = next(path for path in files(tmp_path) if path != mine)
    mine.write_bytes(theirs.read_bytes())
    tier = open_tier()
    [ref] = tier.find(SALT, prefix(), TEXT, 0, lambda key: False)
    assert tier.read(SALT, ref) is None
    assert "another key" in tier.info().refusal
    foreign = Salt("w", b"w\0foreign")
    keep(tier, 100, salt=foreign)
    folder = next(path.parent for path in files(tmp_path) if path.name not in names)
    target = tmp_path / "cache" / "state" / SALT.folder_name / mine.name
    target.write_bytes(next(folder.iterdir()).read_bytes())
    tier = open_tier()
    [ref] = tier.find(SALT, prefix(), TEXT, 0, lambda key: False)
    assert tier.read(SALT, ref) is None
    assert "another" in tier.info().refusal


def test_the_budget_holds_and_ends_of_chains_unused_for_long_go_first(
    open_tier: Callable[..., DiskTier], tmp_path: Path
) -> None:
    keep(open_tier(), 100, 200, 300)
    size = sum(path.stat().st_size for path in files(tmp_path)) // 3
    other = TEXT + 7
    tier = open_tier(5 * size + 100)
    keep(tier, 100, 200, text=other)
    for ref in tier.find(SALT, prefix(), TEXT, 0, lambda key: False):
        tier.read(SALT, ref)  # a use
    keep(tier, 100, text=TEXT + 9)
    assert found(tier) == [100, 200, 300]
    assert found(tier, other) == [100], "the end of the chain that wasn't used for longest"
    assert found(tier, TEXT + 9) == [100]
    held = sum(path.stat().st_size for path in files(tmp_path))
    assert held == tier.info().used_bytes <= 5 * size + 100
    assert open_tier(2 * size + 100).info().used_bytes <= 2 * size + 100, "a smaller budget is kept at once"


def test_purging_a_file_takes_all_that_read_it_and_all_behind_that(
    open_tier: Callable[..., DiskTier], tmp_path: Path
) -> None:
    tier = open_tier()
    keep(tier, 100, 200, 300, paths=lambda end: {"a.py"} if end == 200 else {"b.py"})
    keep(tier, 100, salt=Salt("w2", b"w2\0model"), paths=lambda end: {"a.py"})
    tier.write_ids(SALT, [("a.py", "d" * 32, TEXT), ("c.py", "c" * 32, TEXT)])
    tier.write_ids(SALT, [("b.py", "d" * 32, TEXT)])
    assert tier.flush(10)
    assert tier.purge("w", {"a.py"}) == 3
    assert found(tier) == found(open_tier()) == [100]
    assert found(tier, salt=Salt("w2", b"w2\0model")) == [100], "another workspace's"
    assert tier.token_ids(SALT, "a.py", "d" * 32) is None
    assert tier.token_ids(SALT, "b.py", "d" * 32) is not None
    assert len(files(tmp_path)) == 3


def test_tokens_of_texts_that_no_file_holds_any_more_come_back(open_tier: Callable[..., DiskTier]) -> None:
    tier = open_tier()
    assert tier.write_ids(SALT, [("z.py", "e" * 32, TEXT[:7]), ("a.py", "d" * 32, TEXT), ("b.py", "f", TEXT)])
    assert tier.flush(10)
    found_ids = open_tier().token_ids(SALT, "a.py", "d" * 32)
    assert found_ids is not None
    assert found_ids.dtype == np.int32
    assert np.array_equal(found_ids, TEXT)
    assert open_tier().token_ids(SALT, "a.py", "e" * 32) is None
    assert open_tier().token_ids(SALT, "b.py", "d" * 32) is None


def test_a_folder_that_cant_be_written_to_is_said_and_costs_nothing_else(
    open_tier: Callable[..., DiskTier], tmp_path: Path
) -> None:
    (tmp_path / "cache").mkdir(mode=0o700)
    (tmp_path / "cache" / "state").write_text("a file in the way")
    tier = open_tier()
    ref = BlockRef(key_at(100), b"", 0, 100, True)
    tier.write(SALT, ref, arrays(), set())
    assert tier.flush(10)
    assert found(tier) == []
    assert tier.info().refusal
    assert not tier.write(SALT, ref, arrays(), set())


def test_a_folder_that_others_can_enter_is_not_used(
    open_tier: Callable[..., DiskTier], tmp_path: Path
) -> None:
    keep(open_tier(), 100)
    (tmp_path / "cache" / "state").chmod(0o755)
    tier = open_tier()
    assert found(tier) == []
    assert "private" in tier.info().refusal


def test_what_a_killed_writer_left_behind_is_cleared_away_in_time(
    open_tier: Callable[..., DiskTier], tmp_path: Path
) -> None:
    keep(open_tier(), 100)
    folder = files(tmp_path)[0].parent
    old, fresh = folder / "tmp-old", folder / "tmp-new"
    old.write_bytes(b"half")
    fresh.write_bytes(b"half")
    os.utime(old, (1.0, 1.0))
    os.utime(fresh, (1_000_000.0, 1_000_000.0))
    assert found(open_tier()) == [100]
    assert not old.exists()
    assert fresh.exists(), "another worker may be writing it"
