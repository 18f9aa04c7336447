"""The newest request of a document wins, a cancelled one stops decoding, and nothing stale is shown."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest


async def test_the_newest_request_of_a_document_wins(scripted, home, workspace: Path) -> None:
    uri = scripted.open(workspace / "new.py", "alpha\nbeta\n")
    hold = home.script("hold new.py")
    _, older = scripted.begin_ghost(uri, 0, 5)
    await scripted.until_journal("begin new.py alpha")
    _, newer = scripted.begin_ghost(uri, 1, 4)
    assert await older == []
    await scripted.until_journal("closed new.py")
    await scripted.until_journal("begin new.py beta")
    assert not newer.done()
    hold.unlink()
    assert await newer == ["BETA"]
    assert await scripted.source() == "model"


async def test_an_older_request_answers_although_the_newer_one_asks_nothing(
    scripted, home, workspace: Path
) -> None:
    """A cursor within a word isn't completed on a keystroke, and yet the request for it is the newest."""
    uri = scripted.open(workspace / "new.py", "alpha\nbeta\n")
    home.script("hold new.py")
    _, older = scripted.begin_ghost(uri, 0, 5)
    await scripted.until_journal("begin new.py alpha")
    assert await scripted.ghost(uri, 1, 2, invoked=False) == []
    assert await older == []
    await scripted.until_journal("closed new.py")


async def test_requests_of_two_documents_do_not_disturb_each_other(scripted, home, workspace: Path) -> None:
    one = scripted.open(workspace / "one.py", "alpha")
    two = scripted.open(workspace / "two.py", "beta")
    hold = home.script("hold one.py")
    _, waiting = scripted.begin_ghost(one, 0, 5)
    await scripted.until_journal("begin one.py alpha")
    # The scheduler serves the newer one first; the older goes on where it was.
    assert await scripted.ghost(two, 0, 4) == ["BETA"]
    assert not waiting.done()
    hold.unlink()
    assert await waiting == ["ALPHA"]
    assert "closed one.py" not in home.journal()


async def test_cancel_answers_request_cancelled_and_stops_decoding(scripted, home, workspace: Path) -> None:
    uri = scripted.open(workspace / "new.py", "alpha")
    home.script("hold new.py")
    identifier, cancelled = scripted.begin_ghost(uri, 0, 5)
    await scripted.until_journal("begin new.py alpha")
    scripted.notify("$/cancelRequest", {"id": identifier})
    with pytest.raises(Exception, match="-32800") as refused:
        await cancelled
    assert "cancelled" in refused.value.message
    await scripted.until_journal("closed new.py")
    assert "answer new.py" not in home.journal()


async def test_cancel_of_a_request_that_is_over_or_never_was_changes_nothing(
    scripted, workspace: Path
) -> None:
    uri = scripted.open(workspace / "new.py", "alpha")
    identifier, future = scripted.begin_ghost(uri, 0, 5)
    await future
    for unknown in (identifier, 4711, "no such"):
        scripted.notify("$/cancelRequest", {"id": unknown})
    scripted.insert(uri, 0, 5, " beta")
    assert await scripted.ghost(uri, 0, 10) == ["ALPHA BETA"]


async def test_a_document_that_changed_meanwhile_gets_nothing(scripted, home, workspace: Path) -> None:
    uri = scripted.open(workspace / "new.py", "alpha\nbeta\n")
    hold = home.script("hold new.py")
    _, stale = scripted.begin_ghost(uri, 0, 5)
    await scripted.until_journal("begin new.py alpha")
    scripted.insert(uri, 0, 5, "something else")
    await scripted.status()  # the change has been taken in
    hold.unlink()
    assert await stale == []
    assert "changed while the model was answering" in await scripted.reason()


async def test_a_change_elsewhere_does_not_pass_for_typing(scripted, home, workspace: Path) -> None:
    uri = scripted.open(workspace / "new.py", "alpha\nbeta\n")
    hold = home.script("hold new.py")
    home.script("say", "(x)")
    _, stale = scripted.begin_ghost(uri, 0, 5)
    await scripted.until_journal("begin new.py alpha")
    scripted.insert(uri, 1, 4, "(")
    await scripted.status()
    hold.unlink()
    assert await stale == []


async def test_a_document_closed_meanwhile_gets_nothing(scripted, home, workspace: Path) -> None:
    uri = scripted.open(workspace / "new.py", "alpha")
    hold = home.script("hold new.py")
    _, stale = scripted.begin_ghost(uri, 0, 5)
    await scripted.until_journal("begin new.py alpha")
    scripted.close(uri)
    await scripted.status()
    hold.unlink()
    assert await stale == []


async def test_typing_in_agreement_keeps_the_answer_and_the_next_comes_without_the_model(
    scripted, home, workspace: Path
) -> None:
    uri = scripted.open(workspace / "new.py", "total = ")
    hold = home.script("hold new.py")
    home.script("say", "compute_total()")
    _, answer = scripted.begin_ghost(uri, 0, 8)
    await scripted.until_journal("begin new.py total =")
    scripted.insert(uri, 0, 8, "comp")
    await scripted.status()
    hold.unlink()
    assert await answer == ["compute_total()"]
    scripted.insert(uri, 0, 12, "ute")
    assert await scripted.ghost(uri, 0, 15, invoked=False) == ["_total()"]
    assert await scripted.source() == "cache"
    assert [line for line in home.journal() if line.startswith("begin")] == ["begin new.py total ="]


async def test_many_requests_in_one_breath_each_get_one_answer(scripted, workspace: Path) -> None:
    uri = scripted.open(workspace / "new.py", "alpha")
    futures = []
    for _ in range(50):
        scripted.insert(uri, 0, 5, "x")
        futures.append(scripted.begin_ghost(uri, 0, 6)[1])
    answers = await asyncio.wait_for(asyncio.gather(*futures), 60)
    assert len(answers) == 50
    assert answers[-1] == ["ALPHAX"]
