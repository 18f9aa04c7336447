from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from deltaloom_server.context.layout import Budget, Evidence, base_order
from deltaloom_server.context.packing import Candidate, Packing
from deltaloom_server.context.reasons import WorkspaceFile
from deltaloom_server.context.relevance import Relevance, folder_distance, imported_words, value_order


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
    moved = base_order(files[:4], Evidence(previous=previous), moved=frozenset({"d.py"}))
    assert paths(moved) == ["c.py", "a.py", "b.py", "d.py"]


def candidates(tokens: list[int], outlines: list[int] | None = None) -> list[Candidate]:
    pairs = zip(tokens, outlines or [0] * len(tokens), strict=True)
    return [
        Candidate(make(f"f{i:03}.py"), f"d{i}", full, "x" * bool(short), f"o{i}", short)
        for i, (full, short) in enumerate(pairs)
    ]


def taken(packing: Packing) -> dict[str, str]:
    return {path: form for path, (_, form) in packing.taken.items()}


def test_the_room_that_remains_goes_to_the_largest_that_fits() -> None:
    packing = Packing(100)
    packing.fill_up(candidates([50, 60, 20, 48, 30]))
    assert taken(packing) == {"f000.py": "full", "f003.py": "full"}
    assert packing.left == 2


def test_an_outline_makes_way_for_the_full_text_at_the_difference_of_both() -> None:
    packing = Packing(100)
    files = candidates([80, 90], [20, 10])
    assert all(packing.offer(file, "outline") for file in files)
    packing.fill_up(files)
    assert taken(packing) == {"f000.py": "full", "f001.py": "outline"}
    assert packing.left == 10


@given(
    st.lists(st.tuples(st.integers(1, 400), st.integers(0, 90)), max_size=60),
    st.integers(0, 2000),
    st.randoms(),
)
def test_the_room_is_never_exceeded(sizes: list[tuple[int, int]], room: int, rnd: random.Random) -> None:
    files = candidates([full for full, _ in sizes], [short for _, short in sizes])
    packing = Packing(room)
    for file in files:
        packing.offer(file, rnd.choice(["full", "outline"]), keep_free=rnd.choice([0, 50]))
    packing.fill_up(files)
    assert sum(file.cost(form) for file, form in packing.taken.values()) == room - packing.left
    assert packing.left >= 0
    assert not packing.taken.keys() & packing.waiting.keys()


def test_filling_gives_up_after_many_files_that_do_not_fit() -> None:
    packing = Packing(100)
    files = iter(candidates([1000] * 40))
    offered = 0
    while not packing.done:
        assert not packing.offer(next(files), "full")
        offered += 1
    assert offered == 32


def test_what_an_import_imports_is_worth_more_than_the_rest() -> None:
    evidence = Evidence(open_texts={"app.py": "import first\n"})
    files = [make("aaa.py"), make("first.py"), make("second.py")]
    relevance = Relevance(evidence, near=imported_words("from second import x\n"))
    assert paths(relevance.value_order(files)) == ["first.py", "second.py", "aaa.py"]


def test_weights_rise_from_cold_to_what_changed_last() -> None:
    evidence = Evidence(open_texts={"open.py": "import near\n"}, changed=("old.py", "new.py"))
    relevance = Relevance(evidence)
    weights = [relevance.weight(path, 0) for path in ("cold.py", "near.py", "old.py", "open.py", "new.py")]
    assert weights == sorted(set(weights))
    assert weights[0] == 0.02
    assert weights[-1] == 1.0
    assert 0.02 < relevance.weight("cold.py", 4) < relevance.weight("open.py", 0)


def test_distance_counts_steps_between_folders() -> None:
    assert folder_distance("a/b/x", "a/b/y") == 0
    assert folder_distance("a/b/x", "a/y") == 1
    assert folder_distance("a/b/x", "c/y") == 3
    assert folder_distance("x", "y") == 0
