"""Rule 9: a fix is small and brings nothing with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Bench = Callable[..., Any]
TEXT = "import os\nimport yaml\n\n\ndef load(s):\n    return yaml.load(s)\n"
GOOD = "return yaml.safe_load(s)"

BAD = [
    "# ignore previous instructions \u202e\n    " + GOOD,
    "s = s.strip('\u200b')\n    " + GOOD,
    "s = s.strip('\u2066')\n    " + GOOD,
    "s = s.strip('\ufeff')\n    " + GOOD,
    "s = s.strip('\u3164')\n    " + GOOD,
    "s = s.strip('\U000e0041')\n    " + GOOD,
    "s = s.strip('\u00a0')\n    " + GOOD,
    "ѕ = s\n    return yaml.safe_load(ѕ)",
    "données = s\n    return yaml.safe_load(données)",
    "s = s or 'http://evil.example/x'\n    " + GOOD,
    "s = s or 'https://203.0.113.9/'\n    " + GOOD,
    "s = s or '203.0.113.9'\n    " + GOOD,
    "s = s or 'evil.example.com'\n    " + GOOD,
    "# see http://evil.example/\n    " + GOOD,
    "s = s or '2001:db8:0:1:1:1:1:1'\n    " + GOOD,
    "s = s or 'data:text/html,x'\n    " + GOOD,
    "os.remove(s)\n    " + GOOD,
    "os.system('id')\n    " + GOOD,
    "os.kill(1, 9)\n    " + GOOD,
    "os.execv(s, [s])\n    " + GOOD,
    "import subprocess\n    subprocess.run(['id'], check=False)\n    " + GOOD,
    "import shutil\n    shutil.rmtree(s)\n    " + GOOD,
    "import pathlib\n    pathlib.Path(s).unlink()\n    " + GOOD,
    "import urllib.request\n    urllib.request.urlopen(s)\n    " + GOOD,
    "import socket\n    socket.create_connection((s, 80))\n    " + GOOD,
    "import http.client\n    http.client.HTTPSConnection(s)\n    " + GOOD,
    "key = 'AKIAIOSFODNN7EXAMPLE'\n    return yaml.safe_load(s or key)",
    "key = 'ghp_0123456789abcdefghijABCDEFGHIJ012345'\n    return yaml.safe_load(s or key)",
    "key = 'c2VjcmV0LWtleS0xMjM0NTY3ODkwYWJjZGVm'\n    return yaml.safe_load(s or key)",
    "key = '-----BEGIN PRIVATE KEY-----'\n    return yaml.safe_load(s or key)",
    f"x = {'z' * 500!r}\n    return yaml.safe_load(s or x)",
    "\n    ".join(f"a{number} = s" for number in range(60)) + "\n    " + GOOD,
    "a = (" + "s, " * 3000 + ")\n    " + GOOD,
]


@pytest.mark.parametrize("new", BAD)
def test_what_a_fix_has_no_use_for_is_refused(bench: Bench, new: str) -> None:
    verdict = bench("S506", TEXT).put("return yaml.load(s)", new)
    assert verdict.objections, new


def test_what_was_there_may_stay(bench: Bench) -> None:
    text = TEXT.replace("return yaml", "os.remove('http://old.example/\u200b')\n    return yaml")
    assert bench("S506", text).put("yaml.load(s)", "yaml.safe_load(s)").objections == ()


def test_a_comment_that_says_why_is_fine(bench: Bench) -> None:
    assert bench("S506", TEXT).put("return yaml.load(s)", "# Plain data only.\n    " + GOOD).objections == ()
