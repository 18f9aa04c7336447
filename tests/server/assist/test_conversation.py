"""A question ends in an answer or a sentence, within its limits; look-ups change nothing but the talk."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from deltaloom_server.assist.conversation import Limits, ask, code_block
from deltaloom_server.assist.tool_calls import ToolCall, render_call

pytestmark = pytest.mark.timeout(60)

SEARCH = render_call(ToolCall("search", {"text": "class Order"}))
READ = render_call(ToolCall("read_file", {"path": "shop/order.py", "first_line": "6", "last_line": "6"}))


async def question(server: Any, **options: Any) -> Any:
    return await ask(server, **{"system": "Be brief.", "user": "What is it?"} | options)


async def test_a_question_is_asked_on_top_of_the_context(server: Any, talker: Any) -> None:
    talker.says("It adds.\n\n```python\nx = 1\n```\n")
    pieces: list[str] = []
    answer = await question(server, max_new_tokens=77, temperature=0.5, seed=3, on_text=pieces.append)
    assert (answer.steps, answer.reason, answer.finish) == (0, "", "stop")
    assert code_block(answer.text) == "x = 1"
    assert "".join(pieces) == answer.text
    assert len(pieces) > 2
    [request] = talker.asked
    assert talker.turns(0) == [("system", "Be brief."), ("user", "What is it?")]
    assert request["workspace"] == server.session.workspace
    assert (request["path"], request["max_new_tokens"], request["seed"]) == ("", 77, 3)
    assert server.sync.flushes == 1


async def test_a_file_comes_with_its_live_text(server: Any, talker: Any, workspace: Path) -> None:
    uri = (workspace / "shop/order.py").as_uri()
    server.session.open_document(uri, "python", 1, "a = 1\r\nb = 2\r\nc = 3\r\n")
    talker.says("Yes.", "Yes.", "Yes.")
    await question(server, path="shop/order.py", cursor=(1, 2))
    await question(server, path="shop/order.py", text="given\n", cursor=(9, 0))
    await question(server, path="shop/user.js")
    parts = [(request["prefix"], request["typed"], request["suffix"]) for request in talker.asked]
    assert parts[:2] == [("a = 1\n", "", "b = 2\nc = 3\n"), ("given\n", "", "")]
    assert parts[2][2].startswith("export class User")
    assert [request["messages"][1]["paths"] for request in talker.asked][:2] == [["shop/order.py"]] * 2


async def test_a_file_that_may_not_be_shown_is_refused(server: Any, talker: Any) -> None:
    answer = await question(server, path=".env")
    assert (answer.text, talker.asked) == ("", [])
    assert answer.reason == ".env can't be read, or may not be shown; open it and ask again."


async def test_a_hidden_files_own_text_is_asked_about_apart_from_the_context(
    server: Any, talker: Any
) -> None:
    talker.says("Fine.")
    assert (await question(server, path=".env", text="A=1\n")).text == "Fine."
    assert talker.asked[0]["workspace"] == f"{server.session.id}/alone"


async def test_tools_are_called_until_there_is_an_answer(server: Any, talker: Any) -> None:
    talker.says(f"Let me look.\n\n{SEARCH}", f"{READ}\n{SEARCH}", "It is a class.")
    pieces: list[str] = []
    answer = await question(server, tools=True, on_text=pieces.append)
    assert (answer.text, answer.steps, answer.reason) == ("It is a class.", 2, "")
    assert "".join(pieces) == "Let me look.\n\nIt is a class."
    last = talker.turns(2)
    assert "<tools>" in last[0][1]
    assert last[0][1].startswith("Be brief.\n\n# Tools")
    assert last[2:] == [
        ("assistant", f"Let me look.\n\n{SEARCH}"),
        ("tool", "shop/order.py:6: class Order:"),
        ("assistant", f"{READ}\n{SEARCH}"),
        ("tool", "shop/order.py, lines 6 to 6 of 12:\nclass Order:"),
        ("tool", "You have called this before, with the same result as above."),
    ]
    assert talker.asked[2]["messages"][3]["paths"] == ["shop/order.py"]
    for number in (0, 1):
        assert talker.turns(number) == last[: len(talker.turns(number))], "a turn only adds to the one before"


async def test_steps_are_bounded(server: Any, talker: Any) -> None:
    calls = [render_call(ToolCall("search", {"text": f"word {number}"})) for number in range(9)]
    talker.says(*calls)
    answer = await question(server, tools=True, limits=Limits(steps=3))
    assert (answer.text, answer.steps, len(talker.asked)) == ("", 3, 4)
    assert answer.reason == "The model only called tools and gave no answer; ask again, or for less."
    assert talker.turns(3)[-1][1].endswith(
        "No more functions can be called. Answer now, from what you have seen."
    )


async def test_six_steps_are_the_default(server: Any, talker: Any) -> None:
    calls = [render_call(ToolCall("search", {"text": f"word {number}"})) for number in range(9)]
    talker.says(*calls[:6], f"Well, then.\n{calls[7]}")
    answer = await question(server, tools=True)
    assert (answer.text, answer.steps, answer.reason) == ("Well, then.", 6, "")


async def test_characters_are_bounded_over_all_results(server: Any, talker: Any) -> None:
    read = render_call(ToolCall("read_file", {"path": "shop/order.py"}))
    talker.says(f"{read}\n{SEARCH}", "So.")
    answer = await question(server, tools=True, limits=Limits(characters=60))
    assert (answer.text, answer.steps) == ("So.", 1)
    results = [text for role, text in talker.turns(1) if role == "tool"]
    assert results[0].endswith("\n(The rest was left out.)")
    assert len(results[0]) == 60 + len("\n(The rest was left out.)")
    assert results[1].startswith("\n(The rest was left out.)\n\nNo more functions")


async def test_without_the_ability_no_tool_is_offered(server: Any, talker: Any) -> None:
    talker.can("fim", "instruct")
    talker.says(f"I'd call {SEARCH}")
    pieces: list[str] = []
    answer = await question(server, tools=True, on_text=pieces.append)
    assert answer.text == "".join(pieces) == f"I'd call {SEARCH}"
    assert talker.turns(0)[0] == ("system", "Be brief.")


async def test_what_finds_no_room_is_answered_without_look_ups(server: Any, talker: Any) -> None:
    read = render_call(ToolCall("read_file", {"path": "shop/order.py"}))
    system = len("Be brief.")
    talker.says(read, "From memory.")
    from deltaloom_server.assist.tools import tools_prompt

    talker.put("room", str(system + len(tools_prompt()) + 60))
    answer = await question(server, tools=True)
    assert (answer.text, answer.steps) == ("From memory.", 1)
    assert talker.turns(2) == [("system", "Be brief."), ("user", "What is it?")]
    talker.put("room", "3")
    answer = await question(server)
    assert (answer.text, answer.reason, answer.finish) == ("", "There is no room.", "unavailable")


async def test_a_call_that_was_cut_off_is_not_made(server: Any, talker: Any) -> None:
    talker.says("Looking.\n<tool_call>\n<function=read_file>\n<parameter=path>\nshop/or…")
    answer = await question(server, tools=True)
    assert (answer.text, answer.finish, answer.steps) == ("Looking.", "length", 0)


async def test_an_answer_of_nothing_says_so(server: Any, talker: Any) -> None:
    talker.says("  \n")
    answer = await question(server)
    assert (answer.text, answer.reason) == ("", "The model had nothing to say; ask in other words.")


async def test_a_model_that_only_completes_says_so_and_is_not_asked(server: Any, talker: Any) -> None:
    talker.can("fim")
    answer = await question(server, tools=True)
    assert (answer.text, answer.finish, talker.asked) == ("", "unavailable", [])
    assert answer.reason.startswith("talker completes code but doesn't follow instructions;")


async def test_a_question_can_be_cancelled(server: Any, talker: Any) -> None:
    talker.says("A long story.")
    hold = talker.put("hold")
    begun = asyncio.Event()
    task = asyncio.create_task(question(server, on_text=lambda _text: begun.set()))
    await asyncio.wait_for(begun.wait(), 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    hold.unlink()
    talker.says("Short.")
    assert (await question(server)).text == "Short."
    assert (talker.folder / "closed").exists()


async def test_a_worker_that_dies_is_a_sentence(server: Any, talker: Any) -> None:
    talker.put("answers", "no JSON")
    answer = await question(server)
    assert (answer.text, answer.finish) == ("", "unavailable")
    assert answer.reason.endswith(".")


async def test_without_a_model_there_is_a_sentence(server: Any) -> None:
    server.client = None
    answer = await question(server)
    assert (answer.text, answer.reason) == ("", "The model isn't ready yet; ask again as soon as it is.")
