"""`deltaloom logs` shows and follows the logs."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
from pathlib import Path


def _folder(home) -> Path:
    folder = home.root / "state" / "deltaloom" / "log"
    folder.mkdir(parents=True)
    return folder


def test_the_path_alone_is_printed(home) -> None:
    assert home.run("logs", "--path").stdout == f"{home.root / 'state' / 'deltaloom' / 'log'}\n"


def test_no_logs_yet_is_not_an_error(home) -> None:
    done = home.run("logs")
    assert done.returncode == 0
    assert "no logs" in done.stdout


def test_the_last_lines_of_each_log_are_shown(home) -> None:
    folder = _folder(home)
    (folder / "server.log").write_text("".join(f"server {n}\n" for n in range(10)))
    (folder / "worker-a.log").write_bytes(b"worker \xff\n")
    done = home.run("logs", "--lines", "2")
    assert "server 9" in done.stdout
    assert "server 8" in done.stdout
    assert "server 7" not in done.stdout
    assert "worker" in done.stdout


def test_zero_lines_shows_only_names(home) -> None:
    (_folder(home) / "server.log").write_text("secretless\n")
    done = home.run("logs", "--lines", "0")
    assert "server.log" in done.stdout
    assert "secretless" not in done.stdout


def test_following_shows_new_lines_and_survives_a_rotation(home) -> None:
    log = _folder(home) / "server.log"
    log.write_text("first\n")
    process = subprocess.Popen(
        [sys.executable, "-u", "-P", "-m", "deltaloom_server", "logs", "--follow"],
        stdout=subprocess.PIPE,
        text=True,
        env=home.environment,
    )
    assert process.stdout is not None
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=lambda: [lines.put(line) for line in process.stdout], daemon=True).start()

    def wait_for(text: str) -> None:
        while text not in lines.get(timeout=30):
            pass

    try:
        wait_for("first")
        with log.open("a") as file:
            file.write("second\n")
        wait_for("second")
        log.rename(log.with_suffix(".log.1"))
        log.write_text("third\n")
        wait_for("third")
    finally:
        process.terminate()
        process.wait()
