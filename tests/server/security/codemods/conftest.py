"""What the tests of codemods share: real findings, from the scanners themselves."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from deltaloom_server.security.finding import Finding, Scanner, Span
from deltaloom_server.security.rules import canonical
from deltaloom_server.security.scanners import own


@pytest.fixture(scope="session")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Sequence[str]], list[list[Finding]]]:
    """The findings of ruff, of bandit and of our own checks in each of some texts, not merged."""

    def scan_all(texts: Sequence[str]) -> list[list[Finding]]:
        folder = tmp_path_factory.mktemp("texts")
        for number, text in enumerate(texts):
            (folder / f"text_{number}.py").write_bytes(text.encode("utf-8"))
        found: list[list[Finding]] = [[] for _ in texts]
        for finding in [*_ruff(folder), *_bandit(folder)]:
            found[int(Path(finding.path).stem.removeprefix("text_"))].append(finding)
        for number, text in enumerate(texts):
            found[number] += own.scan(f"text_{number}.py", text)
        return found

    return scan_all


def _ruff(folder: Path) -> list[Finding]:
    command = ["ruff", "check", "--isolated", "--no-cache", "--select", "S", "--ignore-noqa"]
    command += ["--output-format", "json", str(folder)]
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    findings = []
    for one in json.loads(done.stdout):
        assert one["code"], one
        start, end = one["location"], one["end_location"]
        span = Span(start["row"] - 1, start["column"] - 1, end["row"] - 1, end["column"] - 1)
        findings.append(_finding(one["code"], one["filename"], one["message"], span, "ruff"))
    return findings


def _bandit(folder: Path) -> list[Finding]:
    command = ["bandit", "-q", "-r", str(folder), "-f", "json", "--ignore-nosec"]
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    report = json.loads(done.stdout)
    assert not report["errors"], report["errors"]
    findings = []
    for one in report["results"]:
        line, last = one["line_number"] - 1, one["line_range"][-1] - 1
        span = Span(line, one["col_offset"], max(line, last), one["end_col_offset"])
        findings.append(
            _finding(canonical(one["test_id"]), one["filename"], one["issue_text"], span, "bandit")
        )
    return findings


def _finding(rule: str, path: str, message: str, span: Span, scanner: Scanner) -> Finding:
    return Finding(rule, message, path, span, "medium", "medium", (scanner,))
