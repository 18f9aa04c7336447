"""What the model says becomes an edit of the finding's function or statement, and of nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltaloom_model.api import Ability, EngineStatus, ModelInfo
from deltaloom_server.context.roots import name_roots
from deltaloom_server.positions import split_lines
from deltaloom_server.security.finding import Finding, Span
from deltaloom_server.security.fixing import NoFix
from deltaloom_server.security.model_fix import _after_docstring, _import_place, _imports_apart
from deltaloom_server.security.proposal import Proposal, apply_edits
from deltaloom_server.settings import SecuritySettings, Settings

TEXT = (
    "import pickle\n\n\nclass Store:\n    def load(self, data):\n        return pickle.loads(data)\n\n"
    "    def size(self):\n        return 1\n"
)


def finding(line: int, text: str = TEXT) -> Finding:
    return Finding("S301", "pickle", "a.py", Span(line, 8, line, 12), "medium", "high", ("ruff",), (), 502)


@pytest.fixture
def ask(server: Any, client: Any, events: Any, tmp_path: Path) -> Any:
    """Proposals for a finding in a text, of a model that gives these answers in turn."""

    async def run(
        text: str, line: int, *answers: str, able: Sequence[Ability] = ("fim", "instruct"), **settings: Any
    ) -> list[Proposal]:
        async def status() -> EngineStatus:
            return EngineStatus("ready", model=ModelInfo("m", "h", abilities=tuple(able)))

        client.status = status
        client.calls.clear()
        server.session.roots = name_roots([str(tmp_path)])
        chosen = {"candidates": len(answers), **settings}
        server.session.settings = Settings(security=SecuritySettings(**chosen))
        asking = asyncio.create_task(server.security.model.propose(text, finding(line), lambda step: None))
        asking.add_done_callback(events.note)
        for number, answer in enumerate(answers):
            await events.until(lambda number=number: len(client.calls) > number or asking.done())
            if asking.done():
                break
            client.calls[number].give(answer)
        return list(await asking)

    return run


def _block(code: str) -> str:
    return f"Here it is:\n```python\n{code}```\nIt parses JSON."


# -- models that follow instructions -------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("indent", ["", "    "])
async def test_a_rewritten_function_takes_the_old_ones_place(
    ask: Any, client: Any, end: str, indent: str
) -> None:
    text = TEXT.replace("\n", end)
    code = f"{indent}def load(self, data):\n{indent}    return json.loads(data)\n"
    (proposal,) = await ask(text, 5, _block(f"import json\n\n{code}"))
    expected = TEXT.replace("pickle.loads", "json.loads").replace(
        "import pickle\n", "import pickle\nimport json\n"
    )
    assert apply_edits(text, proposal.edits) == expected.replace("\n", end)
    assert (proposal.origin, proposal.unsafe) == ("model", True)
    message = client.calls[0].request.messages[-1].text
    assert "def load" in message
    assert "def size" not in message
    assert "CWE-502" in message


async def test_each_candidate_is_another_try_and_is_given_once(ask: Any, client: Any) -> None:
    first = _block("def load(self, data):\n    return 1\n")
    found = await ask(
        TEXT, 5, first, "I am not able to do that.", first, _block("def load(self, data):\n    return 2\n")
    )
    assert [apply_edits(TEXT, one.edits).count("return 2") for one in found] == [0, 1]
    requests = [call.request for call in client.calls]
    assert [one.seed for one in requests] == [0, 1, 2, 3]
    assert [one.temperature > 0 for one in requests] == [False, True, True, True]


async def test_an_answer_that_changes_nothing_or_says_nothing_is_no_proposal(ask: Any) -> None:
    same = _block("    def load(self, data):\n        return pickle.loads(data)\n")
    assert await ask(TEXT, 5, same, _block("\n"), "That is sound already.") == []
    with pytest.raises(NoFix, match="nothing to say"):
        await ask(TEXT, 5, "")


async def test_outside_a_function_the_statement_is_rewritten(ask: Any) -> None:
    text = "import pickle\n\nx = 1\nvalue = pickle.loads(\n    data\n)\ny = 2\n"
    (proposal,) = await ask(text, 3, _block("value = load(data)\n"))
    assert apply_edits(text, proposal.edits) == "import pickle\n\nx = 1\nvalue = load(data)\ny = 2\n"


async def test_imports_that_are_there_already_are_not_put_twice(ask: Any) -> None:
    code = (
        "import pickle\nfrom __future__ import annotations\nimport json\n\ndef load(self, data):\n    pass\n"
    )
    (proposal,) = await ask(TEXT, 5, _block(code))
    fixed = apply_edits(TEXT, proposal.edits)
    assert fixed.startswith("import pickle\nimport json\n\n\nclass Store:")
    assert "__future__" not in fixed


async def test_an_import_over_several_lines_stays_whole(ask: Any) -> None:
    code = "from json import (\n    loads,\n    dumps,\n)\n\ndef load(self, data):\n    return loads(data)\n"
    (proposal,) = await ask(TEXT, 5, _block(code))
    fixed = apply_edits(TEXT, proposal.edits)
    assert fixed.startswith("import pickle\nfrom json import (\n    loads,\n    dumps,\n)\n\n\nclass Store:")
    assert "        return loads(data)\n" in fixed


async def test_nothing_is_rewritten_above_the_imports(ask: Any) -> None:
    text = "value = load(data)\nimport pickle\n"
    assert await ask(text, 0, _block("import json\nvalue = json.loads(data)\n")) == []


async def test_a_text_that_can_not_be_parsed_has_its_line_rewritten(ask: Any) -> None:
    text = "def broken(:\nvalue = pickle.loads(data)\n"
    (proposal,) = await ask(text, 1, _block("value = 1\n"))
    assert apply_edits(text, proposal.edits) == "def broken(:\nvalue = 1\n"


# -- models that complete ------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["\n", "\r\n"])
async def test_a_model_that_only_completes_fills_the_statement_in(ask: Any, client: Any, end: str) -> None:
    text = TEXT.replace("\n", end)
    (proposal,) = await ask(text, 5, "return json.loads(data)\n", able=("fim",))
    assert apply_edits(text, proposal.edits) == text.replace("pickle.loads", "json.loads")
    request = client.calls[0].request
    assert request.prefix.endswith("    def load(self, data):\n        # use json instead of pickle\n")
    assert (request.typed, request.suffix.split("\n")[2]) == ("        ", "    def size(self):")
    assert "pickle.loads" not in request.prefix + request.suffix


async def test_a_model_that_repeats_the_old_code_proposes_nothing(ask: Any) -> None:
    assert await ask(TEXT, 5, "return pickle.loads(data)", "", "\n", able=("fim",)) == []


async def test_a_worker_that_fails_is_told_in_its_sentence(ask: Any, client: Any) -> None:
    from deltaloom_model.errors import DeltaloomModelError

    async def failing() -> None:
        raise DeltaloomModelError("The model can't be loaded; see `deltaloom logs`.")

    client.start = failing
    with pytest.raises(NoFix, match="can't be loaded"):
        await ask(TEXT, 5, "x")


# -- where imports go ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("import a\n", "\nx = 1\n"),
        ("import a\n\nfrom b import (\n    c,\n)\n", "\nx = 1\nimport late\n"),
        ("import a\nfrom b import c, \\\n    d\n", "x = 1\n"),
        ('"""Doc.\n\nfrom time to time\n"""\nimport a\n', "x = 1\n"),
        ('"""Doc."""\n', "x = 1\n"),
        ('#!/usr/bin/python\n# coding: x\n\nr"""Doc\n"""\n', "\nx = 1\n"),
        ("'one line'\n", "def f(): pass\n"),
        ("# top\n", "\ndef f():\n    pass\n\nimport late\n"),
        ("", "x = 1\n"),
        ("from __future__ import annotations\n", ""),
        ("import a\n# between\nimport b\n", "# after\nx = 1\n"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_an_import_goes_behind_the_first_run_of_imports_or_what_must_come_before(
    before: str, after: str, end: str
) -> None:
    before, after = before.replace("\n", end), after.replace("\n", end)
    assert _import_place(before + after) == len(before)


_PIECES = st.lists(
    st.sampled_from(
        ['"""', "'''", '"', "x", "\n", "\r\n", "import a\n", "from b import (", ")", "\\\n", "# c\n", " "]
    ),
    max_size=16,
).map("".join)  # fmt: skip


@given(_PIECES)
def test_any_text_has_a_place_for_imports_at_the_start_of_a_line(text: str) -> None:
    lines = split_lines(text)
    starts = {sum(map(len, lines[:number])) for number in range(len(lines) + 1)}
    assert _import_place(text) in starts
    assert 0 <= _after_docstring(lines) <= len(lines)


@given(_PIECES.map(lambda text: text.replace("\r", "")))
def test_no_line_of_an_answer_is_lost_between_imports_and_code(block: str) -> None:
    imports, body = _imports_apart(block, "def f(): pass\n")
    whole = "\n".join([*imports, body]).split("\n")
    assert [line for line in whole if line.strip()] == [line for line in block.split("\n") if line.strip()]
    assert _imports_apart(block, "import x\n") == ([], block)
