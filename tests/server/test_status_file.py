"""What a server reports can be found by `deltaloom status`, and only while the server lives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from deltaloom_server.status_file import StatusFile, read_reports


def test_a_report_is_read_back_under_its_process(tmp_path: Path) -> None:
    StatusFile(tmp_path).write({"files": 3})
    assert read_reports(tmp_path) == {os.getpid(): {"files": 3}}


def test_the_last_report_replaces_the_one_before_and_nothing_else_stays(tmp_path: Path) -> None:
    file = StatusFile(tmp_path)
    file.write({"files": 3})
    file.write({"files": 4})
    assert read_reports(tmp_path) == {os.getpid(): {"files": 4}}
    assert len(list(tmp_path.iterdir())) == 1


def test_only_the_user_can_read_it(tmp_path: Path) -> None:
    StatusFile(tmp_path).write({})
    (path,) = tmp_path.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_removed_report_is_gone(tmp_path: Path) -> None:
    file = StatusFile(tmp_path)
    file.write({})
    file.remove()
    file.remove()
    assert read_reports(tmp_path) == {}


def test_the_report_of_a_dead_server_is_not_shown_and_goes(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from deltaloom_server.status_file import StatusFile\n"
        "StatusFile(Path(sys.argv[1])).write({'files': 1})"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert len(list(tmp_path.iterdir())) == 1
    assert read_reports(tmp_path) == {}
    assert list(tmp_path.iterdir()) == []


def test_a_report_whose_process_id_was_used_again_is_not_shown(tmp_path: Path) -> None:
    StatusFile(tmp_path).write({"files": 3})
    (path,) = tmp_path.iterdir()
    written = json.loads(path.read_text())
    written["started"] -= 1000
    path.write_text(json.dumps(written))
    assert read_reports(tmp_path) == {}


def test_what_is_not_a_report_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "server-1.json").write_text("{")
    (tmp_path / "server-2.json").write_text("[]")
    (tmp_path / "server-3.json").write_bytes(b"\xff")
    assert read_reports(tmp_path) == {}
