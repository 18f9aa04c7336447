"""`deltaloom lint` as a command, in a git repository and a home of the test's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

_KEY = "AKIA" + "IOSFODNN7" + "EXAMPLQ"
FILES: dict[str, bytes] = {
    "app/commands.py": b"import subprocess\n\n\ndef run(name):\n"
    b'    return subprocess.run(f"ls {name}", shell=True)\n\n\ndef again(name):\n'
    b'    return subprocess.run(f"ls {name}", shell=True)\n',
    "app/crlf.py": b"import yaml\r\n\r\nx = '\xf0\x9f\x98\x80\xc3\xa9'; y = yaml.load(x)\r\n"
    b"z = yaml.load(x), yaml.load(y)\r\n",
    "app/latin.py": b"# -*- coding: latin-1 -*-\nimport hashlib\n\nname = '\xe9'; d = hashlib.md5(b'')\n",
    "app/marked.py": b"\xef\xbb\xbfimport yaml\n\ny = yaml.load('x')  # noqa: S506\nz = 1  # nosec B602\n",
    "app/slow.py": b"import torch\n\nmodel = torch.load('m.pt')\n",
    "app/broken.py": b"def broken(:\n",
    "app/nothing.py": b"x = 1\n",
    "settings.ini": f"[aws]\nkey = {_KEY}\n".encode(),
    "web/page.js": b"function show(text) {\n  return eval(text);\n}\n",
    ".bandit": b"[bandit]\nskips: B602\n",
    "deltaloom.toml": b'[security]\nseverity = "low"\n',
}


@dataclass(frozen=True)
class Ran:
    """One run of the command."""

    status: int
    out: str
    err: str
    data: bytes = field(repr=False)

    @property
    def json(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(self.data)
        return report

    @property
    def found(self) -> list[tuple[str, str, int]]:
        """(path, rule, line from 1) of what counts, from a JSON report."""
        return [
            (one["finding"]["path"], one["finding"]["rule"], one["finding"]["span"]["start_line"] + 1)
            for one in self.json["findings"]
            if one["state"] == "new" and not one["finding"].get("suppressed")
        ]

    def failed_with_a_sentence(self) -> str:
        """What was said by a run that could not do what it was asked; checks that it was no traceback."""
        assert self.status == 2, self
        assert "Traceback" not in self.err
        assert self.err.strip(), self
        return self.err


@dataclass(frozen=True)
class Repository:
    """A git repository, and the command run in it."""

    root: Path
    environment: dict[str, str]

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def git(self, *arguments: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "core.autocrlf=false"]
        subprocess.run(["git", "-C", str(self.root), *who, *arguments], check=True, capture_output=True)

    def commit(self) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "x")

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-P", "-m", "deltaloom_server", "lint", *arguments]

    def lint(
        self,
        *arguments: str,
        stdin: bytes = b"",
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Ran:
        done = subprocess.run(
            self.command(*arguments), input=stdin, capture_output=True, cwd=cwd or self.root,
            env=self.environment | dict(env or {}), timeout=100, check=False,
        )  # fmt: skip
        assert b"Traceback" not in done.stderr, done.stderr.decode()
        return Ran(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode(), done.stdout)


@pytest.fixture
def repository(tmp_path: Path, environment: dict[str, str]) -> Repository:
    root = tmp_path / "repository"
    root.mkdir()
    made = Repository(root, environment | {"NO_COLOR": "1", "HOME": os.fspath(tmp_path)})
    made.git("init", "-q", "-b", "main")
    return made


@pytest.fixture
def workspace(repository: Repository) -> Repository:
    """Files in all encodings, with findings of all scanners."""
    repository.commit()  # so that there is something to compare credentials with
    for name, data in FILES.items():
        repository.write(name, data)
    return repository


@pytest.fixture
def at_home(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """This process lives where the servers do."""
    for name in ("XDG_RUNTIME_DIR", "XDG_CACHE_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, environment[name])
