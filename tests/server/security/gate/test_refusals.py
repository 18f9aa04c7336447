"""New definitions pass where all they do is refuse: classes for an unpickler, entities for a parser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Bench = Callable[..., Any]

PICKLE = "import io\nimport pickle\n\n\ndef load(data):\n    return pickle.loads(data)\n"
PLAIN = """    class Plain(pickle.Unpickler):
        def find_class(self, module, name):
            raise pickle.UnpicklingError(f"{module}.{name}")

    return Plain(io.BytesIO(data)).load()
"""
LOADS = "    return pickle.loads(data)\n"
RAISED = 'pickle.UnpicklingError(f"{module}.{name}")'


def test_an_unpickler_that_finds_no_class_loads_plain_data(bench: Bench) -> None:
    assert bench("S301", PICKLE).put(LOADS, PLAIN).objections == ()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (RAISED, "super().find_class(module, name)"),
        (RAISED, "super().find_class(module, name)(1)"),
        ('(f"{module}.{name}")', "(super().find_class(module, name))"),
        (
            "            raise",
            "            if name:\n                return str\n            raise",
        ),
        (f"            raise {RAISED}", "            return super().find_class(module, name)"),
        ("def find_class", "def find_klass"),
        ("    return Plain(", "    Plain = pickle.Unpickler\n    return Plain("),
        ("    return Plain(io.BytesIO(data)).load()", "    Plain(io.BytesIO(data)).load()\n    return {}"),
        ("io.BytesIO(data)", "io.BytesIO(b'')"),
        (
            "    return Plain(",
            "    Plain(io.BytesIO(data)).load()\n    return pickle.Unpickler(",
        ),
        (
            "\n    return",
            "\n        def persistent_load(self, x):\n            return self.make(x)\n\n    return",
        ),
    ],
)
def test_an_unpickler_that_finds_some_or_is_not_used_is_refused(bench: Bench, old: str, new: str) -> None:
    assert PLAIN.count(old) == 1
    assert bench("S301", PICKLE).put(LOADS, PLAIN.replace(old, new)).objections


XML = (
    "from xml.etree import ElementTree\nfrom xml.parsers import expat\n\n\n"
    "def read(text):\n    return ElementTree.fromstring(text)\n"
)
READS = "    return ElementTree.fromstring(text)\n"
PARSER = """    parser = expat.ParserCreate()
    builder = ElementTree.TreeBuilder()

    def refuse(*_):
        raise ValueError("no entities")

    parser.EntityDeclHandler = refuse
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.Parse(text, True)
    return builder.close()
"""
SET = "    parser.EntityDeclHandler = refuse\n"


def test_a_parser_that_refuses_entities_reads_xml(bench: Bench) -> None:
    assert bench("S314", XML).put(READS, PARSER).objections == ()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (SET, ""),
        (SET, "    if text:\n        parser.EntityDeclHandler = refuse\n"),
        (SET, SET + "    parser.EntityDeclHandler = None\n"),
        ("EntityDeclHandler", "CommentHandler"),
        ('raise ValueError("no entities")', "return None"),
        ("parser.Parse(text, True)\n", "parser.Parse(text, True)\n    parser.EntityDeclHandler = refuse\n"),
        ("parser.Parse(text", "parser.Parse('<a/>'"),
        ("    parser.Parse(text, True)\n", ""),
        ("parser.EntityDeclHandler", "builder.EntityDeclHandler"),
    ],
)
def test_a_parser_that_takes_entities_is_refused(bench: Bench, old: str, new: str) -> None:
    changed = PARSER.replace(old, new)
    if "Parse(text, True)\n    parser.Entity" in changed:
        changed = changed.replace(SET, "", 1)
    assert bench("S314", XML).put(READS, changed).objections


SORT = "import yaml\n\n\ndef load(s):\n    rows = yaml.load(s)\n    return sorted(rows)\n"


def test_a_key_to_sort_by_hides_nothing(bench: Bench) -> None:
    one = bench("S506", SORT)
    good = ("yaml.load", "yaml.safe_load")
    assert one.put(*good, ("sorted(rows)", "sorted(rows, key=lambda row: row[0].lower())")).objections == ()
    for key in ("lambda row: eval(row)", "lambda row: load(row)", "lambda row, f=eval: f(row)"):
        assert one.put(*good, ("sorted(rows)", f"sorted(rows, key={key})")).objections, key
