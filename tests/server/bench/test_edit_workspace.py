"""Forty files of a real package that fill a context's base."""

from __future__ import annotations

import ast

import pytest

from deltaloom_server.bench.edits.workspace import (
    FILES,
    Source,
    base_room,
    fit,
    package_sources,
    split_statements,
)
from deltaloom_server.context.layout import Budget
from deltaloom_server.errors import DeltaloomError

_MODULE = '''"""Doc."""

import os, sys


@decorated
class Many:
    """Doc."""

    a = 1

    def f(self):
        return 1


if os.name:
    b = 2
'''


def test_a_module_is_cut_after_statements_of_its_top_level_and_of_class_bodies() -> None:
    pieces = split_statements(_MODULE)

    assert "".join(pieces) == _MODULE
    assert len(pieces) == 6
    assert pieces[2].endswith('    """Doc."""\n')
    for count in range(1, len(pieces) + 1):
        ast.parse("".join(pieces[:count]))


def _fit(sources: list[Source], room: int, fixed: dict[str, str] | None = None) -> dict[str, str]:
    pieces = {piece: len(piece) for source in sources for piece in source.pieces}
    pieces |= {text: len(text) for text in (fixed or {}).values()}
    return fit(sources, pieces, {source.path: 3 for source in sources}, room, fixed or {})


@pytest.mark.parametrize("room", [12_000, 50_000, 180_000])
def test_real_sources_fill_the_room_and_never_exceed_it(room: int) -> None:
    sources = package_sources()
    files = _fit(sources, room)

    total = sum(len(text) + 3 for text in files.values())
    assert room * 0.97 <= total <= room
    assert list(files) == sorted(files)
    assert len(files) == FILES
    for text in files.values():
        ast.parse(text)


def test_files_are_cut_evenly() -> None:
    sources = [Source(f"{number}.py", ("x" * 10,) * 50) for number in range(4)]
    files = _fit(sources, 400)

    assert {len(text) for text in files.values()} <= {90, 100}


def test_a_fixed_file_keeps_its_text_and_its_place() -> None:
    sources = [Source(f"{number}.py", ("x" * 10,) * 50) for number in range(4)]
    files = _fit(sources, 400, {"1.py": "fixed\n"})

    assert list(files) == ["0.py", "1.py", "2.py", "3.py"]
    assert files["1.py"] == "fixed\n"
    assert sum(len(text) + 3 for text in files.values()) <= 400


def test_a_room_too_small_for_all_is_refused() -> None:
    with pytest.raises(DeltaloomError, match="4096 tokens or more"):
        _fit([Source("a.py", ("x" * 100,)), Source("b.py", ("x" * 100,))], 150)


def test_the_room_is_what_the_base_has() -> None:
    assert 0 < Budget(16_384).base() - base_room(16_384) < 100
