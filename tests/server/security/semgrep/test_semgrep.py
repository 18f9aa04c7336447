"""semgrep-core, run for real: places, broken files, hostile ones, and what stays when it is over."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from deltaloom_server.positions import split_lines
from deltaloom_server.security.finding import Finding, Span
from deltaloom_server.security.scanners import running, semgrep, semgrep_program

pytestmark = pytest.mark.usefixtures("needs_semgrep")

BAD = {
    "a.js": "eval(x)",
    "a.go": "package a\nfunc f() { ssh.InsecureIgnoreHostKey() }\n",
    "a.php": "<?php phpinfo();",
}


@pytest.fixture(autouse=True)
def scratch(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go meanwhile."""
    folder = tmp_path_factory.mktemp("scratch")
    monkeypatch.setattr(tempfile, "tempdir", os.fspath(folder))
    return folder


def text_at(text: str, finding: Finding) -> str:
    """What stands at a finding."""
    lines, span = split_lines(text), finding.span
    start = sum(map(len, lines[: span.start_line])) + span.start_column
    return text[start : sum(map(len, lines[: span.end_line])) + span.end_column]


@pytest.mark.parametrize(
    ("path", "text", "marked"),
    [
        ("a.js", 'const é = "😀"; eval(x); /* é😀 */ eval(\n  "é" + y)', ["eval(x)", 'eval(\n  "é" + y)']),
        ("a.ts", '// é\r\n"😀"; eval(a);\r// 😀\u2028\x0c\r  eval(b)', ["eval(a)", "eval(b)"]),
        ("a.tsx", 'const a = <b title="é😀">{eval(x)}</b>;', ["eval(x)"]),
        ("a.c", 'char *s = "é😀"; /* é */ void f(void) { gets(s); }', ["gets(s)"]),
        ("a.h", "static inline void f(char *s) { gets(s); }", ["gets(s)"]),
        ("a.php", '<?php $é = "😀"; eval($x . $é);', ["eval($x . $é);"]),
        (
            "a.java",
            'class A { String é = "😀"; Object k = Algorithm.HMAC256("é"); }',
            ['Algorithm.HMAC256("é")'],
        ),
        ("a.go", 'package a\nvar s = "é😀" + md5.Sum(b)', ["md5.Sum(b)"]),
        ("a.js", "\ufeffeval(x)", ["eval(x)"]),
    ],
)
async def test_places_are_in_code_points(path: str, text: str, marked: list[str]) -> None:
    result = await semgrep.scan_buffer(path, text)
    assert [text_at(text, finding) for finding in result.findings] == marked
    assert result == semgrep.scan(path, text)
    assert result.unscanned == ()


async def test_a_finding_says_all_that_is_known_of_its_rule() -> None:
    (finding,) = (await semgrep.scan_buffer("src/a.js", "eval(x)")).findings
    assert (finding.rule, finding.aliases, finding.scanners) == ("js/eval", ("js.eval",), ("semgrep",))
    assert (finding.path, finding.span, finding.cwe) == ("src/a.js", Span(0, 0, 0, 7), 95)
    assert finding.help_url.endswith("/95.html")


async def test_a_secret_in_the_text_gets_into_no_message() -> None:
    text = 'const t = jwt.sign(user, "hunter2-kitten-rain");\nlet a = = "hunter2-kitten-rain";\n'
    result = await semgrep.scan_buffer("a.js", text)
    assert [finding.rule for finding in result.findings] == ["js/hard-coded-key"]
    assert result.unscanned
    assert "hunter2" not in repr(result)


async def test_what_does_not_parse_is_said_and_the_rest_looked_at() -> None:
    result = await semgrep.scan_buffer("a.js", "eval(x);\nlet a = = 1;\n")
    assert [finding.rule for finding in result.findings] == ["js/eval"]
    (unscanned,) = result.unscanned
    assert not unscanned.failed
    assert "line 2" in unscanned.reason


async def test_suppression_comments_count_for_nothing() -> None:
    result = await semgrep.scan_buffer("a.js", "// nosemgrep\neval(x); // nosemgrep: js.eval\n")
    assert [finding.rule for finding in result.findings] == ["js/eval"]


@pytest.mark.parametrize(
    ("path", "text", "why"),
    [
        ("a.rb", "eval(x)", "no rules"),
        ("a.js", "eval(x)\n" + "//" * (1 << 19), "1 MiB"),
        ("a.js", "eval('\ud800' + x)", "surrogates"),
    ],
)
async def test_what_is_not_fit_for_it_is_no_failure(path: str, text: str, why: str) -> None:
    for result in (await semgrep.scan_buffer(path, text), semgrep.scan(path, text)):
        assert result.findings == ()
        (unscanned,) = result.unscanned
        assert why in unscanned.reason
        assert not unscanned.failed


