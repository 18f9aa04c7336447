from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from deltaloom_server.context.outline import MAX_BYTES, has_grammar, outline
from deltaloom_server.context.outline.docs import block_comment, docstring, line_comments
from deltaloom_server.context.outline.languages import LANGUAGES

BODY = "\n".join(f"        total = total + {i} * rate" for i in range(12))


@pytest.mark.parametrize("suffix", sorted(LANGUAGES))
def test_every_node_type_exists_in_its_grammar(suffix: str) -> None:
    import tree_sitter

    language = LANGUAGES[suffix]
    grammar = tree_sitter.Language(getattr(importlib.import_module(language.module), language.factory)())
    known = {grammar.node_kind_for_id(index) for index in range(grammar.node_kind_count)}
    assert language.node_types <= known


NESTED = {
    "minuses": "X = " + "-" * 100_000 + "1\n",
    "brackets": "X = " + "[" * 50_000,
    "balanced": "X = " + "(" * 20_000 + ")" * 20_000,
    "braces": "{" * 50_000,
    "calls": "f(\n" * 20_000,
    "classes": "class A {\n" * 5_000,
    "indented classes": "".join("  " * i + f"class A{i}:\n" for i in range(400)),
    "angles": "a <\n" * 20_000,
    "arrows": "a =>\n" * 20_000,
    "modules": "module A\n" * 5_000,
    "namespaces": "namespace a {\n" * 5_000,
    "conditions": "#if A\n" * 5_000,
    "quotes": '"' * 20_000,
    "nothing": "",
    "zeros": "\0" * 1000,
    "white space": "\r\f\v\n" * 1000,
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("suffix", ["py", "ts", "tsx", "go", "rs", "java", "c", "cpp", "rb", "php", "cs"])
@pytest.mark.parametrize("kind", NESTED)
def test_no_text_is_too_deep(suffix: str, kind: str) -> None:
    text = ("<?php " if suffix == "php" else "") + NESTED[kind]
    found = outline(f"x.{suffix}", text)
    assert found is None or len(found) < len(text)


def test_a_form_feed_does_not_move_what_follows() -> None:
    text = f"class A:\n    x: int\n\f\n\fdef f(größe):\n    '''Ünï.'''\n{BODY}\n"
    found = outline("a.py", text)
    assert found is not None
    assert found.splitlines()[-2:] == ["def f(größe):", "    '''Ünï.'''"]


def test_a_broken_function_keeps_its_neighbours() -> None:
    text = f"def before():\n{BODY}\n\ndef broken(:\n    return (\n\ndef later(x: int) -> int:\n{BODY}\n"
    assert "def before(): ..." in (outline("a.py", text) or "")


def test_an_outline_is_bounded() -> None:
    text = "".join(f"def function_{i}(value: int) -> int:\n{BODY}\n\n" for i in range(1500))
    found = outline("a.py", text)
    assert found is not None
    assert len(found) < 25_000


def test_what_saves_nothing_or_says_nothing_is_no_outline() -> None:
    assert outline("a.py", "def f(): 1\n") is None
    assert outline("a.py", "print(1)\n" * 50) is None
    assert outline("notes.md", "# Title\n" * 50) is None
    assert outline("Makefile", "all:\n" * 50) is None
    assert outline("a.py", f"def f():\n{BODY}\n" + "#" * MAX_BYTES) is None
    assert has_grammar("src/A.TSX")
    assert not has_grammar("py")


def test_lone_surrogates_and_foreign_letters_do_not_shift_offsets() -> None:
    text = f"# \ud800 ☃ 𝒳\ndef f(名前: str = '☃') -> '𝒳':\n{BODY}\n"
    assert outline("a.py", text) == "def f(名前: str = '☃') -> '𝒳': ...\n"


def test_first_paragraphs_are_closed_again() -> None:
    assert docstring('r"""One.\n\n    Two."""') == 'r"""One."""'
    assert docstring("'''\n    One\n    more.\n    '''") == "'''One\n    more.'''"
    assert docstring('""""""') == ""
    assert len(docstring('"""' + "word " * 500 + '"""')) < 420
    assert block_comment("/** One. */") == "/** One. */"
    assert block_comment("/**\n * One.\n *\n * Two.\n */") == "/**\n * One. */"
    assert block_comment("/**\n * @param x that\n */") == ""
    assert line_comments(["/// One", "/// more", "///", "/// Two"]) == ["/// One", "/// more"]


def test_the_server_starts_without_a_parser() -> None:
    code = (
        "import deltaloom_server.language_server, deltaloom_server.context.planning, sys\n"
        "from deltaloom_server.context.outline import outline\n"
        "assert not [name for name in sys.modules if name.startswith('tree_sitter')]\n"
        "outline('a.py', 'def f():\\n    pass\\n' * 9)\n"
        "assert {name for name in sys.modules if name.startswith('tree_sitter_')} >= {'tree_sitter_python'}\n"
        "assert 'tree_sitter_rust' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
