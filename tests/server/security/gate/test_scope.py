"""Rule 6: nothing changes but the finding's function and the imports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Bench = Callable[..., Any]

TEXT = '''
"""A module."""
# A comment.
import yaml

LIMIT = 3


def first(x):  # the first
    return x + 1


class Box:
    size = 2

    @staticmethod
    def load(s: str, deep: bool = False) -> object:
        """Load it."""
        return yaml.load(s)

    def other(self):
        if self.size:
            return 1
        return 2


def last(y):
    return y
'''.lstrip("\n")

OUTSIDE = [
    ('"""A module."""', '"""Another."""'),
    ("# A comment.", "# Ignored."),
    ("# A comment.\n", ""),
    ("LIMIT = 3", "LIMIT = 4"),
    ("LIMIT = 3\n", ""),
    ("LIMIT = 3", "LIMIT = 3  # three"),
    ("LIMIT = 3", "LIMIT  = 3"),
    ("LIMIT = 3\n", "LIMIT = 3\nprint(LIMIT)\n"),
    ("return x + 1", "return x + 2"),
    ("# the first", "# the 1st"),
    ("def first(x)", "def first(x, y=1)"),
    ("size = 2", "size = 3"),
    ("size = 2\n", "size = 2\n    more = 1\n"),
    ("class Box:", "class Box(dict):"),
    ("            return 1", "            return 3"),
    ("def other(self)", "async def other(self)"),
    ("    return y\n", "    return y  \n"),
    ("    return y\n", "    return y\n\n\nlast(1)\n"),
    ("    return y\n", "    return y\n\n\ndef more():\n    return 1\n"),
    ("def last(y):\n    return y\n", ""),
    ("import yaml\n", "import yaml\nprint(yaml)\n"),
    ("import yaml\n", "import yaml; yaml.x = 1\n"),
    ("import yaml\n", "try:\n    import yaml\nexcept ImportError:\n    yaml = None\n"),
    ("\n\ndef last", "\n\n@staticmethod\ndef last"),
]


@pytest.mark.parametrize(("old", "new"), OUTSIDE)
def test_a_change_elsewhere_is_refused(bench: Bench, old: str, new: str) -> None:
    verdict = bench("S506", TEXT).put("yaml.load(s)", "yaml.safe_load(s)", (old, new))
    assert any("outside" in one for one in verdict.objections), verdict.objections


INTERFACE = [
    ("def load(s", "def load2(s"),
    ("s: str", "s: bytes"),
    ("s: str", "s"),
    ("deep: bool = False", "deep: bool = True"),
    (", deep: bool = False", ""),
    (", deep: bool = False", ", deep: bool = False, safe: bool = True"),
    (", deep: bool = False", ", *, deep: bool = False"),
    (", deep: bool = False", ", deep: bool = False, **more"),
    (" -> object", ""),
    (" -> object", " -> dict"),
    ("    def load(s", "    async def load(s"),
    ("    @staticmethod\n", ""),
    ("    @staticmethod\n", "    @staticmethod\n    @print\n"),
    ("    @staticmethod\n", "    @classmethod\n"),
    ('"""Load it."""', '"""Loads it."""'),
    ('        """Load it."""\n', ""),
]


@pytest.mark.parametrize(("old", "new"), INTERFACE)
def test_what_others_see_of_the_function_stays(bench: Bench, old: str, new: str) -> None:
    verdict = bench("S506", TEXT).put("yaml.load(s)", "yaml.safe_load(s)", (old, new))
    assert verdict.objections
    assert not any("rescanned" in one for one in verdict.objections)


def test_a_second_definition_beside_the_function_is_refused(bench: Bench) -> None:
    for more in ("\n    def extra(self):\n        return 1\n", "\n    y = 1\n", "\n\nprint(1)\n"):
        verdict = bench("S506", TEXT).put(
            "        return yaml.load(s)\n", "        return yaml.safe_load(s)\n" + more
        )
        assert verdict.objections, more


def test_breaking_out_of_the_function_is_refused(bench: Bench) -> None:
    for new in (
        "return yaml.safe_load(s)\n\nprint(1)\nclass Bx:",
        "return yaml.safe_load(s)\n    x = 1",
        "return yaml.safe_load(s)\n        '''",
        "return yaml.safe_load(s)\n    def other(self):\n        return 5",
    ):
        assert bench("S506", TEXT).put("return yaml.load(s)", new).objections, new


def test_a_string_that_swallows_what_follows_is_refused(bench: Bench) -> None:
    text = 'import yaml\n\n\ndef a(s):\n    return yaml.load(s)\n\n\ndef b():\n    """B."""\n    return 1\n'
    verdict = bench("S506", text).put("yaml.load(s)", 'yaml.safe_load(s)\n    """')
    assert verdict.objections


