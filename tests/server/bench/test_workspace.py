"""Forty files of a real package, cut to the room: whole statements, evenly, and never too much."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

import pytest

from deltaloom_server.bench.edits.workspace import Source, base_room, fit, package_sources, split_statements
from deltaloom_server.context.layout import Budget
from deltaloom_server.errors import DeltaloomError


class _Thirds(Mapping[str, int]):
    """A third of a text's characters as its tokens, whatever the text."""

    def __getitem__(self, text: str) -> int:
        return -(-len(text) // 3)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


_TOKENS = _Thirds()


def _size(files: Mapping[str, str], sources: list[Source]) -> int:
    """Tokens as `fit` counts them: each piece alone, and the headers."""
    pieces = {source.path: source.pieces for source in sources}
    total = 0
    for path, text in files.items():
        total += _TOKENS[path]
        for piece in pieces[path]:
            if not text:
                break
            total += _TOKENS[piece]
            text = text[len(piece) :]
    return total


def test_the_package_has_forty_modules_and_their_pieces_make_them_up_again() -> None:
    sources = package_sources()

    assert len(sources) == 40
    assert [source.path for source in sources] == sorted(source.path for source in sources)
    for source in sources:
        ast.parse("".join(source.pieces))


@pytest.mark.parametrize("context", [4096, 16384, 65536])
def test_forty_files_nearly_fill_the_room_and_never_exceed_it(context: int) -> None:
    sources, room = package_sources(), base_room(context)

    files = fit(sources, _TOKENS, _TOKENS, room, {})

    assert len(files) == 40
    assert 0.95 * room <= _size(files, sources) <= room < Budget(context).base()


def test_each_file_ends_with_a_whole_statement() -> None:
    for path, text in fit(package_sources(), _TOKENS, _TOKENS, base_room(16384), {}).items():
        assert text.endswith("\n") or "\n" not in text, path
        ast.parse(text)


def test_a_file_that_is_fixed_stays_as_it_is_and_the_others_make_room() -> None:
    sources = package_sources()
    path = sources[25].path
    fixed = {path: "".join(sources[25].pieces[:3])}

    files = fit(sources, _TOKENS, _TOKENS, base_room(16384), fixed)

    assert files[path] == fixed[path]
    assert list(files) == [source.path for source in sources]
    assert _size(files, sources) <= base_room(16384)


def test_a_room_too_small_for_forty_files_is_told() -> None:
    with pytest.raises(DeltaloomError, match="4096 tokens or more"):
        fit(package_sources(), _TOKENS, _TOKENS, 200, {})


def test_pieces_end_after_statements_of_the_top_level_and_of_classes() -> None:
    text = (
        '"""Doc."""\nimport sys\n\nclass A:\n    x = 1\n\n    def f(self):\n        return 2\n\n\nvalue = 3\n'
    )

    pieces = split_statements(text)

    assert "".join(pieces) == text
    assert pieces[2:] == (
        "\nclass A:\n    x = 1\n",
        "\n    def f(self):\n        return 2\n",
        "\n\nvalue = 3\n",
    )
