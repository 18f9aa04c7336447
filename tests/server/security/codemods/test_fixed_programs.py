"""Programs that codemods have fixed still do their work, and no longer what an attacker wants."""

from __future__ import annotations

import hashlib
import io
import os
import random
import stat
import tarfile
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest

from deltaloom_server.security.codemods import propose
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.proposal import apply_edits

Fix = Callable[[str, str], dict[str, Any]]


@pytest.fixture
def fixed(scan: Callable[[Sequence[str]], list[list[Finding]]]) -> Fix:
    """Fix a text's finding of a rule with what is proposed first, and run it: its names."""

    def fix_and_run(text: str, rule: str) -> dict[str, Any]:
        [findings] = scan([text])
        finding = next(one for one in findings if one.rule == rule)
        proposal = propose(text, finding)[0]
        names: dict[str, Any] = {}
        exec(compile(apply_edits(text, proposal.edits), "fixed.py", "exec"), names)
        return names

    return fix_and_run


def _tar(path: Path, member: str) -> None:
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo(member)
        info.size = 2
        tar.addfile(info, io.BytesIO(b"hi"))


def test_a_tar_archive_is_unpacked_but_not_out_of_its_folder(fixed: Fix, tmp_path: Path) -> None:
    unpack = fixed(
        "import tarfile\n\ndef unpack(path, to):\n"
        "    with tarfile.open(path) as t:\n        t.extractall(to)\n",
        "S202",
    )["unpack"]
    _tar(tmp_path / "good.tar", "a/b.txt")
    _tar(tmp_path / "bad.tar", "../out.txt")
    (tmp_path / "to").mkdir()
    unpack(tmp_path / "good.tar", tmp_path / "to")
    assert (tmp_path / "to/a/b.txt").read_bytes() == b"hi"
    with pytest.raises(tarfile.FilterError):
        unpack(tmp_path / "bad.tar", tmp_path / "to")
    assert not (tmp_path / "out.txt").exists()


@pytest.fixture
def server() -> Iterator[str]:
    """The address of a server that answers "hi" to GET, and to POST what it was sent."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(b"hi")

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers["Content-Length"])))

        def _answer(self, body: bytes) -> None:
            if self.path == "/moved":
                self.send_response(302)
                self.send_header("Location", "/")
            else:
                self.send_response(200 if self.path == "/" else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_web_addresses_are_opened_and_files_are_not(fixed: Fix, server: str, tmp_path: Path) -> None:
    fetch = fixed(
        "from urllib.request import urlopen\n\ndef fetch(url, data=None):\n"
        "    with urlopen(url, data, timeout=5) as answer:\n        return answer.read()\n",
        "S310",
    )["fetch"]
    assert fetch(f"{server}/") == b"hi"
    assert fetch(f"{server}/moved") == b"hi"
    assert fetch(f"{server}/", b"sent") == b"sent"
    with pytest.raises(URLError, match="404"):
        fetch(f"{server}/nothing")
    (tmp_path / "secret").write_text("s")
    for url in ((tmp_path / "secret").as_uri(), "ftp://127.0.0.1/x", "data:text/plain,x"):
        with pytest.raises(URLError, match="unknown url type"):
            fetch(url)


def test_a_temporary_file_is_there_and_its_owners_alone(fixed: Fix) -> None:
    fresh = fixed("import tempfile\n\ndef fresh():\n    return tempfile.mktemp(suffix='.x')\n", "S306")[
        "fresh"
    ]
    path = Path(fresh())
    assert path.suffix == ".x"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.unlink()


def test_a_file_under_tmp_does_not_follow_a_link_that_lies_in_wait(fixed: Fix, tmp_path: Path) -> None:
    name = f"deltaloom-{os.getpid()}"
    trap, victim = Path("/tmp") / f"{name}.txt", tmp_path / "victim"
    victim.write_text("mine")
    trap.symlink_to(victim)
    try:
        save = fixed(
            "def save(name, data):\n    path = f'/tmp/{name}.txt'\n    with open(path, 'w') as f:\n"
            "        f.write(data)\n    return path\n",
            "S108",
        )["save"]
        assert Path(save(name, "data")).read_text() == "data"
        assert victim.read_text() == "mine"
    finally:
        trap.unlink()


def test_drawn_numbers_keep_their_range_and_cannot_be_foretold(fixed: Fix) -> None:
    draw = fixed("import random\n\ndef draw():\n    return random.randint(3, 6) * 1\n", "S311")["draw"]
    drawn = []
    for _ in range(200):
        random.seed(1)
        drawn.append(draw())
    assert set(drawn) == {3, 4, 5, 6}


def test_a_mode_is_the_owners_alone(fixed: Fix, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("x")
    fixed("import os\n\ndef share(path):\n    os.chmod(path, 0o777)\n", "S103")["share"](path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_a_password_is_hashed_alike_each_time_and_slowly(fixed: Fix) -> None:
    stored = fixed(
        "import hashlib\n\ndef stored(password, salt):\n"
        "    return hashlib.sha1((password + salt).encode()).hexdigest()\n",
        "S324",
    )["stored"]
    expected = hashlib.pbkdf2_hmac("sha256", b"pw", b"salt", 600_000).hex()
    assert stored("pw", "salt") == stored("pw", "salt") == expected


def test_plain_yaml_loads_and_objects_do_not(fixed: Fix) -> None:
    yaml = pytest.importorskip("yaml")
    load = fixed("import yaml\n\ndef load(text):\n    return yaml.load(text, yaml.Loader)\n", "S506")["load"]
    assert load("a: [1, b]") == {"a": [1, "b"]}
    with pytest.raises(yaml.YAMLError):
        load("!!python/object/apply:os.getpid []")


def test_markup_of_the_program_stays_and_values_are_escaped(fixed: Fix) -> None:
    pytest.importorskip("markupsafe")
    bold = fixed(
        "from markupsafe import Markup\n\ndef bold(x, n):\n    return Markup('<b>{%s}</b> %03d' % (x, n))\n",
        "S704",
    )["bold"]
    assert str(bold("<i>", 7)) == "<b>{&lt;i&gt;}</b> 007"


def test_values_in_a_template_are_escaped(fixed: Fix) -> None:
    pytest.importorskip("jinja2")
    page = fixed(
        "from jinja2 import Environment\n\ndef page(x):\n"
        "    return Environment().from_string('<p>{{ x }}</p>').render(x=x)\n",
        "S701",
    )["page"]
    assert page("<i>") == "<p>&lt;i&gt;</p>"