async def test_files_keep_their_findings_whatever_their_names_and_neighbours(tmp_path: Path) -> None:
    (tmp_path / ".semgrepignore").write_text("*\n")
    (tmp_path / ".semgrep.yml").write_text("rules: []\n")
    (tmp_path / "node_modules").mkdir()
    names = ["a.js", "-lang.js", "with space.js", "é😀.js", "node_modules/a.min.js"]
    paths = [tmp_path / name for name in names]
    for path in paths:
        path.write_text("\ufeffeval(x)", "utf-8")
    results = await semgrep.scan_files(paths)
    for path in paths:
        (finding,) = results[path].findings
        assert (finding.rule, finding.span, finding.path) == ("js/eval", Span(0, 0, 0, 7), path.as_posix())


async def test_languages_share_one_run(tmp_path: Path) -> None:
    for name, text in BAD.items():
        (tmp_path / name).write_text(text)
    results = await semgrep.scan_files([tmp_path / name for name in BAD])
    rules = {path.name: [one.rule for one in result.findings] for path, result in results.items()}
    assert rules == {"a.js": ["js/eval"], "a.go": ["go/ssh-any-host"], "a.php": ["php/errors-shown"]}


async def test_files_that_can_not_be_read_are_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.js")
    (tmp_path / "latin.js").write_bytes(b"eval('\xe9' + x)")
    (tmp_path / "large.js").write_text("//" * (1 << 20))
    (tmp_path / "good.js").write_text("eval(x)")
    names = ["pipe.js", "latin.js", "large.js", "gone.js", "good.js"]
    results = await semgrep.scan_files([tmp_path / name for name in names])
    reasons = {path.name: one.reason for path, result in results.items() for one in result.unscanned}
    assert reasons.keys() == {"pipe.js", "latin.js", "large.js", "gone.js"}
    assert "regular file" in reasons["pipe.js"]
    assert "UTF-8" in reasons["latin.js"]
    assert "1 MiB" in reasons["large.js"]
    assert [one.rule for one in results[tmp_path / "good.js"].findings] == ["js/eval"]


async def test_a_text_that_is_nested_deeply_costs_the_others_nothing(tmp_path: Path) -> None:
    deep, good = tmp_path / "deep.js", tmp_path / "good.js"
    deep.write_text("eval(y); x = " + "(" * 50_000 + "1" + ")" * 50_000)
    good.write_text("eval(x)")
    results = await semgrep.scan_files([deep, good])
    assert results[deep].unscanned or results[deep].findings
    assert [one.rule for one in results[good].findings] == ["js/eval"]
    assert results[good].unscanned == ()


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "signal 9"),
        ("sys.exit(3)", "exit status 3"),
        ("print('no report'); sys.exit()", "no report"),
        ("print('{}'); sys.exit()", "no report"),
    ],
)
async def test_a_text_that_brings_semgrep_down_is_found_among_the_others(
    tmp_path: Path, stand_in: Callable[[str], None], what: str, said: str
) -> None:
    stand_in(f"if any('fatal' in text for text in texts): {what}")
    paths = [tmp_path / f"{number}.js" for number in range(5)]
    for path in paths:
        path.write_text("eval(x)")
    paths[3].write_text("eval(fatal)")
    results = await semgrep.scan_files(paths)
    assert [path.name for path, one in results.items() if one.unscanned] == ["3.js"]
    (unscanned,) = results[paths[3]].unscanned
    assert unscanned.failed
    assert said in unscanned.reason
    assert sum(len(one.findings) for one in results.values()) == 4
    for single in (await semgrep.scan_buffer("a.js", "eval(fatal)"), semgrep.scan("a.js", "eval(fatal)")):
        assert single.unscanned[0].failed
        assert said in single.unscanned[0].reason


async def test_a_semgrep_that_hangs_is_ended_and_told(
    tmp_path: Path, stand_in: Callable[[str], None], scratch: Path
) -> None:
    stand_in("if any('slow' in text for text in texts): time.sleep(600)")
    (tmp_path / "a.js").write_text("slow()")
    for result in (
        await semgrep.scan_buffer("a.js", "slow()", seconds=1),
        semgrep.scan("a.js", "slow()", seconds=1),
        (await semgrep.scan_files([tmp_path / "a.js"], seconds=1))[tmp_path / "a.js"],
    ):
        (unscanned,) = result.unscanned
        assert unscanned.failed
        assert "longer than 1 s" in unscanned.reason
    assert list(scratch.iterdir()) == []


