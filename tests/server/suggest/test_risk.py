"""A suggestion that would add a security finding isn't shown, unless the settings say so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from deltaloom_server.suggest import Cursor

URI = "file:///elsewhere/a.py"
HEAD = "import subprocess\n\n\ndef run(name):\n    "
CURSOR = Cursor(URI, 4, 4)
RISKY = 'subprocess.run(f"ls {name}", shell=True)'


def _open(desk: Any, text: str) -> None:
    desk.server.session.open_document(URI, "python", 1, text)


async def test_a_suggestion_that_adds_a_finding_is_withheld_and_says_why(desk: Any) -> None:
    _open(desk, HEAD)
    assert await desk.answer(RISKY, CURSOR) is None
    assert "would add S602" in desk.last.reason
    # Nor does typing run into it later.
    desk.replace(4, 4, 4, "sub")
    assert await desk.answer("process.run()", replace(CURSOR, character=7)) is not None
    assert desk.last.source == "model"


async def test_a_harmless_suggestion_is_shown(desk: Any) -> None:
    _open(desk, HEAD)
    suggestion = await desk.answer('subprocess.run(["ls", name], check=True)', CURSOR)
    assert suggestion is not None


async def test_it_is_shown_where_the_settings_allow_it(desk: Any) -> None:
    session = desk.server.session
    session.configure({"completion": {"risky": "allow"}}, [])
    _open(desk, HEAD)
    assert await desk.answer(RISKY, CURSOR) is not None


@pytest.mark.parametrize("name", ["a.txt", "a.js"])
async def test_only_what_is_scanned_can_be_risky(desk: Any, name: str) -> None:
    uri = f"file:///elsewhere/{name}"
    desk.server.session.open_document(uri, "plaintext", 1, HEAD)
    assert await desk.answer(RISKY, replace(CURSOR, uri=uri)) is not None


async def test_a_finding_that_the_line_has_already_is_not_the_suggestions_doing(desk: Any) -> None:
    call = "subprocess.run(name, shell=True"
    _open(desk, f"{HEAD}{call})\n")
    await desk.server.security.diagnosis.current(URI)
    desk.replace(4, 4 + len(call), 4 + len(call), ", check=")
    cursor = replace(CURSOR, character=4 + len(f"{call}, check="))
    assert await desk.answer("True", cursor) is not None
