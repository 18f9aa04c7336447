"""`deltaloom clean` removes its own files, after saying what they are, and nothing else."""

from __future__ import annotations

from pathlib import Path


def _cache(home) -> Path:
    folder = home.root / "cache" / "deltaloom"
    (folder / "states").mkdir(parents=True)
    (folder / "states" / "one.bin").write_bytes(b"x" * 4096)
    (folder / "run").mkdir()
    (folder / "run" / "w-0.sock").write_text("")
    return folder


def test_it_lists_sizes_before_it_asks_and_keeps_all_on_no_answer(home) -> None:
    folder = _cache(home)
    done = home.run("clean", "--cache")
    assert done.returncode == 2
    assert "4.0 KiB" in done.stdout
    assert "--yes" in done.stderr
    assert (folder / "states" / "one.bin").exists()


def test_it_removes_what_it_listed_and_leaves_sockets_alone(home) -> None:
    folder = _cache(home)
    done = home.run("clean", "--cache", "--yes")
    assert done.returncode == 0, done.stderr
    assert not (folder / "states").exists()
    assert (folder / "run" / "w-0.sock").exists()


def test_a_link_is_removed_and_not_followed(home) -> None:
    outside = home.root / "home" / "precious"
    outside.mkdir()
    (outside / "file").write_text("keep")
    folder = _cache(home)
    (folder / "link").symlink_to(outside)
    (folder / "states" / "link").symlink_to(outside)
    assert home.run("clean", "--cache", "--yes").returncode == 0
    assert not (folder / "link").is_symlink()
    assert (outside / "file").read_text() == "keep"


def test_a_kept_folder_that_is_a_link_is_refused(home) -> None:
    outside = home.root / "home" / "precious"
    outside.mkdir()
    (outside / "file").write_text("keep")
    (home.root / "cache" / "deltaloom").symlink_to(outside)
    done = home.run("clean", "--cache", "--yes")
    assert done.returncode == 2
    assert "symbolic link" in done.stderr
    assert (outside / "file").exists()


def test_only_what_is_named_goes(home) -> None:
    folder = _cache(home)
    logs = home.root / "state" / "deltaloom" / "log"
    logs.mkdir(parents=True)
    (logs / "server.log").write_text("line\n")
    assert home.run("clean", "--logs", "--yes").returncode == 0
    assert not (logs / "server.log").exists()
    assert (folder / "states").exists()


def test_nothing_to_remove_is_said(home) -> None:
    done = home.run("clean", "--models", "--yes")
    assert done.returncode == 0
    assert "Nothing to remove" in done.stdout


def test_it_asks_what_to_remove(home) -> None:
    done = home.run("clean")
    assert done.returncode == 2
    assert "--cache" in done.stderr
