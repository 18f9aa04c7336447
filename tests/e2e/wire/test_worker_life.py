"""The model worker may die, be shared, or never get its model: the editor's session goes on."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

import deltaloom_model

NANO = Path(deltaloom_model.__file__).parent / "nano"


async def test_a_worker_killed_mid_answer_costs_that_answer_only(scripted, home, workspace: Path) -> None:
    uri = scripted.open(workspace / "new.py", "alpha")
    hold = home.script("hold new.py")
    _, answer = scripted.begin_ghost(uri, 0, 5)
    await scripted.until_journal("begin new.py alpha")
    (worker,) = home.processes()
    synced = home.journal().count("sync report.py shapes.py")
    worker.send_signal(signal.SIGKILL)
    assert await answer == []
    assert "SIGKILL" in await scripted.reason()
    hold.unlink()
    scripted.insert(uri, 0, 5, " beta")
    assert await scripted.ghost(uri, 0, 10) == ["ALPHA BETA"]
    # The new worker is given the same context without being asked for a completion.
    await scripted.until(lambda: home.journal().count("sync report.py shapes.py") > synced)
    await scripted.until_context()
    (another,) = home.processes()
    assert another.pid != worker.pid


async def test_a_worker_that_dies_on_the_request_itself_says_how(scripted, home, workspace: Path) -> None:
    uri = scripted.open(workspace / "new.py", "alpha")
    die = home.script("die new.py")
    assert await scripted.ghost(uri, 0, 5) == []
    assert "exit status 3" in await scripted.reason()
    die.unlink()
    assert await scripted.ghost(uri, 0, 5) == ["ALPHA"]


async def test_a_worker_that_keeps_dying_is_given_up_with_one_sentence(
    scripted, home, workspace: Path
) -> None:
    uri = scripted.open(workspace / "new.py", "alpha")
    home.script("die new.py")
    for _ in range(3):
        assert await scripted.ghost(uri, 0, 5) == []
    report = await scripted.until_status(lambda report: report["engine"]["state"] == "failed")
    assert "3 times" in await scripted.until_shown("model worker ended")
    begun = home.journal().count("begin new.py alpha")
    assert await scripted.ghost(uri, 0, 5, invoked=False) == []
    assert await scripted.reason() == report["engine"]["detail"]
    assert home.journal().count("begin new.py alpha") == begun
    assert home.processes() == []


async def test_a_worker_that_was_given_up_is_started_when_the_person_asks(
    scripted, home, workspace: Path
) -> None:
    uri = scripted.open(workspace / "new.py", "alpha")
    die = home.script("die new.py")
    for _ in range(3):
        assert await scripted.ghost(uri, 0, 5) == []
    await scripted.until_status(lambda report: report["engine"]["state"] == "failed")
    die.unlink()
    synced = home.journal().count("sync report.py shapes.py")
    assert await scripted.ghost(uri, 0, 5) == ["ALPHA"]
    await scripted.until(lambda: home.journal().count("sync report.py shapes.py") > synced)


async def test_a_model_put_in_place_meanwhile_is_loaded_when_the_person_asks(
    home, start_server, workspace: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    server = await start_server(home)
    await server.initialize([workspace], {"model": {"path": str(folder)}})
    uri = server.open(workspace / "report.py")
    await server.until_shown(str(folder))
    shutil.copytree(NANO, folder)
    assert await server.ghost(uri, 6, 23, invoked=False) == []
    assert len(await server.ghost(uri, 6, 23)) == 1
    await server.until_context()


async def ask_with_cost(server: Any, uri: str) -> tuple[list[str], dict[str, Any]]:
    """The texts at the usual cursor of `report.py`, and what they cost."""
    texts = await server.ghost(uri, 6, 23)
    return texts, (await server.status())["last_completion"]


async def test_a_new_worker_gives_what_the_old_one_gave(home, start_server, workspace: Path) -> None:
    server = await start_server(home)
    await server.initialize([workspace], {"completion": {"reuse": False}})
    uri = server.open(workspace / "report.py")
    await server.until_context()
    before, first = await ask_with_cost(server, uri)
    assert first["repository_context"]
    (worker,) = home.processes()
    worker.send_signal(signal.SIGKILL)
    await server.until_status(lambda report: report["engine"]["state"] == "away")
    # Until it has read everything again, it answers from the open file alone.
    while not (answer := await ask_with_cost(server, uri))[1]["repository_context"]:
        assert len(answer[0]) == 1
    assert answer[0] == before
    second = answer[1]
    # Not bit by bit: the new worker took other chunks, which moves the last bits.
    assert second["mean_logprob"] == pytest.approx(first["mean_logprob"], abs=0.002)
    assert second["context_tokens"] == first["context_tokens"]


async def test_two_servers_share_a_worker_and_keep_their_unsaved_texts_apart(
    home, start_server, workspace: Path
) -> None:
    options = {"completion": {"reuse": False}}
    one, two = await start_server(home), await start_server(home)
    await one.initialize([workspace], options)
    await two.initialize([workspace], options)
    uris = [server.open(workspace / "report.py") for server in (one, two)]
    for server in (one, two):
        await server.until_context()
    assert len(home.processes()) == 1
    digests = []
    for server, uri in zip((one, two), uris, strict=True):
        texts, cost = await ask_with_cost(server, uri)
        assert len(texts) == 1
        digests.append(cost["logits_digest"])
    assert digests[0] == digests[1]
    # What one editor has not saved is its own.
    unsaved = one.open(workspace / "shapes.py")
    one.insert(unsaved, 0, 0, "LARGEST = 100\n\n\n")
    for server, uri in zip((one, two), uris, strict=True):
        digests.append((await ask_with_cost(server, uri))[1]["logits_digest"])
    assert digests[2] != digests[0]
    assert digests[3] == digests[0]
    # And the other stays when one leaves.
    assert await one.leave() == 0
    assert len(await two.ghost(uris[1], 6, 23)) == 1
    assert len(home.processes()) == 1


@pytest.mark.parametrize("damage", ["no folder", "no weights", "truncated weights", "weights of no kind"])
async def test_a_model_that_cannot_be_loaded_is_told_in_one_sentence(
    home, start_server, workspace: Path, tmp_path: Path, damage: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(NANO, folder)
    weights = folder / "model.safetensors"
    if damage == "no folder":
        shutil.rmtree(folder)
    elif damage == "no weights":
        weights.unlink()
    elif damage == "truncated weights":
        os.truncate(weights, weights.stat().st_size // 2)
    else:
        weights.write_bytes(b"PK\x03\x04" * 1000)
    server = await start_server(home)
    await server.initialize([workspace], {"model": {"path": str(folder)}})
    report = await server.until_status(lambda report: report["engine"]["state"] == "failed")
    sentence = await server.until_shown(str(folder))
    assert report["engine"]["detail"] in sentence
    uri = server.open(workspace / "report.py")
    assert await server.ghost(uri, 6, 23) == []
    assert await server.reason() == report["engine"]["detail"]
    assert [message for message in server.shown if message != sentence] == []
    server.insert(uri, 0, 0, "# typed\n")
    assert (await server.status())["documents"] == 1
    assert await server.leave() == 0


async def test_a_model_that_loads_slowly_holds_up_no_keystroke(home, start_server, workspace: Path) -> None:
    hold = home.script("hold load")
    server = await start_server(home, engine="build_held")
    await server.initialize([workspace])
    uri = server.open(workspace / "new.py", "alpha")
    await server.until_status(lambda report: report["engine"]["state"] == "loading")
    assert await server.ghost(uri, 0, 5, invoked=False) == []
    assert "oading" in await server.reason()
    # Who asks explicitly waits for it.
    _, asked = server.begin_ghost(uri, 0, 5)
    await server.status()
    assert not asked.done()
    hold.unlink()
    assert await asked == ["ALPHA"]


async def test_a_setting_can_change_the_model_while_the_session_runs(
    home, start_server, workspace: Path, tmp_path: Path
) -> None:
    server = await start_server(home)
    missing: dict[str, Any] = {"model": {"threads": 1, "path": str(tmp_path / "nowhere")}}
    await server.initialize([workspace], missing)
    uri = server.open(workspace / "report.py")
    await server.until_shown(str(tmp_path / "nowhere"))
    server.notify("workspace/didChangeConfiguration", {"settings": {"deltaloom": {"model": {"threads": 1}}}})
    await server.until_context()
    assert len(await server.ghost(uri, 6, 23)) == 1
