"""How long `deltaloom lint` takes over many Python files, beside bandit and ruff run by hand in the same run.

Invariant: both sides look at the same files, which are installed already and the same for everyone with the
same packages; nothing is remembered from an earlier run; a buffer is timed as an editor sees it, over LSP.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from deltaloom_server.cli.editor import HeadlessEditor
from deltaloom_server.cli.lsp_client import start_server
from deltaloom_server.errors import DeltaloomError
from deltaloom_server.security.scanners.ruff import find_ruff

_SMALLEST, _LARGEST = 500, 200_000
_BUFFER_LINES = 240
_TRIES = 20


def main(argv: Sequence[str] | None = None) -> int:
    """The command line: `--files N --json`. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="deltaloom bench lint", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--files", type=int, default=1000, help="Python files (1000)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args(argv)
    if arguments.files < 1:
        parser.error("--files takes a number of at least 1")
    result = run(arguments.files)
    print(json.dumps(result) if arguments.json else _table(result))
    return 0


def run(files: int) -> dict[str, Any]:
    """Seconds of each run, their ratios, and milliseconds of a buffer. Raises DeltaloomError.

    {"benchmark", "files", "lines", "by_hand": {"bandit", "ruff", "seconds"}, "cold", "warm", "one_changed",
    "cold_ratio" (cold over by_hand), "buffer_milliseconds": {"lines", "median", "worst"}, "findings"}
    """
    with tempfile.TemporaryDirectory(prefix="deltaloom-bench-") as folder:
        top = Path(folder).resolve()
        root = top / "sample"
        lines = _copy_files(root, files)
        bandit = _timed(
            [sys.executable, "-m", "bandit", "-q", "-r", "-f", "json", "-o", os.devnull, "."], root
        )
        ruff = _timed([find_ruff(), "check", "--isolated", "--no-cache", "--select", "S", "-q", "."], root)
        environment = {
            **os.environ,
            "XDG_CACHE_HOME": str(top / "cache"),
            "XDG_STATE_HOME": str(top / "state"),
        }
        report = top / "report.json"
        command = [
            sys.executable, "-P", "-m", "deltaloom_server", "lint", "--quiet", "--exit-zero",
            "--format", "json", "--output", str(report),
        ]  # fmt: skip
        cold = _timed(command, root, environment)
        findings = len(json.loads(report.read_text(encoding="utf-8"))["findings"])
        warm = min(_timed(command, root, environment) for _ in range(3))
        changed = []
        for number, path in enumerate(sorted(root.rglob("*.py"))[:3]):
            path.write_text(f"{path.read_text(encoding='utf-8')}\n# {number}\n", encoding="utf-8")
            changed.append(_timed(command, root, environment))
        buffer = asyncio.run(_buffer(root))
    return {
        "benchmark": "lint",
        "files": files,
        "lines": lines,
        "by_hand": {"bandit": bandit, "ruff": ruff, "seconds": round(bandit + ruff, 2)},
        "cold": cold,
        "warm": warm,
        "one_changed": median(changed),
        "cold_ratio": round(cold / (bandit + ruff), 2),
        "buffer_milliseconds": buffer,
        "findings": findings,
    }


def _copy_files(root: Path, count: int) -> int:
    """The first `count` readable Python files of the library and of what is installed; their lines."""
    lines = copied = 0
    for name in ("stdlib", "purelib"):
        library = Path(sysconfig.get_path(name))
        for path in sorted(library.rglob("*.py")):
            relative = path.relative_to(library)
            if name == "stdlib" and "site-packages" in relative.parts:
                continue
            if {"test", "tests", "__pycache__"} & set(relative.parts) or path.is_symlink():
                continue
            if not _SMALLEST < path.stat().st_size < _LARGEST:
                continue
            try:
                text = path.read_bytes().decode("utf-8")
            except UnicodeDecodeError:
                continue
            target = root / name / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(text.encode("utf-8"))
            lines += text.count("\n")
            copied += 1
            if copied == count:
                return lines
    raise DeltaloomError(f"Only {copied} Python files are installed here; ask for no more with --files.")


def _timed(command: Sequence[str], folder: Path, environment: dict[str, str] | None = None) -> float:
    """Seconds of one run. Raises DeltaloomError where it fails (1 means: something was found)."""
    began = time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False
    )
    if done.returncode not in (0, 1):
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise DeltaloomError(f"{Path(command[0]).name} failed: {said[-1] if said else done.returncode}")
    return round(time.perf_counter() - began, 2)


async def _buffer(root: Path) -> dict[str, float]:
    """How long an editor waits for a buffer's findings after a keystroke."""
    path = root / "buffer.py"
    source = next(
        one for one in sorted(root.rglob("*.py")) if one.read_text(encoding="utf-8").count("\n") > 240
    )
    path.write_text("".join(source.read_text(encoding="utf-8").splitlines(keepends=True)[:_BUFFER_LINES]))
    times = []
    async with start_server([root], {"cache": {"disk_bytes": 0}}) as client:
        editor = HeadlessEditor(client)
        editor.open(path)
        document = {"textDocument": {"uri": path.as_uri()}}
        await client.request("textDocument/diagnostic", document)
        for number in range(_TRIES):
            editor.insert(path, 0, 0, f"# {number}\n")
            began = time.perf_counter()
            await client.request("textDocument/diagnostic", document)
            times.append((time.perf_counter() - began) * 1000)
    return {"lines": _BUFFER_LINES, "median": round(median(times), 1), "worst": round(max(times), 1)}


def _table(result: dict[str, Any]) -> str:
    by_hand, buffer = result["by_hand"], result["buffer_milliseconds"]
    rows = (
        ("bandit and ruff by hand", f"{by_hand['seconds']} s ({by_hand['bandit']} + {by_hand['ruff']})"),
        ("deltaloom lint, cold", f"{result['cold']} s ({result['cold_ratio']} times that)"),
        ("again, nothing changed", f"{result['warm']} s"),
        ("again, one file changed", f"{result['one_changed']} s"),
        (f"a buffer of {buffer['lines']} lines", f"{buffer['median']} ms (worst {buffer['worst']} ms)"),
    )
    head = f"{result['files']} files, {result['lines']:,} lines, {result['findings']} findings"
    return "\n".join((head, *(f"  {name:<28}{value}" for name, value in rows)))
