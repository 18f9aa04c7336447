"""Actions carried out by the real service on scripted answers: what is done, and what is refused."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types

from deltaloom_model.api import Ability, EngineStatus, ModelInfo
from deltaloom_server.actions import Chosen, Offer, Outcome, Place, actions
from deltaloom_server.context.roots import name_roots
from deltaloom_server.errors import DeltaloomError
from deltaloom_server.security.proposal import apply_edits
from deltaloom_server.settings import SecuritySettings, Settings

YAML = "import yaml\n\n\ndef read(text):\n    return yaml.load(text)\n"
FIXED = YAML.replace("yaml.load(", "yaml.safe_load(")


class Desk:
    """One open document, and actions on it."""

    def __init__(self, server: Any, client: Any, events: Any, folder: Path) -> None:
        self.server, self._client, self._events, self.folder = server, client, events, folder
        self.able: Sequence[Ability] = ("fim",)
        server.session.roots = name_roots([str(folder)])
        self.settings(candidates=1)

        async def status() -> EngineStatus:
            return EngineStatus("ready", model=ModelInfo("m", "h", abilities=tuple(self.able)))

        client.status = status

    def settings(self, **security: Any) -> None:
        self.server.session.settings = Settings(security=SecuritySettings(**security))

    def open(self, name: str, text: str) -> str:
        uri = name if ":" in name else (self.folder / name).as_uri()
        self.server.session.open_document(uri, "python", 1, text)
        return uri

    async def place(self, uri: str, line: int, *foreign: types.Diagnostic) -> Place:
        _, inspection = await self.server.security.diagnosis.full(uri)
        found = self.server.security.diagnosis.shown(inspection)
        there = tuple(one for one in found if one.span.start_line <= line <= one.span.end_line)
        path = self.server.session.display_path(uri)
        document = self.server.session.snapshot(uri)
        return Place(document, path, line, line, types.Position(line, 0), there, found, {}, foreign)

    async def offers(self, do: str, uri: str, line: int, *foreign: types.Diagnostic) -> list[Offer]:
        return list(actions()[do].offer(await self.place(uri, line, *foreign)))

    async def do(self, name: str, uri: str, about: dict[str, Any], *answers: str) -> Outcome:
        document = self.server.session.snapshot(uri)
        chosen = Chosen(document, self.server.session.display_path(uri), about)
        before = len(self._client.calls)

        async def work() -> Outcome:
            return await actions()[name].carry_out(self.server, chosen, lambda step: None)

        task = asyncio.create_task(work())
        task.add_done_callback(self._events.note)
        for number, answer in enumerate(answers, before):
            await self._events.until(lambda number=number: len(self._client.calls) > number or task.done())
            if task.done():
                break
            self._client.calls[number].give(answer)
        return await task


@pytest.fixture
def desk(server: Any, client: Any, events: Any, tmp_path: Path) -> Desk:
    return Desk(server, client, events, tmp_path)


# -- findings ------------------------------------------------------------------------------------------------


async def test_all_safe_fixes_of_a_file_are_one_edit(desk: Desk) -> None:
    text = YAML + "\n\ndef again(text):\n    return yaml.load(text), yaml.load(text)\nx = 1  # nosec B602\n"
    uri = desk.open("a.py", text)
    assert [one.title for one in await desk.offers("fixAll", uri, 0)] == ["Apply all verified security fixes"]
    outcome = await desk.do("fixAll", uri, {})
    assert apply_edits(text, outcome.edits) == text.replace("yaml.load(", "yaml.safe_load(").replace(
        "  # nosec B602", ""
    )
    assert outcome.title == "4 verified fixes"
    assert not outcome.unsafe


async def test_a_document_without_a_file_is_fixed_as_a_whole_too(desk: Desk) -> None:
    uri = desk.open("untitled:Untitled-1", YAML + "\n\ndef again(text):\n    return yaml.load(text)\n")
    outcome = await desk.do("fixAll", uri, {})
    assert outcome.title == "2 verified fixes"


async def test_what_needs_a_look_is_no_part_of_all(desk: Desk) -> None:
    text = "import hashlib\n\n\ndef digest(data):\n    return hashlib.md5(data).hexdigest()\n"
    uri = desk.open("a.py", text)
    with pytest.raises(DeltaloomError, match="safe to apply unseen"):
        await desk.do("fixAll", uri, {})
    place = await desk.place(uri, 4)
    about = {"identity": place.findings[0].identity}
    assert (await desk.do("fix", uri, about)).unsafe
    with pytest.raises(DeltaloomError, match="changes more than the weakness"):
        await desk.do("fix", uri, {**about, "safe": True})


async def test_a_finding_that_is_gone_is_not_fixed(desk: Desk) -> None:
    uri = desk.open("a.py", YAML)
    with pytest.raises(DeltaloomError, match="isn't in the file any more"):
        await desk.do("fix", uri, {"identity": "0" * 32})
    with pytest.raises(DeltaloomError, match="can't be read"):
        await desk.do("fix", uri, {"finding": {"rule": 7}})


async def test_without_the_model_only_what_a_codemod_knows_is_offered(desk: Desk) -> None:
    uri = desk.open("a.py", "import pickle\n\nx = pickle.loads(y)\nimport yaml\nz = yaml.load(x)\n")
    place = await desk.place(uri, 2)
    (offer,) = actions()["fix"].offer(place)
    assert "with the model" in offer.title
    assert not offer.preferred
    without = Place(place.document, "a.py", 2, 2, place.cursor, place.findings, model_fixes=False)
    assert list(actions()["fix"].offer(without)) == []


# -- another server's diagnostics ----------------------------------------------------------------------------


def _diagnostic(line: int, start: int, end: int, **more: Any) -> types.Diagnostic:
    span = types.Range(types.Position(line, start), types.Position(line, end))
    return types.Diagnostic(span, **{"message": "bad", **more})


async def test_another_servers_security_finding_is_fixed_by_a_codemod(desk: Desk) -> None:
    uri = desk.open("a.py", YAML)
    for code in ("S506", "B506"):
        (offer,) = await desk.offers(
            "fixDiagnostic", uri, 4, _diagnostic(4, 11, 20, code=code, source="Ruff")
        )
        outcome = await desk.do("fixDiagnostic", uri, offer.about)
        assert apply_edits(YAML, outcome.edits) == FIXED
    (offer,) = await desk.offers("fixDiagnostic", uri, 4, _diagnostic(4, 11, 20, code="S608"))
    with pytest.raises(DeltaloomError, match="don't see S608 here"):
        await desk.do("fixDiagnostic", uri, offer.about)


async def test_positions_that_no_text_has_hurt_nothing(desk: Desk) -> None:
    uri = desk.open("a.py", "x = '😀'; y = undefined\n")
    for span in ([0, 10, 0, 19], [99, 0, 99, 5], [-1, -1, 0, 3], [0, 500, 0, 900], "nonsense", [0, 1]):
        about = {"message": "Undefined name", "rule": "F821", "range": span}
        with contextlib.suppress(DeltaloomError):  # at the end of the text there is nothing to rewrite
            outcome = await desk.do("fixDiagnostic", uri, about, "x = '😀'; y = 1")
            assert outcome.origin == "model"


# -- what the model writes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["\n", "\r\n"])
async def test_a_body_is_written_with_the_documents_line_ends(desk: Desk, end: str) -> None:
    text = f'def area(w, h):{end}    """Of a rectangle."""{end}{end}{end}x = 1{end}'
    uri = desk.open("a.py", text)
    outcome = await desk.do("fillFunction", uri, {"line": 0}, "s = w * h\n    return s\n")
    assert apply_edits(text, outcome.edits) == (
        f'def area(w, h):{end}    """Of a rectangle."""{end}'
        f"    s = w * h{end}    return s{end}{end}{end}x = 1{end}"
    )


async def test_the_first_candidate_that_holds_is_taken(desk: Desk) -> None:
    desk.settings(candidates=3)
    uri = desk.open("a.py", "def area(w, h):\n    pass\n")
    outcome = await desk.do("fillFunction", uri, {"line": 0}, "return (w", "return w * hh", "return w * h")
    assert apply_edits("def area(w, h):\n    pass\n", outcome.edits) == "def area(w, h):\n    return w * h\n"
    with pytest.raises(DeltaloomError, match="No body of area could be verified"):
        await desk.do("fillFunction", uri, {"line": 0}, "return (w", "return w * hh", "eval('w*h')")


async def test_what_a_person_has_written_is_never_replaced(desk: Desk) -> None:
    uri = desk.open("a.py", 'def area(w, h):\n    """Doc."""\n    return w * h\n')
    assert await desk.offers("fillFunction", uri, 2) == []
    with pytest.raises(DeltaloomError, match="no function without a body"):
        await desk.do("fillFunction", uri, {"line": 0})
    with pytest.raises(DeltaloomError, match="no function without a docstring"):
        await desk.do("writeDocstring", uri, {"line": 0})


@pytest.mark.parametrize("path", [".git/a.py", ".github/scripts/a.py"])
async def test_files_that_steer_tools_get_no_code_from_a_model(desk: Desk, path: str) -> None:
    uri = desk.open(path, "def area(w, h):\n    pass\n")
    with pytest.raises(DeltaloomError):
        await desk.do("fillFunction", uri, {"line": 0}, "return w * h")


async def test_an_instruct_model_writes_whole_functions(desk: Desk) -> None:
    desk.able = ("fim", "instruct")
    text = "class A:\n    def area(self, w):\n        pass\n"
    uri = desk.open("a.py", text)
    block = "```python\ndef area(self, w):\n    s = w\n    return s * 2\n```"
    outcome = await desk.do("fillFunction", uri, {"line": 1}, block)
    assert apply_edits(text, outcome.edits) == (
        "class A:\n    def area(self, w):\n        s = w\n        return s * 2\n"
    )
    with pytest.raises(DeltaloomError, match="suggested nothing"):
        await desk.do("fillFunction", uri, {"line": 1}, "```python\ndef other():\n    pass\n```")


async def test_a_test_gets_a_name_of_its_own(desk: Desk) -> None:
    (desk.folder / "tests").mkdir()
    (desk.folder / "tests" / "test_a_area.py").write_text("")
    text = "def area(w, h):\n    return w * h\n"
    (desk.folder / "a.py").write_text(text)
    uri = desk.open("a.py", text)
    outcome = await desk.do("writeTest", uri, {"line": 0}, "assert area(2, 3) == 6")
    assert outcome.new_file is not None
    assert outcome.new_file.path == "tests/test_a_area_2.py"
    assert outcome.unsafe


async def test_an_explanation_needs_code_and_a_model_that_can_explain(desk: Desk) -> None:
    uri = desk.open("a.py", "\n\n")
    with pytest.raises(DeltaloomError, match="no code here"):
        await desk.do("explain", uri, {"line": 0})
    uri = desk.open("b.py", YAML)
    with pytest.raises(DeltaloomError, match="instructions"):
        await desk.do("explain", uri, {"line": 4})
    desk.able = ("fim", "instruct")
    outcome = await desk.do("explain", uri, {"line": 4}, "It reads YAML.")
    assert outcome.show == "# b.py:4\n\nIt reads YAML.\n"
    assert outcome.edits == ()