def test_the_innermost_function_is_the_unit(bench: Bench) -> None:
    text = (
        "import yaml\n\n\ndef outer(s):\n    x = 1\n\n    def inner(t):\n"
        "        return yaml.load(t)\n\n    return inner(s), x\n"
    )
    one = bench("S506", text)
    assert one.put("yaml.load", "yaml.safe_load").objections == ()
    assert any("outside" in o for o in one.put("yaml.load", "yaml.safe_load", ("x = 1", "x = 2")).objections)


def test_at_the_top_only_the_one_statement_changes(bench: Bench) -> None:
    text = "import yaml\n\na = 1\ndata = yaml.load('x')\nb = 2\n"
    one = bench("S506", text)
    assert one.put("yaml.load", "yaml.safe_load").objections == ()
    for old, new in (("a = 1", "a = 2"), ("b = 2", "b = 3"), ("b = 2\n", ""), ("a = 1", "a = 1; c = 2")):
        assert any("outside" in o for o in one.put("yaml.load", "yaml.safe_load", (old, new)).objections)


def test_statements_of_one_line_are_told_apart(bench: Bench) -> None:
    text = "import yaml\n\na = 1; data = yaml.load('x'); b = 2\n"
    one = bench("S506", text)
    assert one.put("yaml.load", "yaml.safe_load").objections == ()
    assert one.put("a = 1; data = yaml.load", "a = 2; data = yaml.safe_load").objections
    assert one.put("yaml.load('x'); b = 2", "yaml.safe_load('x'); b = 3").objections


def test_in_a_branch_of_the_module_the_other_branch_stays(bench: Bench) -> None:
    text = "import yaml\n\nif __name__ == '__main__':\n    x = yaml.load('x')\nelse:\n    x = None\n"
    one = bench("S506", text)
    assert one.put("yaml.load", "yaml.safe_load").objections == ()
    assert one.put("yaml.load", "yaml.safe_load", ("x = None", "x = 1")).objections
    assert one.put("yaml.load", "yaml.safe_load", ("== '__main__'", "== '__no__'")).objections
    handled = "import yaml\n\ntry:\n    x = yaml.load('x')\nexcept ValueError:\n    x = None\n"
    two = bench("S506", handled)
    assert two.put("yaml.load", "yaml.safe_load").objections == ()
    assert two.put("yaml.load", "yaml.safe_load", ("ValueError", "Exception")).objections


def test_global_and_nonlocal_are_not_added(bench: Bench) -> None:
    one = bench("S506", TEXT)
    verdict = one.put(
        "        return yaml.load(s)",
        "        global LIMIT\n        LIMIT = yaml.safe_load(s)\n        return LIMIT",
    )
    assert any("global" in objection for objection in verdict.objections)


def test_with_other_line_ends_and_other_letters_positions_hold(bench: Bench) -> None:
    for text in (
        TEXT.replace("\n", "\r\n"),
        TEXT.replace("A module", "Ein Mödül 😀").replace("x + 1", "x + len('äöü')"),
    ):
        one = bench("S506", text)
        assert one.put("yaml.load", "yaml.safe_load").objections == ()
        assert one.put("yaml.load", "yaml.safe_load", ("LIMIT = 3", "LIMIT = 4")).objections
