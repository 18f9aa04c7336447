"""Texts that an analysis process had put down for a scanner, when it is killed."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path

import pytest

from deltaloom_server.security.analysis.messages import Failed, ScanText
from deltaloom_server.security.analysis.pool import AnalysisPool

HOLDING = """
import os, sys, time
from deltaloom_server.security.analysis import worker
from deltaloom_server.security.scanners import semgrep_program

def serve(request):
    with semgrep_program.private_folder() as folder:
        semgrep_program.write(folder, [("a.js", b"secret()\\n")])
        with open(request.text, "w") as pipe:
            print(folder, file=pipe)
        if request.path == "crash.js":
            os._exit(7)
        time.sleep(1000)

worker.run(serve)
"""


@pytest.mark.parametrize("ending", ["time limit", "close", "crash"])
async def test_they_are_gone_with_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", os.fspath(place))
    monkeypatch.setattr(tempfile, "tempdir", os.fspath(place))
    script = tmp_path / "holding.py"
    script.write_text(HOLDING)
    told = tmp_path / "told"
    os.mkfifo(told)
    pool = AnalysisPool(1, 60.0, command=(sys.executable, "-P", os.fspath(script)))
    try:
        name = "crash.js" if ending == "crash" else "a.js"
        seconds = 3.0 if ending == "time limit" else None
        asking = asyncio.create_task(pool.ask(ScanText(name, os.fspath(told), ()), seconds=seconds))
        folder = Path((await asyncio.to_thread(told.read_text)).strip())
        assert folder.parent == place
        if ending == "close":
            await pool.close()
        reply = await asking
        assert isinstance(reply, Failed), reply
    finally:
        await pool.close()
    assert list(place.iterdir()) == []
