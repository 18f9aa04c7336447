"""Positions are code points, and a name means what the nearest scope says."""

from __future__ import annotations

import ast

import pytest

from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.finding import Span


def _source(text: str) -> Source:
    source = Source.parse(text)
    assert source is not None
    return source


def _calls(source: Source) -> list[ast.Call]:
    return [node for node in ast.walk(source.tree) if isinstance(node, ast.Call)]


def _named(text: str) -> list[str]:
    """What the functions called in a text resolve to, in the order of the text."""
    source = _source(text)
    return [source.qualified(call.func) for call in sorted(_calls(source), key=source.start)]


@pytest.mark.parametrize("text", ["def f(:\n", "x = '\0'\n", "-" * 100_000 + "1"])
def test_text_that_does_not_parse_is_refused(text: str) -> None:
    assert Source.parse(text) is None


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("before", ["", "'äöü'; ", "'🎉𝒳'; ", "'\u2028\f'; "])
def test_positions_count_code_points_whatever_stands_before(before: str, line_end: str) -> None:
    source = _source(f"import a{line_end}{before}a.f('é', x){line_end}")
    [call] = _calls(source)
    assert source.segment(call) == "a.f('é', x)"
    assert source.segment(call.args[1]) == "x"
    assert source.span(call) == Span(1, len(before), 1, len(before) + 11)
    assert source.offset_of(1, len(before)) == source.start(call)
    assert source.line_of(source.start(call)) == 1
    assert source.line_end == line_end


def test_a_position_outside_of_the_text_is_brought_inside() -> None:
    source = _source("f()\ng()")
    assert source.offset_of(0, 99) == 4
    assert source.offset_of(9, 0) == len(source.text)
    assert source.line_start(9) == len(source.text)


def test_calls_nearest_to_a_position_come_first() -> None:
    source = _source("f(1); g(h(2))\nk()\n")
    found = [ast.unparse(call) for call in source.calls_at(Span(0, 6, 0, 7))]
    assert found == ["g(h(2))", "h(2)", "f(1)"]


def test_a_call_that_the_parser_puts_in_the_wrong_place_is_not_among_them() -> None:
    text = 'x = f"""\n\u00e4{a(1)}\n  {b(2)}"""; c(3)\n'
    source = _source(text)
    for line in range(3):
        for call in source.calls_at(Span(line, 0, line, 1)):
            assert source.segment(call) == ast.unparse(call)
    assert "c(3)" in [source.segment(call) for call in source.calls_at(Span(2, 0, 2, 1))]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("import yaml\nyaml.load(x)\n", ["yaml.load"]),
        ("import yaml as y\ny.load(x)\n", ["yaml.load"]),
        ("import os.path\nos.path.join(x)\n", ["os.path.join"]),
        ("import urllib.request as r\nr.urlopen(x)\n", ["urllib.request.urlopen"]),
        ("from yaml import load as l\nl(x)\n", ["yaml.load"]),
        ("from .util import load\nload(x)\n", [".util.load"]),
        ("from . import util\nutil.load(x)\n", [".util.load"]),
        ("eval(x)\n", ["eval"]),
        ("def eval(x): ...\neval(x)\n", [""]),
        ("f().load(x)\n", ["", "f"]),
    ],
)
def test_names_resolve_through_the_imports_of_the_file(text: str, names: list[str]) -> None:
    assert sorted(_named(text)) == sorted(names)


@pytest.mark.parametrize(
    "shadow",
    [
        "def f(yaml):\n    yaml.load(x)\n",
        "def f():\n    yaml = other\n    yaml.load(x)\n",
        "def f():\n    for yaml in x:\n        yaml.load(x)\n",
        "def f():\n    with a as yaml:\n        yaml.load(x)\n",
        "def f(x):\n    match x:\n        case {**yaml}:\n            yaml.load(x)\n",
        "[yaml.load(x) for yaml in x]\n",
        "g = lambda yaml: yaml.load(x)\n",
        "yaml = mine\nyaml.load(x)\n",
        "class yaml: ...\nyaml.load(x)\n",
        "def f():\n    global yaml\n    yaml = 1\n\nyaml.load(x)\n",
        "class A:\n    yaml = 1\n    yaml.load(x)\n",
        "import ruamel as yaml\nyaml.load(x)\n",
        "if (yaml := y):\n    yaml.load(x)\n",
    ],
)
def test_a_name_that_is_bound_otherwise_resolves_to_nothing(shadow: str) -> None:
    assert _named("import yaml\n" + shadow) == [""]


@pytest.mark.parametrize(
    "other",
    [
        "def g(yaml):\n    return yaml\n\ndef f():\n    yaml.load(x)\n",
        "class A:\n    yaml = 1\n    def f(self):\n        yaml.load(x)\n",
        "def f():\n    import yaml\n    yaml.load(x)\n",
        "[yaml for yaml in x]\nyaml.load(x)\n",
        "try:\n    import yaml\nexcept ImportError:\n    yaml = None\nyaml.load(x)\n",
    ],
)
def test_a_binding_in_another_scope_or_a_fallback_does_not_hide_an_import(other: str) -> None:
    assert _named("import yaml\n" + other) == ["yaml.load"]


def test_imports_leave_out_what_is_imported_as_two_things() -> None:
    source = _source(
        "import a\nfrom b import c\ntry:\n    import ujson as json\nexcept E:\n    import json\n"
    )
    assert source.imports == {"a": "a", "c": "b.c"}
    assert {"a", "c", "json"} <= source.bound_names


def test_functions_and_statements_around_a_node_are_the_innermost() -> None:
    source = _source("def f():\n    async def g():\n        return [h(1)]\n")
    [call] = _calls(source)
    function = source.enclosing_function(call)
    assert function is not None
    assert function.name == "g"
    assert isinstance(source.statement(call), ast.Return)
    assert source.indent_of(source.statement(call)) == " " * 8
    assert source.enclosing_function(source.tree.body[0]) is None
