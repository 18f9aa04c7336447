"""Rule 8: nothing is swallowed, skipped, emptied or made unreachable, and no check goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Bench = Callable[..., Any]

TEXT = """
import yaml


def load(s, strict):
    if not s:
        raise ValueError("empty")
    if strict and s[0] != "{":
        return None
    data = yaml.load(s)
    check(data)
    return data


def check(d): ...
"""
LINE = "    data = yaml.load(s)\n"
GOOD = "    data = yaml.safe_load(s)\n"

BAD = [
    (LINE, "    try:\n        data = yaml.safe_load(s)\n    except Exception:\n        pass\n"),
    (LINE, "    try:\n        data = yaml.safe_load(s)\n    except:\n        data = None\n"),
    (LINE, "    try:\n        data = yaml.safe_load(s)\n    except BaseException:\n        return None\n"),
    (
        LINE,
        (
            "    try:\n        data = yaml.safe_load(s)\n"
            "    except (ValueError, Exception):\n        data = {}\n"
        ),
    ),
    (LINE, "    try:\n        data = yaml.safe_load(s)\n    except ValueError:\n        pass\n"),
    (LINE, "    try:\n        data = yaml.safe_load(s)\n    finally:\n        return None\n"),
    (
        LINE,
        "    import contextlib\n    with contextlib.suppress(Exception):\n        data = yaml.safe_load(s)\n",
    ),
    (LINE, "    import warnings\n    warnings.simplefilter('ignore')\n" + GOOD),
    (LINE, "    return yaml.safe_load(s)\n" + GOOD),
    (LINE, "    return s\n" + GOOD),
    (LINE, "    raise ValueError(s)\n" + GOOD),
    (LINE, "    raise NotImplementedError\n" + GOOD),
    (LINE, "    if strict:\n        raise NotImplementedError('yaml')\n" + GOOD),
    (LINE, "    if strict:\n        return 1\n    else:\n        return 2\n" + GOOD),
    (LINE, "    with open(s) as f:\n        return yaml.safe_load(f)\n" + GOOD),
    (LINE, "    if False:\n        yaml.safe_load(s)\n" + GOOD),
    (LINE, "    if True:\n        data = yaml.safe_load(s)\n"),
    (LINE, "    if not s and s or 1:\n        data = yaml.safe_load(s)\n"),
    (LINE, "    if s == s:\n        data = yaml.safe_load(s)\n"),
    (LINE, "    if len(s) >= 0:\n        data = yaml.safe_load(s)\n"),
    (LINE, "    if isinstance(s, object):\n        data = yaml.safe_load(s)\n"),
    (LINE, "    while 0:\n        yaml.safe_load(s)\n" + GOOD),
    (LINE, "    for _ in ():\n        yaml.safe_load(s)\n" + GOOD),
    (LINE, "    data = yaml.safe_load(s) if True else None\n"),
    (LINE, "    assert strict\n" + GOOD),
    (LINE, "    assert False\n" + GOOD),
    (LINE, "    import sys\n    sys.exit(0)\n" + GOOD),
    (LINE, "    exit()\n" + GOOD),
    (LINE, "    pass\n"),
    (LINE, ""),
    ('        raise ValueError("empty")\n', "        pass\n"),
    ('        raise ValueError("empty")\n', '        print("empty")\n'),
    ("    if not s:\n", "    if s is None:\n"),
    ("    if not s:\n", "    if not s and strict:\n"),
    ('    if not s:\n        raise ValueError("empty")\n', ""),
    ('strict and s[0] != "{"', "strict"),
    ("    check(data)\n", ""),
    ("    check(data)\n", "    if strict:\n        pass\n"),
    ("    return data\n", "    return None\n"),
    ("    return data\n", "    return {}\n"),
]


@pytest.mark.parametrize(("old", "new"), BAD)
def test_a_change_of_what_runs_is_refused(bench: Bench, old: str, new: str) -> None:
    one = bench("S506", TEXT)
    verdict = one.put(LINE, new) if old == LINE else one.put(LINE, GOOD, (old, new))
    assert verdict.objections, new


def test_the_whole_body_is_not_replaced(bench: Bench) -> None:
    one = bench("S506", TEXT)
    body = one.text[one.text.index("    if not s:") : one.text.index("\n\ndef check")]
    for new in (
        "    pass\n",
        "    ...\n",
        "    return None\n",
        "    raise NotImplementedError\n",
        "    raise ValueError(s)\n",
        "    return yaml.safe_load(s)\n",
    ):
        assert one.put(body, new).objections, new


def test_an_added_check_that_turns_bad_input_down_is_fine(bench: Bench) -> None:
    new = '    if len(s) > 10_000:\n        raise ValueError("too long")\n' + GOOD
    assert bench("S506", TEXT).put(LINE, new).objections == ()


def test_an_error_that_is_told_is_fine(bench: Bench) -> None:
    new = (
        "    try:\n        data = yaml.safe_load(s)\n    except yaml.YAMLError as error:\n"
        '        raise ValueError("no YAML") from error\n'
    )
    assert bench("S506", TEXT).put(LINE, new).objections == ()
