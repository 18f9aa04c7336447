"""`deltaloom lint` as CI runs it: what counts, what it exits with, and what it leaves behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

SHELL = 'import subprocess\n\n\ndef run(name):\n    return subprocess.run(f"ls {name}", shell=True)\n'
YAML = "import yaml\n\n\ndef read(text):\n    return yaml.load(text)\n"


def test_nothing_found_is_0_something_is_1_and_what_is_below_the_threshold_does_not_count(
    repository: Any,
) -> None:
    repository.write("a.py", "assert True\n")
    assert repository.lint().status == 0
    assert repository.lint("--severity", "low").status == 1
    repository.write("b.py", SHELL)
    assert repository.lint().status == 1
    assert repository.lint("--exit-zero").status == 0
    assert repository.lint("--severity", "critical").status == 0
    assert repository.lint("--ignore", "S602").status == 0
    assert repository.lint("--select", "CWE-78").status == 1
    assert repository.lint("a.py").status == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["nowhere.py"],
        ["--select", "X9"],
        ["--baseline", "nowhere.json"],
        ["--diff-base", "nowhere"],
        ["--fix", "--diff"],
        ["--shard", "3/2"],
        ["--from-sarif", "nowhere.sarif"],
        ["merge", "nowhere.json"],
        ["--bogus"],
    ],
    ids=" ".join,
)
def test_what_can_not_be_done_is_2_and_a_sentence(repository: Any, arguments: list[str]) -> None:
    repository.write("a.py", "x = 1\n")
    repository.commit()
    repository.lint(*arguments).failed_with_a_sentence()


def test_a_report_is_the_same_from_a_subfolder(repository: Any) -> None:
    repository.write("src/a.py", SHELL)
    repository.write("b.py", SHELL)
    from_top = repository.lint("--format", "json", "src").json
    below = repository.lint("--format", "json", cwd=repository.root / "src").json
    assert from_top["findings"] == below["findings"]
    assert len(below["findings"]) == len(from_top["findings"]) > 0


def test_an_empty_repository_and_a_folder_without_git_are_fine(repository: Any, tmp_path: Path) -> None:
    assert repository.lint("--format", "json").json["files"] == 0
    plain = tmp_path / "plain"
    plain.mkdir()
    assert repository.lint(cwd=plain).status == 0
    (plain / "a.py").write_text(SHELL)
    ran = repository.lint("--format", "json", cwd=plain)
    assert (ran.status, ran.found) == (1, [("a.py", "S602", 5)])
    repository.lint("--changed-lines", cwd=plain).failed_with_a_sentence()


# -- what is known, what is new ------------------------------------------------------------------------------


def test_a_baseline_accepts_what_was_there_wherever_it_moves(repository: Any) -> None:
    path = repository.write("a.py", SHELL)
    assert repository.lint("--write-baseline", "known.json").status == 0
    known = (repository.root / "known.json").read_bytes()
    assert repository.lint("--baseline", "known.json").status == 0
    path.write_text("# moved\n\n" + SHELL.replace("\n", "\r\n"))
    assert repository.lint("--baseline", "known.json").status == 0
    path.write_text(SHELL + "\n\ndef again(name):\n" + SHELL.split("\n")[4] + "\n")
    ran = repository.lint("--baseline", "known.json", "--format", "json")
    assert (ran.status, ran.found) == (1, [("a.py", "S602", 9)])
    path.write_text("x = 1\n")
    ran = repository.lint("--baseline", "known.json", "--format", "json")
    assert ran.status == 0
    assert any("baseline" in note for note in ran.json["notes"])
    assert (repository.root / "known.json").read_bytes() == known


def test_only_what_changed_since_a_revision_is_looked_at(repository: Any) -> None:
    repository.write("old.py", SHELL)
    repository.write("both.py", SHELL)
    repository.commit()
    repository.git("tag", "before")
    repository.write("both.py", SHELL + "\n\ndef other(text):\n    return eval(text)\n")
    repository.write("new.py", YAML)
    repository.commit()
    repository.write("unknown.py", YAML)
    ran = repository.lint("--diff-base", "before", "--format", "json")
    assert {path for path, _, _ in ran.found} == {"both.py", "new.py", "unknown.py"}
    assert ran.json["files"] == 3
    lines = repository.lint("--diff-base", "before", "--changed-lines", "--format", "json")
    assert [one for one in lines.found if one[0] == "both.py"] == [("both.py", "S307", 9)]
    assert repository.lint("--diff-base", "before", "--changed-lines", "old.py").status == 0


def test_credentials_are_found_in_new_lines_and_told_to_nobody(repository: Any) -> None:
    key = "AKIA" + "IOSFODNN7" + "EXAMPLQ"
    repository.write("old.ini", f"[a]\nkey = {key}\n")
    repository.commit()
    repository.write("new.ini", f"[a]\nkey = {key}\n")
    for format in ("text", "json", "sarif", "github"):
        ran = repository.lint("--format", format)
        assert ran.status == 1
        assert key not in ran.out + ran.err
    assert [path for path, _, _ in repository.lint("--format", "json").found] == ["new.ini"]


def test_shards_and_their_merge_are_the_whole(repository: Any) -> None:
    for number in range(12):
        repository.write(f"m{number}.py", SHELL if number % 3 else YAML)
    whole = repository.lint("--format", "json")
    parts = []
    for part in (1, 2, 3):
        ran = repository.lint("--format", "json", "--shard", f"{part}/3", "--output", f"{part}.json")
        assert ran.status in (0, 1)
        parts.append(f"{part}.json")
    looked_at = [json.loads((repository.root / name).read_text())["paths"] for name in parts]
    assert sorted(path for paths in looked_at for path in paths if path.endswith(".py")) == sorted(
        path for path in whole.json["paths"] if path.endswith(".py")
    )
    assert all(looked_at)
    merged = repository.lint("merge", *parts, "--format", "json")
    assert (merged.status, merged.json["findings"]) == (1, whole.json["findings"])
    assert repository.lint("merge", *parts, "--write-baseline", "known.json").status == 0
    assert repository.lint("--baseline", "known.json").status == 0
    missing = repository.lint("merge", *parts[:2])
    assert missing.status == 2
    assert "Not all of the work was done" in missing.out


def test_the_second_run_looks_at_what_changed_only(repository: Any) -> None:
    for number in range(5):
        repository.write(f"m{number}.py", SHELL.replace("run(", f"run{number}("))
    first = repository.lint("--format", "json").json
    again = repository.lint("--format", "json").json
    assert (first["cached"], again["cached"]) == (0, 5)
    assert again["findings"] == first["findings"]
    repository.write("m0.py", "x = 1\n")
    assert repository.lint("--format", "json").json["cached"] == 4
    assert repository.lint("--format", "json", "--no-cache").json["cached"] == 0


# -- bad input -----------------------------------------------------------------------------------------------


def test_files_that_no_scanner_can_look_at_are_said_and_cost_the_others_nothing(repository: Any) -> None:
    repository.write("a.py", SHELL)
    repository.write("binary.py", b"\0\1\2" * 100)
    repository.write("broken.py", "def broken(:\n")
    repository.write("deep.py", "x = " + "-" * 100_000 + "1\n")
    repository.write("large.py", "x = [\n" + "    1234567890,\n" * 180_000 + "]\n")
    repository.write("wrong.py", b"name = '\xe9\xff'\n")
    (repository.root / "loop.py").symlink_to("loop.py")
    (repository.root / "round").symlink_to(".")
    os.mkfifo(repository.root / "pipe.py")
    ran = repository.lint("--format", "json")
    assert ran.status == 1
    assert ran.found == [("a.py", "S602", 5)]
    said = {one["path"] for one in ran.json["unscanned"]}
    assert said == {"binary.py", "broken.py", "deep.py", "large.py", "wrong.py"}
    assert not any(one["failed"] for one in ran.json["unscanned"])
    assert repository.lint("--fix").status in (0, 1)


def test_a_hostile_repository_runs_nothing_and_hides_nothing(repository: Any, tmp_path: Path) -> None:
    ran_file = tmp_path / "ran"
    evil = f"open({os.fspath(ran_file)!r}, 'w').write(__name__)\n"
    names = ("bandit", "ruff", "ast", "sitecustomize", "deltaloom_server", "msgspec", "conftest", "yaml")
    for name in names:
        repository.write(f"{name}.py", evil)
    program = repository.write("bin/ruff", f"#!/bin/sh\necho > {ran_file}\necho '[]'\n")
    program.chmod(0o755)
    repository.write(".bandit", "[bandit]\nskips: B602,B307\nexclude: /\n")
    repository.write("ruff.toml", 'exclude = ["*"]\n[lint]\nignore = ["ALL"]\n')
    repository.write("setup.cfg", "[flake8:local-plugins]\nextension = X = evil:run\n")
    repository.write("deltaloom.toml", '[security]\nignore = ["S6"]\nexclude = ["a.py"]\n')
    repository.write("a.py", SHELL)
    repository.write("b.py", SHELL)
    repository.git("config", "core.fsmonitor", f"echo > {ran_file}")
    repository.commit()
    ran_file.unlink(missing_ok=True)
    path = f"{repository.root / 'bin'}{os.pathsep}{os.environ['PATH']}"
    ran = repository.lint("--format", "json", env={"PATH": path, "PYTHONPATH": ""})
    assert not ran_file.exists()
    notes = " ".join(ran.json["notes"])
    for name in (".bandit", "ruff.toml", "deltaloom.toml"):
        assert name in notes
    isolated = repository.lint("--isolated", "--format", "json", env={"PATH": path})
    assert {("a.py", "S602", 5), ("b.py", "S602", 5)} <= set(isolated.found)
    assert not ran_file.exists()


_CRASHING = """
import sys
from deltaloom_server.cli.parser import run
from deltaloom_server.security.scanners import ruff
ruff.find_ruff = lambda: sys.argv[1]
sys.exit(run(["lint", *sys.argv[2:]]))
"""


@pytest.mark.parametrize(
    "program",
    ["#!/bin/sh\nkill -SEGV $$\n", "#!/bin/sh\nexit 3\n", "#!/bin/sh\necho nonsense\n", "#!/nowhere\n"],
    ids=["killed", "exit 3", "nonsense", "can't be started"],
)
def test_a_scanner_that_fails_is_2_whatever_the_others_find(
    repository: Any, tmp_path: Path, program: str
) -> None:
    fake = tmp_path / "ruff"
    fake.write_text(program)
    fake.chmod(0o755)
    repository.write("a.py", YAML)
    for arguments in ([], ["--exit-zero"], ["--format", "sarif"]):
        done = subprocess.run(
            [sys.executable, "-P", "-c", _CRASHING, str(fake), "--no-cache", *arguments],
            cwd=repository.root, env=repository.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 2, done
        assert "ruff failed" in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
    assert "S506" in done.stdout  # what bandit saw is told all the same


# -- what it starts ------------------------------------------------------------------------------------------

_WITHOUT = """
import sys
from deltaloom_server.cli.parser import run
status = run(["lint", *sys.argv[1:]])
print(sorted({"torch", "transformers", "numpy", "bandit", "detect_secrets"} & set(sys.modules)))
print(status)
"""


def _ours(environment: dict[str, str]) -> list[list[str]]:
    """Command lines of processes that live in this home."""
    home = environment["XDG_RUNTIME_DIR"]
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("XDG_RUNTIME_DIR") == home and process.pid != os.getpid():
                found.append(process.cmdline())
    return found


def test_without_model_fixes_there_is_no_worker_and_no_torch(repository: Any) -> None:
    repository.write("a.py", SHELL + YAML)
    done = subprocess.run(
        [sys.executable, "-P", "-c", _WITHOUT, "--fix", "--quiet", "--output", os.devnull],
        cwd=repository.root, env=repository.environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split("\n")[:2] == ["[]", "0"]
    assert _ours(repository.environment) == []
    assert not list(Path(repository.environment["XDG_RUNTIME_DIR"]).rglob("*.sock"))


@pytest.mark.slow
def test_with_model_fixes_the_model_is_asked(repository: Any) -> None:
    """What nano suggests is up to the gate; that a worker was there to be asked is what counts."""
    repository.write("a.py", "import pickle\n\n\ndef load(data):\n    return pickle.loads(data)\n")
    ran = repository.lint("--model-fixes", "--unsafe-fixes", "--fix", "--format", "json")
    assert ran.status in (0, 1)
    assert any("deltaloom_model.worker" in line for line in _ours(repository.environment))
    logs = list(Path(repository.environment["XDG_STATE_HOME"]).rglob("*.log"))
    assert any("worker" in path.name for path in logs)


def test_ctrl_c_leaves_nothing_behind_and_changes_nothing(repository: Any) -> None:
    for number in range(150):
        repository.write(f"m{number}.py", YAML * 20 + f"x = {number}\n")
    before = {path: path.read_bytes() for path in repository.root.glob("*.py")}
    process = subprocess.Popen(
        repository.command("--fix", "--no-cache"), cwd=repository.root, env=repository.environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not psutil.Process(process.pid).children(recursive=True):  # the analysis has begun
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert _ours(repository.environment) == []
    assert {path: path.read_bytes() for path in repository.root.glob("*") if path.suffix == ".py"} == before
    assert not list(repository.root.glob(".deltaloom-*"))
