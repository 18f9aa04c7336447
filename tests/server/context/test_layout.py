from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from deltaloom_server.context.layout import (
    BaseFill,
    Budget,
    Evidence,
    base_order,
    choose_base,
    folder_distance,
    imported_words,
    value_order,
)
from deltaloom_server.context.reasons import WorkspaceFile


def make(path: str, size: int = 100, heat: int = 0) -> WorkspaceFile:
    return WorkspaceFile(path, "/w/" + path, size, 0, heat)


FILES = [
    make(f"{folder}{name}") for folder in ("", "a/", "a/b/", "c/") for name in ("x.py", "y.md", "z.json")
]


def paths(files: list[WorkspaceFile]) -> list[str]:
    return [file.path for file in files]


@given(st.integers(0, 300_000))
def test_the_regions_never_exceed_the_budget(total: int) -> None:
    budget = Budget(total)
    assert budget.base() + budget.log + budget.open_file <= max(total, 0)
    assert budget.base(budget.carried) >= 0
    assert budget.log == total // 8
    assert budget.open_file <= 4096


def test_order_depends_on_names_and_evidence_only() -> None:
    shuffled = FILES[:]
    random.Random(3).shuffle(shuffled)
    resized = [WorkspaceFile(f.path, f.absolute, f.size + i, 10 + i, f.heat) for i, f in enumerate(shuffled)]
    evidence = Evidence(open_texts={"a/x.py": "import y\n"}, changed=("c/x.py",))
    assert paths(value_order(FILES, evidence)) == paths(value_order(resized, evidence))
    assert paths(base_order(FILES, evidence)) == paths(base_order(resized, evidence))


def test_open_then_imported_then_near_source_is_worth_most() -> None:
    files = [make("app/open.py"), make("app/near.py"), make("far/away/money.py"), make("far/other.py"),
             make("app/data.json"), make("README.md")]  # fmt: skip
    order = value_order(files, Evidence(open_texts={"app/open.py": "from far.away.money import Money\n"}))
    assert paths(order) == [
        "app/open.py", "far/away/money.py", "app/near.py", "far/other.py", "README.md", "app/data.json"
    ]  # fmt: skip


def test_imports_of_several_languages_are_seen() -> None:
    text = (
        "from .money import Money\nimport os.path as p\nimport { a } from './cart-view'\n"
        "const db = require('./database')\n#include \"parser.h\"\nuse crate::lexer;\nx = other\n"
    )
    assert {"money", "os", "cart-view", "database", "parser", "lexer"} <= imported_words(text)
    assert "other" not in imported_words(text)


def test_a_package_file_counts_as_its_folder() -> None:
    files = [make("zoo/__init__.py"), make("aaa/__init__.py")]
    assert paths(value_order(files, Evidence(open_texts={"m.py": "import zoo\n"})))[0] == "zoo/__init__.py"


def test_cold_files_stand_first_and_open_ones_last() -> None:
    files = [make("a.py", heat=3), make("b.py"), make("c.py", heat=1), make("d.py")]
    assert paths(base_order(files, Evidence(open_texts={"b.py": ""}))) == ["d.py", "c.py", "a.py", "b.py"]


def test_a_second_layout_keeps_the_order_and_moves_only_what_changed_to_the_end() -> None:
    previous = ("d.py", "c.py", "a.py", "b.py")
    files = [
        make(path, heat=4 if path == "d.py" else 0) for path in ("a.py", "b.py", "c.py", "d.py", "new.py")
    ]
    evidence = Evidence(open_texts={"a.py": ""}, changed=("c.py",), previous=previous)
    assert paths(base_order(files, evidence)) == ["d.py", "a.py", "b.py", "new.py", "c.py"]
    assert paths(base_order(files[:4], Evidence(previous=previous))) == list(previous)


def test_whole_files_fill_the_room_and_smaller_ones_still_find_theirs() -> None:
    files = [make("a"), make("b"), make("c"), make("d")]
    tokens = {"a": 50, "b": 60, "c": 30, "d": 20}
    assert paths(choose_base(files, tokens, 100)) == ["a", "c", "d"]
    assert choose_base(files, tokens, 10) == []


@given(st.lists(st.integers(1, 400), max_size=60), st.integers(0, 2000))
def test_the_room_is_never_exceeded(sizes: list[int], room: int) -> None:
    files = [make(f"f{i:03}") for i in range(len(sizes))]
    tokens = {file.path: size for file, size in zip(files, sizes, strict=True)}
    chosen = choose_base(files, tokens, room)
    assert sum(tokens[file.path] for file in chosen) <= room


def test_filling_gives_up_after_many_files_that_do_not_fit() -> None:
    fill = BaseFill(100)
    offered = 0
    while not fill.done:
        assert not fill.offer(1000)
        offered += 1
    assert offered == 32


def test_distance_counts_steps_between_folders() -> None:
    assert folder_distance("a/b/x", "a/b/y") == 0
    assert folder_distance("a/b/x", "a/y") == 1
    assert folder_distance("a/b/x", "c/y") == 3
    assert folder_distance("x", "y") == 0