async def test_the_text_lies_in_a_private_folder_and_is_gone_afterwards(
    tmp_path: Path, stand_in: Callable[[str], None], scratch: Path
) -> None:
    seen = tmp_path / "seen"
    stand_in(
        "name = targets[0][1]['path']['fpath']; folder = os.path.dirname(name)\n"
        f"json.dump([folder, os.stat(folder).st_mode, os.stat(name).st_mode, dict(os.environ), os.getcwd()],"
        f" open({os.fspath(seen)!r}, 'w'))"
    )
    await semgrep.scan_buffer("a.js", "eval(x)")
    folder, folder_mode, mode, environment, cwd = json.loads(seen.read_text())
    assert Path(folder).parent == scratch
    assert (stat.S_IMODE(folder_mode), stat.S_IMODE(mode)) == (0o700, 0o600)
    assert cwd == "/"
    assert environment["PATH"] == ""
    assert not {name for name in environment if name.startswith(("SEMGREP", "HOME", "OTEL"))}
    assert list(scratch.iterdir()) == []


async def test_a_cancelled_scan_leaves_neither_files_nor_a_process(
    tmp_path: Path, stand_in: Callable[[str], None], scratch: Path
) -> None:
    started = tmp_path / "started"
    os.mkfifo(started)
    stand_in(f"open({os.fspath(started)!r}, 'w').write(str(os.getpid())); time.sleep(600)")
    task = asyncio.create_task(semgrep.scan_buffer("a.js", "eval(x)", seconds=60))
    process = int(await asyncio.to_thread(started.read_text))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not Path(f"/proc/{process}").exists()
    assert list(scratch.iterdir()) == []


async def test_a_rule_that_semgrep_refuses_is_told_for_every_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "compiled.json"
    broken.write_text(
        '{"rules":[{"id":"js.eval","languages":["javascript"],"severity":"ERROR","message":"m",'
        '"pattern":"function ("}]}'
    )
    monkeypatch.setattr("deltaloom_server.security.scanners.semgrep_rules.COMPILED", broken)
    for name in ("a.js", "b.js"):
        (tmp_path / name).write_text("eval(x)")
    results = await semgrep.scan_files([tmp_path / "a.js", tmp_path / "b.js"])
    for result in results.values():
        (unscanned,) = result.unscanned
        assert unscanned.failed
        assert "js.eval" in unscanned.reason


def test_another_version_and_none_at_all_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def find() -> str:
        semgrep_program.find_core.cache_clear()
        try:
            return semgrep_program.find_core()
        finally:
            semgrep_program.find_core.cache_clear()

    monkeypatch.setattr(semgrep_program, "_package_folders", lambda: (os.fspath(tmp_path),))
    with pytest.raises(semgrep_program.SemgrepUnusable, match=r"install deltaloom\[semgrep\]"):
        find()
    program = tmp_path / "semgrep" / "bin" / "semgrep-core"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    metadata = tmp_path / "semgrep-1.185.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: semgrep\nVersion: 1.185.0\n")
    with pytest.raises(semgrep_program.SemgrepUnusable, match=r"1\.185\.0 is installed and only 1\.172"):
        find()
    metadata.write_text("Metadata-Version: 2.1\nName: semgrep\nVersion: 1.172.3\n")
    assert find() == os.fspath(program)


def test_a_semgrep_of_the_workspace_is_not_the_one_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = tmp_path / "ran"
    program = tmp_path / "semgrep" / "bin" / "semgrep-core"
    program.parent.mkdir(parents=True)
    (tmp_path / "semgrep" / "__init__.py").write_text(f"open({os.fspath(ran)!r}, 'w')\n")
    program.write_text(f"#!/bin/sh\n: > {ran}\n")
    program.chmod(0o755)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PATH", os.fspath(program.parent), prepend=os.pathsep)
    monkeypatch.chdir(tmp_path)
    semgrep_program.find_core.cache_clear()
    assert [one.rule for one in semgrep.scan("a.js", "eval(x)").findings] == ["js/eval"]
    assert not ran.exists()


async def test_more_than_anybody_could_read_is_no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "OUTPUT_BYTES", 100)
    (unscanned,) = (await semgrep.scan_buffer("a.js", "eval(x)")).unscanned
    assert "to say of it" in unscanned.reason
