"""FIM documents give the file back exactly, in both orders, and cut it as the engine does."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from deltaloom_model.training.corpus import SourceFile
from deltaloom_model.training.objectives import (
    Document,
    FimOrder,
    Mixture,
    Special,
    Text,
    block_end,
    bounded,
    draw_split,
    fim_document,
    related_files,
)

ModuleText = Callable[..., str]


def file_text(document: Document) -> str:
    """Put a FIM document's parts back into file order, reading it by its special tokens alone."""
    sections: dict[str, str] = {}
    name = ""
    for part in document:
        if isinstance(part, Special):
            name = part.name
        else:
            sections[name] = sections.get(name, "") + part.text
    before = sections.get("<|fim_prefix|>", "")
    return before + sections["<|fim_middle|>"] + sections["<|fim_suffix|>"]


@pytest.mark.parametrize("order", ["psm", "spm"])
@pytest.mark.parametrize("ending", ["", "\n", "\n\n\t# \u00e9\u4e2d \f odd \u2028 line"])
def test_parts_in_file_order_are_the_file(order: FimOrder, ending: str, module_text: ModuleText) -> None:
    text = module_text(7) + ending
    draw = random.Random(order + ending)
    for _ in range(300):
        split = draw_split(text, draw, Mixture())
        assert split is not None
        assert file_text(fim_document("a/b.py", split, order)) == text


def test_typed_and_rest_make_up_the_line(module_text: ModuleText) -> None:
    text = module_text(8)
    lines = text.split("\n")
    draw = random.Random(0)
    mixture = Mixture(single_line=1.0, random_span=0.0)
    within = 0
    for _ in range(400):
        split = draw_split(text, draw, mixture)
        assert split is not None
        row = split.prefix.count("\n")
        assert split.prefix == "".join(line + "\n" for line in lines[:row])
        assert split.typed + split.rest == lines[row]
        assert split.suffix == text[len(split.prefix) + len(lines[row]) :]
        within += bool(split.typed)
    assert 0.5 < within / 400 < 0.8


def test_longer_middles_end_at_a_line_end_and_hold_no_trailing_blank_lines(module_text: ModuleText) -> None:
    text = module_text(9)
    draw = random.Random(0)
    for _ in range(300):
        split = draw_split(text, draw, Mixture(single_line=0.0, random_span=0.0))
        assert split is not None
        assert split.suffix == "" or split.suffix.startswith("\n")
        assert not (split.typed + split.rest).endswith("\n")


def test_a_text_without_a_line_worth_completing_gives_none() -> None:
    assert draw_split("\n\n   \n", random.Random(0), Mixture()) is None


def test_typed_rest_and_prefix_are_parts_of_their_own(module_text: ModuleText) -> None:
    split = draw_split(module_text(1), random.Random(3), Mixture(within_line=1.0))
    assert split is not None
    texts = [part.text for part in fim_document("p.py", split, "spm") if isinstance(part, Text)]
    assert texts == ["p.py\n", split.suffix, split.prefix, split.typed, split.rest]


def test_bounds_keep_whole_lines_next_to_the_cursor(module_text: ModuleText) -> None:
    draw = random.Random(1)
    text = module_text(2, functions=40)
    for _ in range(100):
        split = draw_split(text, draw, Mixture())
        assert split is not None
        short = bounded(split, 300, 200)
        assert split.prefix.endswith(short.prefix)
        assert split.suffix.startswith(short.suffix)
        assert len(short.suffix) <= 200
        assert short.prefix == split.prefix or split.prefix[: -len(short.prefix) or None].endswith("\n")
        assert (short.typed, short.rest) == (split.typed, split.rest)


def test_a_block_ends_before_the_line_that_leaves_it() -> None:
    lines = ["if a:", "    b()", "", "    c()", "d()"]
    assert block_end(lines, 0, 12) == 3
    assert block_end(lines, 1, 12) == 1
    assert block_end(lines, 0, 1) == 1


def test_imported_files_and_neighbours_stand_last() -> None:
    paths = ("p/far/x.py", "p/near/y.py", "p/other/helper.py", "p/near/target.py")
    texts = dict.fromkeys(paths, "") | {"p/near/target.py": "from p.other.helper import run\n"}
    files = [SourceFile(path, texts[path], "python") for path in paths]
    order = [file.path for file in related_files(files[-1], files)]
    assert order == ["p/far/x.py", "p/near/y.py", "p/other/helper.py"]
