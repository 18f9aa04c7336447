"""Ruff's S rules by the real ruff: places to the code point, whatever stands in the text or the tree."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from pathlib import Path

import psutil
import pytest

from deltaloom_server.positions import split_lines
from deltaloom_server.security.analysis.messages import ScanResult
from deltaloom_server.security.finding import Span
from deltaloom_server.security.scanners import ruff

MINUSES = "x = " + "-" * 100_000 + "1\n"


def marked(text: str, span: Span) -> str:
    """The piece of a text that a span covers."""
    lines = split_lines(text)
    if span.start_line == span.end_line:
        return lines[span.start_line][span.start_column : span.end_column]
    middle = lines[span.start_line + 1 : span.end_line]
    return "".join(
        (lines[span.start_line][span.start_column :], *middle, lines[span.end_line][: span.end_column])
    )


@pytest.mark.parametrize(
    "text",
    [
        "eval(x)\n",
        "y = 1; eval(x)",
        "é = '𝒳\u0301'; eval(x)\n",
        "s = '\u2028\u2029\x85'\nif x:\n\teval(x)\n",
        "\x0ceval(x)\n",
        "if x:\r\n  pass\r\n\teval(x)\r\n".replace("\t", "  "),
        "a = 1\rb = 2\reval(x)\r",
        "a = '''\x0b\x0c\r\n\r'''\neval(x)\n",
        "\ufeffeval(x)\n",
        "\ufeff# bom\neval(x)\n",
        "x = '\0'\neval(x)\n",
    ],
)
def test_a_place_is_exact_whatever_stands_before_it(text: str) -> None:
    (finding,) = ruff.scan_text("a.py", text).findings
    assert finding.rule == "S307"
    assert marked(text, finding.span) == "eval(x)"


def test_a_place_may_go_over_several_lines() -> None:
    text = "é = pickle.loads(\r\n    '𝒳' + x,\r\n)\r\n"
    (finding,) = ruff.scan_text("a.py", "import pickle\n" + text).findings
    assert marked("import pickle\n" + text, finding.span) == text[4:].rstrip()


async def test_a_buffer_and_a_text_give_the_same() -> None:
    text = "import os\nassert x\nos.system(f'{x}')\n"
    result = await ruff.scan_buffer("a/b.py", text)
    assert result == ruff.scan_text("a/b.py", text)
    assert {finding.rule for finding in result.findings} == {"S101", "S605"}
    assert {finding.path for finding in result.findings} == {"a/b.py"}
    assert {finding.scanners for finding in result.findings} == {("ruff",)}
    assert {finding.cwe for finding in result.findings} == {617, 78}


async def test_no_suppression_and_no_configuration_counts(
    hostile_tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(hostile_tree)
    monkeypatch.setenv("PATH", str(hostile_tree / "bin"))
    monkeypatch.setenv("RUFF_CONFIG", str(hostile_tree / "ruff.toml"))
    text = "# ruff: noqa\n# flake8: noqa\n" + (hostile_tree / "vulnerable.py").read_text()
    result = await ruff.scan_buffer("vulnerable.py", text)
    assert {finding.rule for finding in result.findings} == {"S605", "S307"}
    found = await ruff.scan_files([hostile_tree / "vulnerable.py"], root=hostile_tree)
    (on_disk,) = found.values()
    assert {(finding.rule, finding.path) for finding in on_disk.findings} == {
        ("S605", "vulnerable.py"), ("S307", "vulnerable.py"),
    }  # fmt: skip
    assert not (hostile_tree / "ran").exists()


@pytest.mark.parametrize("path", ["--config=x.py", "-", "a b;c.py", "../../etc/x.py", "é\udcff.py", ""])
def test_a_name_is_only_a_name(path: str) -> None:
    (finding,) = ruff.scan_text(path, "eval(x)\n").findings
    assert finding.path == path


async def test_newer_grammar_than_this_python_is_looked_at() -> None:
    text = "type A[T = int] = list[T]\nt = t'{x}'\nf'{f'{x}'}'\neval(x)\n"
    result = await ruff.scan_buffer("a.py", text)
    assert [finding.rule for finding in result.findings] == ["S307"]
    assert result.unscanned == ()


def why(result: ScanResult) -> tuple[str, bool]:
    assert result.findings == ()
    (unscanned,) = result.unscanned
    assert unscanned.scanner == "ruff"
    return unscanned.reason, unscanned.failed


async def test_what_it_does_not_look_at_is_said() -> None:
    assert why(await ruff.scan_buffer("a.py", "x = 1\ndef f(:\n")) == (
        "Line 2 doesn't parse: Expected a parameter or the end of the parameter list.", False,
    )  # fmt: skip
    assert why(await ruff.scan_buffer("a.py", MINUSES)) == ("The file is nested too deeply for ruff.", False)
    assert why(ruff.scan_text("a.py", MINUSES)) == ("The file is nested too deeply for ruff.", False)
    assert why(await ruff.scan_buffer("a.py", "x = 1\n" * 700_000)) == ("The text is over 4 MiB.", False)
    assert "lone surrogates" in why(await ruff.scan_buffer("a.py", "x = '\ud800'"))[0]
    assert await ruff.scan_buffer("a.py", "") == ScanResult(())


async def test_files_on_disk_that_bring_it_down_cost_the_others_nothing(tmp_path: Path) -> None:
    paths = []
    for number in range(24):
        paths.append(tmp_path / f"m{number}.py")
        paths[-1].write_text(MINUSES if number in (3, 4, 17) else f"eval(x{number})\n")
    results = await ruff.scan_files(paths, root=tmp_path)
    assert list(results) == paths
    deep = [path.name for path, result in results.items() if result.unscanned]
    assert deep == ["m3.py", "m4.py", "m17.py"]
    assert why(results[paths[3]]) == ("The file is nested too deeply for ruff.", False)
    assert all(len(result.findings) == 1 for path, result in results.items() if path.name not in deep)


async def test_files_that_are_none_are_said_and_not_waited_for(tmp_path: Path) -> None:
    fine = tmp_path / "--fine.py"
    fine.write_bytes(b"\xef\xbb\xbfeval(x)\r\n")
    latin = tmp_path / "latin.py"
    latin.write_bytes(b"# coding: latin-1\nx = '\xe9'\neval(x)\n")
    large = tmp_path / "large.py"
    large.write_bytes(b"#" * (5 << 20))
    os.mkfifo(tmp_path / "pipe.py")
    named = tmp_path / "caf\udce9.py"
    named.write_text("eval(x)\n")
    missing = tmp_path / "missing.py"
    results = await ruff.scan_files(
        [fine, latin, large, tmp_path / "pipe.py", tmp_path, missing, named], root=tmp_path
    )
    (finding,) = results.pop(fine).findings
    assert (finding.path, finding.span) == ("--fine.py", Span(0, 0, 0, 7))
    said = {path.name: why(result) for path, result in results.items()}
    assert said["latin.py"] == ("The file isn't valid UTF-8, which ruff needs.", False)
    assert said["large.py"] == ("The file is over 4 MiB.", False)
    assert said["pipe.py"] == ("It is not a regular file.", False)
    assert said["missing.py"][0].startswith("The file can't be read (")
    assert said[named.name] == ("The file's name isn't valid UTF-8.", False)
    assert len(said) == 6


@pytest.fixture
def fake_ruff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in ruff's place; what it does is written into it by the test."""
    program = tmp_path / "fake-ruff"
    monkeypatch.setattr(ruff, "find_ruff", lambda: str(program))
    return program


