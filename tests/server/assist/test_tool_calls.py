"""Tool calls in Qwen's XML form: read as they were meant, whatever a model writes, in linear time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deltaloom_server.assist import tool_calls
from deltaloom_server.assist.tool_calls import (
    MOST_CALLS,
    ParsedAnswer,
    ToolCall,
    begun_tag,
    parse,
    render_call,
)

READ = ToolCall("read_file", {"path": "shop/order.py", "first_line": "3"})


def one(text: str) -> ToolCall:
    parsed = parse(text)
    assert len(parsed.calls) == 1
    return parsed.calls[0]


def call(*lines: str) -> str:
    return "\n".join(["<tool_call>", "<function=write>", *lines, "</function>", "</tool_call>"])


def test_a_call_after_words_is_read_with_them() -> None:
    parsed = parse(f"I look at the file first.\n\n{render_call(READ)}")
    assert parsed == ParsedAnswer("I look at the file first.", (READ,))


def test_several_calls_come_in_order() -> None:
    calls = (READ, ToolCall("search", {"text": "total("}), ToolCall("list_files"))
    assert parse("\n".join(map(render_call, calls))).calls == calls


def test_words_alone_are_no_call() -> None:
    for text in (
        "",
        "Nothing.",
        "Use <tool_call> and <function=x> for it.",
        "a < b and c > d\n",
        "x\n</function>",
    ):
        assert parse(text) == ParsedAnswer(text)


@pytest.mark.parametrize(
    "value",
    [
        "", " ", "\n", "a\nb\n", "\n\n  a  \n\n", "if a < b > c: return List<Map<K, V>>()",
        "<div><p>x</p></div>", 'text = "</parameter>"', "x = '</parameter></function></tool_call>'",
        "see <parameter=x>", "a</parameter>", "</parameter>\nstill the value",
        "<parameter=a>\n1\n</parameter>", render_call(READ), f"before\n{render_call(READ)}\nafter\n",
        "    </", "\u2028 \x0c \x00", "<tool_call>\nno\n</tool_call>",
    ],
)  # fmt: skip
def test_what_is_rendered_is_read_back(value: str) -> None:
    written = ToolCall("write", {"path": "a.py", "text": value, "last": "z"})
    assert parse(render_call(written)) == ParsedAnswer("", (written,))


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        (call("<parameter=a>1</parameter>", "<parameter=b>2</parameter>"), {"a": "1", "b": "2"}),
        (call("<parameter=a>", "1</parameter>", "<parameter=b>", "2", "</parameter>"), {"a": "1", "b": "2"}),
        (call("  <parameter=a>", "  1", "  </parameter>"), {"a": "  1"}),
        (call("<parameter=a>", "1", "<parameter=b>", "2", "</parameter>"), {"a": "1", "b": "2"}),
        (call("<parameter=a>", "1"), {"a": "1"}),
        (call("<parameter=a>", 'x = "</parameter>"', "y", "<parameter=b>", "2"),
         {"a": 'x = "</parameter>"\ny', "b": "2"}),
        (call("<parameter=a>", 'x = "</parameter></function>"', "y", "<parameter=b>", "2"),
         {"a": 'x = "</parameter></function>"\ny', "b": "2"}),
        (call("<parameter=a>", "1", "</parameter>", "<parameter=a>", "2", "</parameter>"), {"a": "2"}),
        (call(), {}),
        ("<function=write>\n<parameter=a>\n1\n</parameter>\n</function>", {"a": "1"}),
        ("<tool_call><function=write><parameter=a>1</parameter></function></tool_call>", {"a": "1"}),
        ("<tool_call>\n<function=write>\n<parameter=a>\n1\n</parameter>\n</tool_call>", {"a": "1"}),
        ("<tool_call>\n\n<function= write >\n<parameter= a >\n1\n</parameter>\n</function>", {"a": "1"}),
    ],
)  # fmt: skip
def test_sloppy_calls_are_read_as_they_were_meant(text: str, arguments: dict[str, str]) -> None:
    found = one(text)
    assert (found.name, dict(found.arguments)) == ("write", arguments)


def test_a_missing_end_does_not_swallow_the_next_call() -> None:
    text = "<tool_call>\n<function=a>\n<parameter=x>\n1\n" + render_call(READ)
    assert parse(text).calls == (ToolCall("a", {"x": "1"}), READ)


def test_an_answer_that_still_comes_is_incomplete_until_it_is_whole() -> None:
    text = f"Well.\n{render_call(READ)}"
    start = text.index("<tool_call>\n<function=read_file>") + len("<tool_call>\n<function=read_file>")
    for end in range(start, len(text) - len("</function>\n</tool_call>")):
        parsed = parse(text[:end])
        assert (parsed.text, parsed.complete) == ("Well.", False)
        assert parsed.calls[0].name == "read_file"
        for name, value in parsed.calls[0].arguments.items():
            assert READ.arguments[name].startswith(value)
    assert parse(text).complete


def test_a_tag_that_is_begun_is_no_value() -> None:
    assert one("<tool_call>\n<function=f>\n<parameter=a>\nvalue\n</param").arguments == {"a": "value"}
    assert begun_tag("a <tool_ca") == 2
    assert begun_tag("a <b") is None
    assert begun_tag("<parameter=x>") is None


def test_more_calls_than_anybody_needs_are_left_alone() -> None:
    assert len(parse(render_call(READ) * 100).calls) == MOST_CALLS


PIECES = (
    "<tool_call>", "</tool_call>", "<function=f>", "</function>", "<parameter=a>", "<parameter=b>",
    "</parameter>", "\n", "\n", "\n", " ", "x", "<", ">", "</", "=", "<function=", "<parameter=", '"', "\r\n",
    "é", "\x00", "\u2028",
)  # fmt: skip
SOUP = st.lists(st.sampled_from(PIECES), max_size=60).map("".join)


@settings(max_examples=400, deadline=None)
@given(st.one_of(SOUP, st.text()))
@example("<function=f><parameter=a></parameter")
def test_nothing_makes_it_fail(text: str) -> None:
    parsed = parse(text)
    assert text.startswith(parsed.text)
    for found in parsed.calls:
        assert found.name
        assert all(value in text for value in found.arguments.values())
    if not parsed.calls:
        assert parsed.text == text


NAME = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.\-]{0,20}", fullmatch=True)
PLAIN = st.text(st.characters(exclude_categories=["Cs"])).filter(
    lambda text: not any(line.lstrip().startswith("<") for line in text.split("\n"))
)
NESTING = st.recursive(
    PLAIN,
    lambda inner: st.builds(
        lambda name, values: render_call(ToolCall(name, values)), NAME, st.dictionaries(NAME, inner)
    ),
    max_leaves=4,
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.builds(ToolCall, NAME, st.dictionaries(NAME, st.one_of(PLAIN, NESTING), max_size=4)), max_size=4
    )
)
def test_every_call_that_is_written_is_read(calls: list[ToolCall]) -> None:
    parsed = parse("Some words.\n\n" + "\n".join(map(render_call, calls)))
    assert parsed.calls == tuple(calls)
    assert parsed.complete


# --- time: counted in operations, not with a clock ---------------------------------------------------------


class Measured(str):
    """A text that notes how much of it is copied out."""

    copied = 0

    def __getitem__(self, key: Any) -> str:
        piece = super().__getitem__(key)
        Measured.copied += len(piece)
        return Measured(piece)


def effort(text: str) -> int:
    """Lines that the parser runs, and characters that it copies."""
    lines = 0

    def trace(frame: FrameType, event: str, _argument: object) -> Callable[..., Any] | None:
        nonlocal lines
        if frame.f_code.co_filename != tool_calls.__file__:
            return None
        lines += event == "line"
        return trace

    Measured.copied, before = 0, sys.gettrace()
    sys.settrace(trace)
    try:
        parse(Measured(text))
    finally:
        sys.settrace(before)
    return lines + Measured.copied


@pytest.mark.parametrize(
    "unit",
    [
        "<tool_call>\n<function=f>\n", "<parameter=a>\n", "</parameter>\n", "</parameter>", "<tool_call>",
        "<function=f>\n<parameter=a>\nx\n", render_call(READ) + "\n", "x" * 50, "<", "\n",
        "<parameter=" + "a" * 150, "<parameter=a>\n</parameter>x\n",
    ],
)  # fmt: skip
@pytest.mark.parametrize("start", ["", "<tool_call>\n<function=f>\n<parameter=a>\n"])
def test_twice_the_text_takes_twice_the_work(start: str, unit: str) -> None:
    count = 4000 // len(unit) + 200
    small, large = effort(start + unit * count), effort(start + unit * count * 4)
    assert large <= 4.4 * small + 2000


def test_a_huge_text_is_looked_at_only_at_its_beginning() -> None:
    parsed = parse(render_call(READ) + "x" * (4 << 20))
    assert parsed == ParsedAnswer("", (READ,), complete=False)
