"""Changes on disk reach the context in the order in which they were noticed; the editor's text goes first."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from deltaloom_server import disk_watch
from deltaloom_server.context.scan import scan_workspace
from deltaloom_server.context.watch import RESCAN
from deltaloom_server.disk_watch import DiskWatch


@dataclass
class NotedSync:
    """Counts what a `WorkspaceSync` is told."""

    events: Any
    changes: int = 0
    layouts: list[float] = field(default_factory=list)

    def note_change(self) -> None:
        self.changes += 1
        self.events.note()

    def request_rescan(self, delay: float = 0.0) -> None:
        self.layouts.append(delay)
        self.events.note()


@dataclass
class Place:
    """A workspace, its session, and the watch under test."""

    root: Path
    server: Any
    watch: DiskWatch
    sync: NotedSync
    events: Any

    async def changed(self, *names: str) -> None:
        """These files are said to have changed, and what follows from it has been done."""
        self.watch.changed(frozenset(str(self.root / name) for name in names))
        await self.server.settle()

    def live(self, name: str) -> str | None:
        """The context's text of a file that isn't in its base."""
        text: str | None = self.server.session.context.live_text(name)
        return text


@pytest_asyncio.fixture
async def place(
    server: Any, events: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Place]:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    root = tmp_path / "shop"
    root.mkdir()
    server.session.configure(None, [str(root)])
    server.session.begin_context()
    sync = server.sync = NotedSync(events)
    watch = server.watch = DiskWatch(server)
    yield Place(root, server, watch, sync, events)
    watch.stop()
    await server.settle()


async def test_a_new_file_enters_the_context_and_is_synced(place: Place) -> None:
    (place.root / "a.py").write_text("a = 1\n")
    await place.changed("a.py")
    assert place.live("a.py") == "a = 1\n"
    assert place.sync.changes == 1


async def test_a_file_that_says_the_same_as_before_is_not_synced(place: Place) -> None:
    (place.root / "a.py").write_text("a = 1\n")
    await place.changed("a.py")
    await place.changed("a.py")
    assert place.sync.changes == 1


async def test_a_file_that_has_gone_leaves_a_tombstone(place: Place) -> None:
    for name in ("a.py", "b.py"):
        (place.root / name).write_text(f"{name}\n")
        await place.changed(name)
    (place.root / "a.py").unlink()
    await place.changed("a.py")
    last = place.server.session.context.segments()[-1]
    assert (last.path, last.tombstone) == ("a.py", True)
    (place.root / "b.py").unlink()
    await place.changed("b.py")
    assert place.server.session.context.segments() == (), "as it all began"
    assert place.sync.changes == 4


async def test_a_folder_that_has_gone_took_along_what_stood_below_it(place: Place) -> None:
    (place.root / "sub").mkdir()
    for name in ("sub/a.py", "sub/b.py"):
        (place.root / name).write_text(f"{name}\n")
    await place.changed("sub/a.py", "sub/b.py")
    (place.root / "c.py").write_text("c\n")
    await place.changed("c.py")
    (place.root / "sub").rename(place.root.parent / "elsewhere")
    await place.changed("sub")
    gone = {segment.path for segment in place.server.session.context.segments() if segment.tombstone}
    assert gone == {"sub/a.py", "sub/b.py"}


@pytest.mark.parametrize("name", ["../outside.py", ".env", "node_modules/a.js", "a.bin"])
async def test_what_may_not_stand_in_a_context_does_not_enter_it(place: Place, name: str) -> None:
    path = place.root / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x = 1\n\0" if name.endswith("bin") else b"x = 1\n")
    await place.changed(name)
    assert place.server.session.context.segments() == ()


async def test_an_open_document_keeps_the_editors_text(place: Place) -> None:
    path = place.root / "a.py"
    path.write_text("disk\n")
    place.server.session.open_document(path.as_uri(), "python", 1, "editor\n")
    await place.changed("a.py")
    assert place.live("a.py") == "editor\n"


async def test_a_file_opened_while_it_is_read_keeps_the_editors_text(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = place.root / "a.py"
    path.write_text("disk\n")
    reading = _held_up(monkeypatch, place.events)
    place.watch.changed(frozenset([str(path)]))
    await place.events.until(lambda: reading.begun == 1)
    place.server.session.open_document(path.as_uri(), "python", 1, "editor\n")
    reading.go_on.set()
    await place.server.settle()
    assert place.live("a.py") == "editor\n"


async def test_a_closed_document_has_the_disks_text(place: Place) -> None:
    path = place.root / "a.py"
    path.write_text("disk\n")
    session = place.server.session
    session.open_document(path.as_uri(), "python", 1, "editor\n")
    closed = session.close_document(path.as_uri())
    assert closed == "a.py"
    place.watch.document_closed(closed)
    await place.server.settle()
    assert place.live("a.py") == "disk\n"
    assert place.sync.changes == 1


async def test_a_document_opened_again_while_it_is_read_keeps_the_editors_text(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = place.root / "a.py"
    path.write_text("disk\n")
    session = place.server.session
    session.open_document(path.as_uri(), "python", 1, "editor\n")
    session.close_document(path.as_uri())
    reading = _held_up(monkeypatch, place.events)
    place.watch.document_closed("a.py")
    await place.events.until(lambda: reading.begun == 1)
    session.open_document(path.as_uri(), "python", 1, "again\n")
    reading.go_on.set()
    await place.server.settle()
    assert place.live("a.py") == "again\n"
    assert place.sync.changes == 0


@dataclass
class Reading:
    """Reads of the disk that have begun, and what the first waits for before it goes on."""

    begun: int = 0
    go_on: threading.Event = field(default_factory=threading.Event)


def _held_up(monkeypatch: pytest.MonkeyPatch, events: Any) -> Reading:
    """The next read has its text in hand, and gives it only when it may go on; later ones go on at once."""
    reading, read, loop = Reading(), disk_watch._read_contents, asyncio.get_running_loop()

    def slow(context: Any, paths: list[str]) -> Any:
        contents = read(context, paths)
        reading.begun += 1
        loop.call_soon_threadsafe(events.note)
        assert reading.begun > 1 or reading.go_on.wait(60)
        return contents

    monkeypatch.setattr(disk_watch, "_read_contents", slow)
    return reading


async def test_an_older_reading_never_comes_after_a_newer_one(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = place.root / "a.py"
    path.write_text("old\n")
    reading = _held_up(monkeypatch, place.events)
    place.watch.changed(frozenset([str(path)]))
    await place.events.until(lambda: reading.begun == 1)
    path.write_text("new\n")
    place.watch.changed(frozenset([str(path)]))
    await asyncio.sleep(0)
    # Had the second read been asked for already, it would be over when this is: threads take turns.
    await asyncio.get_running_loop().run_in_executor(place.server.executor, int)
    assert reading.begun == 1
    reading.go_on.set()
    await place.server.settle()
    assert place.live("a.py") == "new\n"


async def test_what_was_read_for_another_context_is_dropped(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = place.root / "a.py"
    path.write_text("a = 1\n")
    reading = _held_up(monkeypatch, place.events)
    place.watch.changed(frozenset([str(path)]))
    await place.events.until(lambda: reading.begun == 1)
    place.server.session.begin_context()
    reading.go_on.set()
    await place.server.settle()
    assert place.server.session.context.segments() == ()
    assert place.sync.changes == 0


async def test_a_file_that_becomes_secret_is_purged_though_it_is_open(place: Place) -> None:
    path = place.root / "a.py"
    path.write_text("a = 1\n")
    await place.changed("a.py")
    place.server.session.open_document(path.as_uri(), "python", 1, "a = 1\n")
    path.write_text("key = 'AKIA" + "ABCDEFGHIJKLMNOP'\n")
    await place.changed("a.py")
    assert place.server.session.context.segments() == ()


async def test_too_much_at_once_asks_for_a_new_layout(place: Place) -> None:
    place.watch.changed(RESCAN)
    assert place.sync.layouts == [disk_watch.RESCAN_DELAY_SECONDS]
    assert place.server.tasks == []


async def test_a_project_file_of_a_root_changes_the_settings(place: Place) -> None:
    (place.root / "sub").mkdir()
    for folder in (place.root / "sub", place.root):
        (folder / "deltaloom.toml").write_text("[completion]\nmax_new_tokens = 7\n")
        await place.changed(str(folder / "deltaloom.toml"))
        limit = place.server.session.settings.completion.max_new_tokens
        assert (limit == 7) is (folder == place.root)
    assert place.server.forgotten == 1


async def test_a_deleted_root_is_told_and_looked_at_again(place: Place) -> None:
    place.watch._root_gone(str(place.root))
    (told,) = place.server.told
    assert str(place.root) in told
    assert len(place.sync.layouts) == 1


async def test_without_a_workspace_nothing_happens(place: Place) -> None:
    place.server.session.change_roots([])
    await place.changed("a.py")
    place.watch.document_closed("a.py")
    assert (place.sync.changes, place.sync.layouts, place.server.tasks) == (0, [], [])


async def test_a_real_watcher_sees_a_file_that_is_written(place: Place) -> None:
    place.watch.start()
    await place.server.settle()
    (place.root / "a.py").write_text("a = 1\n")
    await place.events.until(lambda: place.sync.changes > 0)
    await place.server.settle()
    assert place.live("a.py") == "a = 1\n"


async def test_a_layout_and_a_change_agree_on_what_may_be_shown(place: Place) -> None:
    names = ["a.py", ".env", "b.bin", "sub/c.py", "package-lock.json", "id_rsa"]
    (place.root / "sub").mkdir()
    for name in names:
        (place.root / name).write_bytes(b"\0" if name.endswith("bin") else b"x = 1\n")
    context = place.server.session.context
    scanned = {file.path for file in scan_workspace(context.roots, context.settings).files}
    await place.changed(*names)
    shown = {segment.path for segment in context.segments()}
    assert shown == scanned == {"a.py", "sub/c.py"}
