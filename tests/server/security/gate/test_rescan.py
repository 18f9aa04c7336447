"""Rule 2: the finding is gone, nothing new has come, and only who looked is said to have looked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from deltaloom_server.security.analysis.messages import Judge, ScanResult, ScanText
from deltaloom_server.security.finding import Unscanned
from deltaloom_server.security.gate import judge
from deltaloom_server.security.gate.rescan import CONSEQUENCES
from deltaloom_server.security.proposal import Edit, Proposal

Bench = Callable[..., Any]
Scan = Callable[[ScanText], ScanResult]
TEXT = "import yaml\n\n\ndef load(s):\n    return yaml.load(s)\n\n\ndef more(s):\n    return yaml.load(s)\n"


def test_the_same_weakness_elsewhere_may_stay(bench: Bench) -> None:
    one = bench("S506", TEXT)
    assert (
        one.put(
            "def load(s):\n    return yaml.load(s)", "def load(s):\n    return yaml.safe_load(s)"
        ).objections
        == ()
    )


def test_the_same_weakness_on_another_line_of_the_function_is_still_there(bench: Bench) -> None:
    one = bench("S506", TEXT)
    verdict = one.put(
        "load(s):\n    return yaml.load(s)",
        "load(s):\n    x = yaml.safe_load(s)\n\n    return yaml.load(s) or x",
    )
    assert verdict.objections


def test_of_two_in_a_function_one_may_be_fixed(bench: Bench) -> None:
    text = (
        "import yaml\n\n\ndef load(s, t):\n    a = yaml.load(s)  # <- S506\n"
        "    b = yaml.load(t)\n    return a, b\n"
    )
    one = bench("S506", text)
    assert one.put("yaml.load(s)", "yaml.safe_load(s)").objections == ()
    assert one.put("yaml.load(t)", "yaml.safe_load(t)").objections


def test_a_new_weakness_is_refused(bench: Bench) -> None:
    text = "import os\nimport yaml\n\n\ndef load(s, p):\n    return yaml.load(s)\n"
    for more in (
        "assert s",
        "os.chmod(p, 0o777)",
        "open('/tmp/x')",
        "p = p or 'password'\n    password = 'swordfish1'",
    ):
        verdict = bench("S506", text).put("return yaml.load(s)", f"{more}\n    return yaml.safe_load(s)")
        assert verdict.objections, more


def test_what_a_fix_without_a_shell_still_shows_is_accepted(bench: Bench) -> None:
    text = "import os\n\n\ndef go(n):\n    os.system('git show ' + n)\n"
    verdict = bench("S605", text).put(
        "os.system('git show ' + n)",
        "subprocess.run(['git', 'show', n], check=False)",
        ("import os\n", "import subprocess\n"),
    )
    assert verdict.objections == ()
    assert all(reason for reasons in CONSEQUENCES.values() for reason in reasons.values())


def test_a_scanner_that_could_not_look_vouches_for_nothing(bench: Bench, scanners: Scan) -> None:
    one = bench("S506", TEXT)
    at = one.text.index("yaml.load")
    request = Judge(one.text, one.finding, Proposal("t", (Edit(at, at + 9, "yaml.safe_load"),)))

    def without(scanner: Any) -> Scan:
        def scan(asked: ScanText) -> ScanResult:
            result = scanners(asked)
            kept = tuple(f for f in result.findings if scanner not in f.scanners)
            return ScanResult(
                kept, (*result.unscanned, Unscanned(asked.path, scanner, "it crashed", failed=True))
            )

        return scan

    mine = one.finding.scanners[0]
    assert any("can't be rescanned" in o for o in judge(request, without(mine)).objections)
    other = judge(request, without("deltaloom"))
    assert other.objections == ()
    assert "deltaloom" not in other.rescanned


def test_where_no_scanner_works_nothing_is_offered(bench: Bench) -> None:
    one = bench("S506", TEXT)
    at = one.text.index("yaml.load")
    request = Judge(one.text, one.finding, Proposal("t", (Edit(at, at + 9, "yaml.safe_load"),)))
    assert judge(request, lambda _: ScanResult(())).objections


def test_findings_that_were_known_are_not_new(bench: Bench) -> None:
    text = "import requests\n\n\ndef get(u):\n    return requests.get(u, verify=False)\n"
    one = bench("S501", text)
    verdict = one.put(", verify=False", "")
    assert verdict.objections == ()
