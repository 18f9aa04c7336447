"""What stands in an answer: code, words, and nothing of a tool call."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltaloom_model.api import ModelInfo
from deltaloom_server.assist.abilities import refusal
from deltaloom_server.assist.answers import Block, Visible, code_block, fenced_blocks, spoken


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("Here:\n\n```python\nx = 1\n```\nDone.", "x = 1"),
        ("```\nx = 1\ny = 2\n```", "x = 1\ny = 2"),
        ("~~~py\nx = '```'\n~~~\n", "x = '```'"),
        ("````md\n```\ninner\n```\n````", "```\ninner\n```"),
        ("1. so:\n   ```python\n   if x:\n       y()\n   ```", "if x:\n    y()"),
        ("```python\nx = 1\n", "x = 1"),
        ("```python\r\nx = 1\r\n```\r\n", "x = 1"),
        ("```\n```\nthen\n```js\nlet x\n```", "let x"),
        ("```\n\n```", None),
        ("x = 1\nreturn x\n", "x = 1\nreturn x"),
        ("def f():\n    return 1", "def f():\n    return 1"),
        ("Here is the function:\n\ndef f():\n    return 1", None),
        ("It can't be fixed without more context.", None),
        ("# Adds the two numbers up.\nreturn a + b", "# Adds the two numbers up.\nreturn a + b"),
        ("", None),
        ("\n \n", None),
    ],
)  # fmt: skip
def test_code_is_found(answer: str, code: str | None) -> None:
    assert code_block(answer) == code


def test_all_blocks_come_with_their_language() -> None:
    answer = "```Python title=a\nx\n```\n```{.js}\ny\n```\n```\nz"
    assert fenced_blocks(answer) == [Block("python", "x"), Block("js", "y"), Block("", "z", closed=False)]


def test_what_was_thought_is_not_said() -> None:
    assert spoken("<think>\nHm.\n</think>\n\nYes.") == "Yes."
    assert spoken("Yes.") == "Yes."


@given(st.text(), st.text())
def test_any_answer_can_be_looked_at(first: str, second: str) -> None:
    for answer in (first, f"```{first}\n{second}\n```", f"{first}```\n{second}"):
        fenced_blocks(answer)
        code_block(answer)


def shown(text: str, size: int) -> str:
    visible = Visible()
    pieces = [visible.push(text[at : at + size]) for at in range(0, len(text), size)]
    return "".join([*pieces, visible.finish()])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_calls_are_not_shown_however_the_text_comes(size: int) -> None:
    assert shown("Let me see.\n<tool_call>\n<function=f>\n</function>\n</tool_call>", size) == "Let me see.\n"
    assert shown("a < b, <tool>, <b>bold</b> and 1 <", size) == "a < b, <tool>, <b>bold</b> and 1 <"
    assert shown("plain", size) == "plain"


def test_a_refusal_names_the_model_and_what_to_do() -> None:
    nano = ModelInfo("nano", "h")
    assert refusal(nano, "fim") is None
    assert refusal(None, "tools") is None
    why = "nano completes code but doesn't follow instructions; choose an instruct model with model.path."
    assert refusal(nano, "instruct") == refusal(nano, "tools") == why
    asked = ModelInfo("coder", "h", abilities=("fim", "instruct"))
    assert refusal(asked, "instruct") is None
    assert "coder doesn't call tools" in (refusal(asked, "tools") or "")