def write(program: Path, code: str) -> None:
    program.write_text(f"#!{sys.executable}\n{code}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("print('All fine!')", "Ruff said something that is no report; reinstall deltaloom."),
        ("print('[{}]')", "Ruff said something that is no report; reinstall deltaloom."),
        ("import sys; sys.exit(1)", "Ruff said something that is no report; reinstall deltaloom."),
        (
            "import os; os.write(2, b'error: no such rule'); os._exit(2)",
            "Ruff failed (error: no such rule).",
        ),
        ("import os; os.abort()", "Ruff failed (signal 6)."),
        ("import time; time.sleep(1000)", "Ruff took longer than 0.5 s."),
    ],
)
async def test_a_ruff_that_fails_is_said_in_every_way_of_asking(
    fake_ruff: Path, tmp_path: Path, code: str, reason: str
) -> None:
    write(fake_ruff, code)
    file = tmp_path / "a.py"
    file.write_text("eval(x)\n")
    results = [
        await ruff.scan_buffer("a.py", "eval(x)\n", seconds=0.5),
        ruff.scan_text("a.py", "eval(x)\n", seconds=0.5),
        (await ruff.scan_files([file], seconds=0.5))[file],
    ]
    for result in results:
        said, failed = why(result)
        assert reason in said
        assert failed


async def test_a_ruff_that_is_not_there_is_said(fake_ruff: Path) -> None:
    said, failed = why(await ruff.scan_buffer("a.py", "eval(x)\n"))
    assert said == "Ruff can't be run (No such file or directory)."
    assert failed


async def test_a_cancelled_scan_leaves_no_process(fake_ruff: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    write(
        fake_ruff,
        f"import time; pipe = open({str(pipe)!r}, 'w'); pipe.write('here'); pipe.flush(); time.sleep(1000)",
    )
    before = set(psutil.Process().children())
    scan = asyncio.create_task(ruff.scan_buffer("a.py", "eval(x)\n", seconds=60))
    with await asyncio.to_thread(open, pipe) as file:
        assert await asyncio.to_thread(file.read, 4) == "here"
        scan.cancel()
        with pytest.raises(asyncio.CancelledError):
            await scan
        assert await asyncio.to_thread(file.read) == ""
    assert set(psutil.Process().children()) <= before


async def test_more_than_anybody_can_read_is_said(fake_ruff: Path) -> None:
    # It would stay, with a full pipe, if nobody ended it.
    write(fake_ruff, "while True: print('[' + ' ' * (1 << 20))")
    assert why(await ruff.scan_buffer("a.py", "eval(x)\n")) == ("Ruff has over 32 MiB to say of it.", False)


def test_ruff_is_the_one_beside_this_python() -> None:
    assert Path(ruff.find_ruff()).parent == Path(sys.executable).parent
