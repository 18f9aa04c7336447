"""The tools find and read what the context may show, and nothing else."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import pytest_asyncio

from deltaloom_server.assist.definitions import find_definitions
from deltaloom_server.assist.lookup import Sight
from deltaloom_server.assist.tool_calls import ToolCall, parse
from deltaloom_server.assist.tools import (
    MOST_CHARACTERS,
    MOST_LINES,
    TOOLS,
    ToolBox,
    ToolResult,
    tools_prompt,
)
from deltaloom_server.session import Session

Use = Callable[..., Awaitable[ToolResult]]


@pytest_asyncio.fixture
async def use(session: Session, executor: ThreadPoolExecutor) -> AsyncIterator[Use]:
    async def run(tool: str, /, **arguments: str) -> ToolResult:
        return await ToolBox(Sight.of(session), executor).run(ToolCall(tool, arguments))

    yield run


def open_document(session: Session, root: Path, path: str, text: str) -> str:
    uri = (root / path).as_uri()
    session.open_document(uri, "python", 1, text)
    return uri


# --- what there is ----------------------------------------------------------------------------------------


async def test_a_symbol_is_found_in_every_language(use: Use) -> None:
    result = await use("find_symbol", name="total")
    assert result.text.splitlines() == [
        "notes.txt, lines 1 to 1: total",
        "    def total is in order.py",
        "shop/order.py, lines 7 to 9: Order.total",
        "        def total(self) -> int:",
        '            """The sum."""',
        "            return sum(self.prices)",
        "shop/order.py, lines 12 to 12: total",
        "    def total() -> None: ...",
        "shop/user.js, lines 2 to 2: User.total",
        "      total() { return 1; }",
    ]
    assert result.paths == ("notes.txt", "shop/order.py", "shop/user.js")


@pytest.mark.parametrize("name", ["Order.total", "Order::total", " Order.total() "])
async def test_a_qualified_name_narrows_the_search(use: Use, name: str) -> None:
    result = await use("find_symbol", name=name)
    assert "shop/order.py, lines 7 to 9: Order.total" in result.text
    assert "lines 12 to 12" not in result.text


@pytest.mark.parametrize(("name", "line"), [("LIMIT", "lines 3 to 3"), ("limit", "user.js, lines 4 to 4")])
async def test_constants_are_definitions(use: Use, name: str, line: str) -> None:
    assert line in (await use("find_symbol", name=name)).text


async def test_what_is_defined_nowhere_is_said(use: Use) -> None:
    result = await use("find_symbol", name="missing")
    assert result == ToolResult("No definition of 'missing' was found; search finds where it is used.")


async def test_a_file_is_read_in_part(use: Use) -> None:
    whole = await use("read_file", path="shop/order.py")
    assert whole.text.startswith('shop/order.py, lines 1 to 12 of 12:\n"""Orders."""\n')
    part = await use("read_file", path="./shop/../shop/order.py", first_line="6", last_line="7")
    assert part.text == "shop/order.py, lines 6 to 7 of 12:\nclass Order:\n    def total(self) -> int:"
    assert part.paths == ("shop/order.py",)
    beyond = await use("read_file", path="shop/order.py", first_line="40")
    assert beyond.text == "shop/order.py has 12 lines; ask for some of them."
    odd = await use("read_file", path="/shop/order.py", first_line="-3", last_line="many")
    assert odd.text == whole.text
    assert (await use("read_file", path="empty.py")).text == "empty.py is empty."


async def test_an_absolute_path_inside_the_root_is_understood(use: Use, workspace: Path) -> None:
    assert "class Order" in (await use("read_file", path=str(workspace / "shop/order.py"))).text


async def test_a_text_is_searched_in_all_files(use: Use) -> None:
    result = await use("search", text="total(")
    assert result.text.splitlines() == [
        "shop/order.py:7: def total(self) -> int:",
        "shop/order.py:12: def total() -> None: ...",
        "shop/user.js:2: total() { return 1; }",
    ]
    assert (await use("search", text="[a-z]+")).text == "No file holds '[a-z]+'."


async def test_folders_are_listed(use: Use) -> None:
    top = (await use("list_files", folder="")).text.splitlines()
    assert top == [".gitignore", "keys.py", "notes.txt", "shop/ (2 files)"]
    for folder in ("shop", "shop/", "./shop", "/shop"):
        assert (await use("list_files", folder=folder)).text.splitlines() == ["order.py", "user.js"]
    assert (await use("list_files", folder=".")).text == "\n".join(top)


# --- what may not be shown ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        ".env", "ignored/hidden.py", "keys.py", "node_modules/x/index.js", "link.py", "linked/outside.py",
        "../outside.py", "shop/../../outside.py", "/etc/passwd", ".git/config", "", ".", "shop", "missing.py",
        "no\x00name", "a" * 5000,
    ],
)  # fmt: skip
async def test_what_may_not_be_shown_is_not_there(use: Use, path: str) -> None:
    result = await use("read_file", path=path)
    assert result.text.startswith("There is no file ")
    assert result.paths == ()


async def test_no_tool_finds_a_hidden_word(use: Use) -> None:
    assert (await use("search", text="SECRET_WORD")).text == "notes.txt:2: SECRET_WORD never"
    for folder in ("ignored", "node_modules", "linked", "..", "../", "/etc"):
        result = await use("list_files", folder=folder)
        assert "hidden" not in result.text
        assert "outside" not in result.text
    listed = (await use("list_files", folder="")).text
    assert not {".env", "link.py", "ignored", "linked"} & set(listed.split())
    assert "hidden.py" not in (await use("find_symbol", name="total")).text


async def test_what_is_hidden_meanwhile_is_not_shown_any_more(session: Session, use: Use) -> None:
    from deltaloom_server.context.reasons import Reason

    assert session.context is not None
    session.context.exclude("notes.txt", Reason.IGNORED)
    assert (await use("read_file", path="notes.txt")).text.startswith("There is no file")
    assert "notes.txt" not in (await use("search", text="SECRET_WORD")).text
    assert "notes.txt" not in (await use("list_files", folder="")).text


async def test_a_file_exchanged_for_a_link_is_not_followed(
    session: Session, executor: ThreadPoolExecutor, workspace: Path, tmp_path: Path
) -> None:
    box = ToolBox(Sight.of(session), executor)
    assert "notes.txt" in (await box.run(ToolCall("list_files", {"folder": ""}))).text
    (workspace / "notes.txt").unlink()
    (workspace / "notes.txt").symlink_to(tmp_path / "outside.py")
    assert (await box.run(ToolCall("search", {"text": "SECRET_WORD"}))).text == "No file holds 'SECRET_WORD'."
    os.rename(workspace / "shop", tmp_path / "elsewhere")
    (workspace / "shop").symlink_to(tmp_path / "elsewhere")
    assert (await box.run(ToolCall("search", {"text": "total("}))).text == "No file holds 'total('."


# --- open documents -----------------------------------------------------------------------------------------


async def test_the_live_text_counts_before_the_disks(session: Session, use: Use, workspace: Path) -> None:
    uri = open_document(session, workspace, "shop/order.py", "def live(): ...\r\nSECOND = 2\r\n")
    assert (await use("read_file", path="shop/order.py")).text.endswith("def live(): ...\nSECOND = 2")
    assert (await use("search", text="class Order")).text == "No file holds 'class Order'."
    assert "lines 2 to 2: SECOND" in (await use("find_symbol", name="SECOND")).text
    session.close_document(uri)
    session.settle_closed("shop/order.py", "class Order: ...\n")
    assert "class Order" in (await use("read_file", path="shop/order.py")).text


async def test_a_new_document_is_there_before_it_is_saved(
    session: Session, use: Use, workspace: Path
) -> None:
    open_document(session, workspace, "shop/fresh.py", "def fresh(): ...\n")
    assert (await use("list_files", folder="shop")).text.splitlines() == ["fresh.py", "order.py", "user.js"]
    assert "shop/fresh.py, lines 1 to 1" in (await use("find_symbol", name="fresh")).text


@pytest.mark.parametrize(
    ("path", "text"),
    [("notes.txt", "KEY = 'ghp_" + "b" * 40 + "'\n"), (".env", "A=1\n"), ("ignored/hidden.py", "A\n")],
)
async def test_a_buffer_that_may_not_be_shown_hides_the_file(
    session: Session, use: Use, workspace: Path, path: str, text: str
) -> None:
    assert session.context is not None
    open_document(session, workspace, path, text)
    assert (await use("read_file", path=path)).text.startswith("There is no file")


# --- bounds and other sentences -----------------------------------------------------------------------------


async def test_results_are_bounded(use: Use, workspace: Path) -> None:
    (workspace / "many.py").write_text("".join(f"def f{i}(): pass  # needle\n" for i in range(2000)))
    (workspace / "long.py").write_text("x = 1  # " + "needle " * 40_000 + "\n")
    for number in range(400):
        (workspace / f"file{number}.py").write_text("def same(): pass\n")
    read = await use("read_file", path="many.py")
    assert read.text.startswith(f"many.py, lines 1 to {MOST_LINES} of 2000:")
    for result in (
        read,
        await use("read_file", path="long.py"),
        await use("search", text="needle"),
        await use("find_symbol", name="same"),
        await use("list_files", folder=""),
    ):
        assert len(result.text) <= MOST_CHARACTERS + 100
        assert len(result.text.splitlines()) <= MOST_LINES + 1


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        (
            "write_file",
            {"path": "a"},
            "There is no function 'write_file'; call one of find_symbol, read_file",
        ),
        ("find_symbol", {}, "Say which name"),
        ("search", {"text": "  "}, "Give one line"),
        ("search", {"text": "a\nb"}, "Give one line"),
        ("search", {"text": "x" * 500}, "Give one line"),
        ("list_files", {"folder": "../.."}, "That folder isn't part"),
        ("list_files", {"folder": "nowhere"}, "There is no folder 'nowhere'"),
    ],
)
async def test_what_cannot_be_done_is_a_sentence(
    use: Use, name: str, arguments: dict[str, str], says: str
) -> None:
    result = await use(name, **arguments)
    assert result.text.startswith(says)
    assert result.text.endswith(".")


async def test_a_session_without_a_folder_shows_nothing(executor: ThreadPoolExecutor) -> None:
    box = ToolBox(Sight.of(Session("alone")), executor)
    assert (await box.run(ToolCall("read_file", {"path": "/etc/passwd"}))).text.startswith("There is no file")
    assert (await box.run(ToolCall("search", {"text": "root"}))).text == "No file holds 'root'."


def test_the_model_is_told_of_every_tool_in_its_own_form() -> None:
    prompt = tools_prompt()
    listed = prompt.split("<tools>\n")[1].split("\n</tools>")[0].splitlines()
    assert [json.loads(line)["function"]["name"] for line in listed] == [tool.name for tool in TOOLS]
    assert [call.name for call in parse(prompt).calls] == ["example_function_name"]


@pytest.mark.parametrize(
    ("path", "text", "name", "lines"),
    [
        ("a.py", "@deco\nclass A:\n    x = 1\n", "A", [(1, 3)]),
        ("a.py", "def outer():\n    def inner(): ...\n", "inner", [(2, 2)]),
        ("a.go", "package a\n\ntype T struct{}\n\nfunc (t T) Do() {}\n", "Do", [(5, 5)]),
        ("a.go", "package a\n\ntype T struct{}\n", "T", [(3, 3)]),
        ("a.c", "int *make(int x) { return 0; }\n", "make", [(1, 1)]),
        ("a.java", "class A {\n  int f() { return 1; }\n}\n", "f", [(2, 2)]),
        ("a.ts", "export interface I { x: number }\n", "I", [(1, 1)]),
        ("a.py", "total()\nx.total = total\n", "nothing", []),
        ("a.unknown", "fn go() {}\ngo()\n", "go", [(1, 1)]),
        ("a.py", "(" * 100_000, "x", []),
        ("a.py", "x = " + "-" * 100_000 + "1\n", "x", [(1, 1)]),
    ],
)  # fmt: skip
def test_definitions_by_language(path: str, text: str, name: str, lines: list[tuple[int, int]]) -> None:
    assert [(found.first, found.last) for found in find_definitions(path, text, name)] == lines
