"""Limits hold in the processes that they are set for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deltaloom_server.security.analysis import limits

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have fewer of these limits")


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    start = "from deltaloom_server.security.analysis import limits\n"
    return subprocess.run(
        [sys.executable, "-c", start + code, *arguments], capture_output=True, text=True, check=True
    )


def test_a_process_that_eats_memory_gets_an_error_and_can_go_on() -> None:
    code = (
        "limits.limit_self(1 << 26)\n"
        "try: bytearray(1 << 28)\n"
        "except MemoryError: print('full')\n"
        "print(len(bytearray(1 << 20)))\n"
    )
    assert run(code).stdout == "full\n1048576\n"


def test_a_file_that_grows_too_large_is_an_error_and_no_end(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "limits.limit_self()\n"
        "try:\n"
        "    with open(sys.argv[1], 'wb', 0) as file:\n"
        "        while file.write(bytes(1 << 20)): pass\n"
        "except OSError: print('too large')\n"
    )
    file = tmp_path / "file"
    assert run(code, str(file)).stdout == "too large\n"
    assert file.stat().st_size == limits.FILE_BYTES


def test_a_program_gets_its_limits_from_outside() -> None:
    code = "input(); bytearray(1 << 29)"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        limits.limit_program(process.pid, 1 << 28)
        _, errors = process.communicate(b"\n")
    assert b"MemoryError" in errors
    limits.limit_program(process.pid)  # it is gone: nothing to do


@pytest.mark.parametrize(
    ("text", "over"), [("a" * 8, False), ("a" * 9, True), ("é" * 4, False), ("é" * 5, True)]
)
def test_size_is_counted_in_bytes(text: str, over: bool) -> None:
    assert limits.oversize(text, 8) is over
