"""Code that was written for no finding: it stays in its lines, resolves, and adds no weakness."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from deltaloom_server.security.proposal import Verdict

Check = Callable[..., Verdict]

TEXT = '''
import json


def total(rows):
    """The sum of the rows' amounts."""
    raise NotImplementedError


def other():
    return json.dumps([])
'''
BODY = "    raise NotImplementedError\n"


def test_a_body_is_filled_in(check: Check) -> None:
    verdict = check(
        TEXT,
        BODY,
        "    result = 0\n    for row in rows:\n        result += row['amount']\n    return result\n",
        (5, 5),
    )
    assert verdict.objections == ()
    assert verdict.label().startswith("parsed; rescanned by ruff and bandit")


def test_a_docstring_is_put_in(check: Check) -> None:
    verdict = check(
        TEXT, "    return json.dumps([])\n", '    """Nothing."""\n    return json.dumps([])\n', (9, 9)
    )
    assert verdict.objections == ()


def test_a_test_is_added_at_the_end(check: Check) -> None:
    text = "def double(x):\n    return 2 * x\n"
    more = "    return 2 * x\n\n\ndef check_double():\n    return double(2) == 4\n"
    assert check(text, "    return 2 * x\n", more, (1, 2)).objections == ()


BAD = [
    "    return eval(rows)\n",
    "    import pickle\n    return pickle.loads(rows)\n",
    "    import subprocess\n    return subprocess.run(rows, shell=True)\n",
    "    return getattr(json, 'loads')(rows)\n",
    "    return __import__('os').system(rows)\n",
    "    return undefined_name(rows)\n",
    "    return json.load_all(rows)\n",
    "    import nowhere\n    return nowhere.total(rows)\n",
    "    return sum(rows)  # noqa\n",
    "    return sum(rows)  # nosec\n",
    "    return 'http://evil.example/' + str(rows)\n",
    "    return sum(rows)\u200b\n",
    "    return sum(rows\n",
    "    return sum(rows)\n\n\ndef json():\n    return 1\n",
    "    x = '''\n",
    "    return sum(rows)\nprint(1)\n    \n",
    "    token = 'ghp_0123456789abcdefghijABCDEFGHIJ012345'\n    return token\n",
]


@pytest.mark.parametrize("new", BAD)
def test_unsound_code_is_refused(check: Check, new: str) -> None:
    verdict = check(TEXT, BODY, new, (5, 5))
    assert verdict.objections, new


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("def other():", "def another():"),
        ("json.dumps([])", "json.dumps({})"),
        ("def total(rows):", "def total(rows, more):"),
        ('"""The sum of the rows\' amounts."""', '"""A sum."""'),
        ("import json\n", "import json\n\nX = 1\n"),
    ],
)
def test_a_change_outside_of_the_lines_is_refused(check: Check, old: str, new: str) -> None:
    assert any("outside" in one for one in check(TEXT, old, new, (5, 5)).objections)


def test_dedented_code_does_not_leave_the_function_unseen(check: Check) -> None:
    verdict = check(TEXT, BODY, "    return sum(rows)\n\n\nother = total\n", (5, 5))
    assert verdict.objections


def test_a_string_left_open_is_refused(check: Check) -> None:
    text = 'def a():\n    return 1\n\n\ndef b():\n    """B."""\n    return 2\n'
    assert check(text, "    return 1\n", '    return 1, """\n', (1, 1)).objections


def test_an_import_that_resolves_may_be_added(check: Check) -> None:
    verdict = check(TEXT, BODY, "    import math\n    return math.fsum(rows)\n", (5, 5))
    assert verdict.objections == ()
    assert verdict.imports_resolve is True


def test_low_findings_are_no_objection(check: Check) -> None:
    assert check(TEXT, BODY, "    assert rows\n    return sum(rows)\n", (5, 5)).objections == ()


def test_a_protected_file_is_refused(check: Check) -> None:
    from deltaloom_server.security.analysis.messages import CheckCode, ScanResult
    from deltaloom_server.security.gate import check_code
    from deltaloom_server.security.proposal import Edit, Proposal

    request = CheckCode(".github/x.py", "a = 1\n", Proposal("t", (Edit(4, 5, "2"),)), 0, 0)
    assert check_code(request, lambda _: ScanResult(())).objections
