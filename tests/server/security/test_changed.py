"""Which lines are new: of any two texts, and in real repositories."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from difflib import SequenceMatcher
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltaloom_server.positions import split_lines
from deltaloom_server.security import changed
from deltaloom_server.security.changed import Revision, changed_lines, text_at
from deltaloom_server.security.source_text import read_source

_LINES = st.lists(st.sampled_from(["", "a", "b", "c", "  a", "é😀"]), max_size=12)
_TEXTS = st.builds(lambda lines, end: end.join(lines), _LINES, st.sampled_from(["\n", "\r\n", "\r"]))


def _without(text: str, ranges: tuple[tuple[int, int], ...]) -> list[str]:
    lines = [line.rstrip("\r\n") for line in split_lines(text)]
    gone = {number for first, last in ranges for number in range(first, last + 1)}
    return [line for number, line in enumerate(lines) if number not in gone]


def _is_subsequence(some: list[str], every: list[str]) -> bool:
    rest = iter(every)
    return all(line in rest for line in some)


@given(_TEXTS, _TEXTS)
def test_what_is_not_called_changed_stands_in_the_former_text_in_the_same_order(
    before: str, now: str
) -> None:
    ranges = changed_lines(before, now)
    assert _is_subsequence(_without(now, ranges), _without(before, ()))
    flat = [number for first, last in ranges for number in (first, last)]
    assert flat == sorted(flat)
    assert all(0 <= first <= last < len(split_lines(now)) for first, last in ranges)


@given(_TEXTS)
def test_a_text_has_no_new_lines_against_itself_whatever_ends_its_lines(text: str) -> None:
    assert changed_lines(text, text) == ()
    assert changed_lines(text, text.replace("\r\n", "\n").replace("\r", "\n")) == ()
    assert changed_lines(None, text) == ((0, len(split_lines(text)) - 1),)


@given(_LINES, st.lists(st.tuples(st.integers(0, 12), st.sampled_from(["NEW", "OTHER"])), max_size=4))
def test_exactly_the_lines_put_in_between_are_new(lines: list[str], added: list[tuple[int, str]]) -> None:
    now = list(lines)
    for at, word in added:
        now.insert(min(at, len(now)), word)
    ranges = changed_lines("\n".join(lines), "\n".join(now))
    assert _without("\n".join(now), ranges) == [line for line in now if line not in ("NEW", "OTHER")] or (
        not lines  # an empty text has one empty line
    )


def test_texts_too_long_to_compare_are_new_between_what_they_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changed, "_MOST_LINES", 10)
    before = "".join(f"{number}\n" for number in range(30))
    now = before.replace("9\n", "nine\n").replace("20\n", "twenty\n")
    assert changed_lines(before, now) == ((9, 29),)


# -- repositories --------------------------------------------------------------------------------------------

Git = Callable[..., str]


@pytest.fixture
def git(tmp_path: Path) -> Git:
    def run(*arguments: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "core.autocrlf=false"]
        done = subprocess.run(
            ["git", "-C", str(tmp_path), *who, *arguments], check=True, capture_output=True, text=True
        )
        return done.stdout

    run("init", "-q", "-b", "main")
    return run


def test_a_revision_tells_what_is_unchanged_without_reading_it(tmp_path: Path, git: Git) -> None:
    (tmp_path / "a.py").write_bytes(b"one\ntwo\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "b.py").write_text("é😀\n")
    git("add", ".")
    git("commit", "-q", "-m", "x")
    revision = Revision(os.fspath(tmp_path), "HEAD")
    assert revision.exists
    assert revision.is_unchanged("a.py", "one\ntwo\n")
    assert revision.is_unchanged("folder/b.py", "é😀\n")
    assert not revision.is_unchanged("a.py", "one\n")
    assert not revision.is_unchanged("c.py", "")
    assert revision.changed_lines("a.py", "one\nnew\ntwo\n") == ((1, 1),)
    assert revision.changed_lines("a.py", "one\r\ntwo\r\n") == ()
    assert revision.changed_lines("c.py", "all\nof it\n") == ((0, 2),)


def test_without_a_revision_nothing_is_told_and_everything_may_be_new(tmp_path: Path, git: Git) -> None:
    for root, name in ((tmp_path, "HEAD"), (tmp_path, "--output=x"), (tmp_path / "nowhere", "HEAD")):
        revision = Revision(os.fspath(root), name)
        assert not revision.exists
        assert revision.is_unchanged("a.py", "one\n")
        assert revision.changed_lines("a.py", "one\n") == ()
        assert text_at(os.fspath(root), "a.py", name) is None
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("latin.py", "# -*- coding: latin-1 -*-\nname = 'é'\nother = 'ü'\n".encode("latin-1")),
        ("bom.py", b"\xef\xbb\xbfname = 1\nother = 2\n"),
        ("bom.txt", b"\xef\xbb\xbfname = 1\nother = 2\n"),
        ("crlf.py", b"name = 1\r\nother = 2\r\n"),
    ],
)
def test_an_unchanged_file_has_no_new_lines_however_it_is_encoded(
    tmp_path: Path, git: Git, name: str, data: bytes
) -> None:
    (tmp_path / name).write_bytes(data)
    git("add", ".")
    git("commit", "-q", "-m", "x")
    source = read_source(os.fspath(tmp_path / name), 1 << 20)
    assert not isinstance(source, str)
    revision = Revision(os.fspath(tmp_path), "HEAD")
    assert revision.changed_lines(name, source.text) == ()
    assert revision.changed_lines(name, source.text + "more = 3\n") == ((data.count(b"\n"),) * 2,)


def test_repositories_of_the_newer_object_format_are_understood(tmp_path: Path) -> None:
    made = subprocess.run(["git", "init", "-q", "--object-format=sha256", str(tmp_path)], check=False)
    if made.returncode:
        pytest.skip("this git knows no sha256 repositories")
    (tmp_path / "a.py").write_text("one\n")
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "-C", str(tmp_path), "add", "."], check=True)
    subprocess.run(["git", "-C", str(tmp_path), *who, "commit", "-q", "-m", "x"], check=True)
    revision = Revision(os.fspath(tmp_path), "HEAD")
    assert revision.is_unchanged("a.py", "one\n")
    assert revision.changed_lines("a.py", "one\ntwo\n") == ((1, 1),)


@given(st.lists(st.sampled_from("abc"), max_size=30), st.lists(st.sampled_from("abc"), max_size=30))
def test_no_more_is_called_new_than_a_comparison_of_the_whole_texts_would(
    before: list[str], now: list[str]
) -> None:
    """What two texts share at their ends is taken off first; that must cost at most what lies between."""
    ranges = changed_lines("\n".join(before), "\n".join(now))
    matcher = SequenceMatcher(None, before or [""], now or [""], autojunk=False)
    head = next((at for at, (a, b) in enumerate(zip(before, now, strict=False)) if a != b), None)
    if head is None and len(before) == len(now):
        assert ranges == ()
    if ranges and not (now and matcher.ratio() == 0):
        assert head is None or ranges[0][0] >= head
