"""`deltaloom lint --fix` on real files: verified fixes, each file as a whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

SHELL = 'import subprocess\n\n\ndef run(name):\n    return subprocess.run(f"ls {name}", shell=True)\n'
UNSAFE = "import hashlib\n\n\ndef digest(data):\n    return hashlib.md5(data).hexdigest()\n"
YAML = "import yaml\n\n\ndef read(text):\n    return yaml.load(text)\n"
YAML_FIXED = YAML.replace("yaml.load(", "yaml.safe_load(")


def _files(root: Path) -> list[str]:
    found = (path for path in root.rglob("*") if ".git" not in path.parts)
    return sorted(path.relative_to(root).as_posix() for path in found)


def test_a_safe_fix_is_written_and_reported(repository: Any) -> None:
    path = repository.write("a.py", YAML)
    path.chmod(0o754)
    ran = repository.lint("--fix", "--format", "json")
    assert ran.status == 0
    assert path.read_text() == YAML_FIXED
    assert path.stat().st_mode & 0o777 == 0o754
    (fixed,) = ran.json["fixed"]
    assert (fixed["path"], fixed["rule"], fixed["line"]) == ("a.py", "S506", 4)
    assert "rescanned by" in fixed["label"]
    assert _files(repository.root) == ["a.py"]
    assert repository.lint("--fix").status == 0
    assert path.read_text() == YAML_FIXED


def test_an_unsafe_fix_waits_for_its_option(repository: Any) -> None:
    path = repository.write("a.py", UNSAFE)
    ran = repository.lint("--fix")
    assert ran.status == 1
    assert path.read_text() == UNSAFE
    assert repository.lint("--show-fixes", "--format", "json").json["findings"][0]["fixes"] == []
    shown = repository.lint("--unsafe-fixes", "--show-fixes", "--format", "json")
    (fix,) = shown.json["findings"][0]["fixes"]
    assert fix["unsafe"]
    assert repository.lint("--fix", "--unsafe-fixes").status == 0
    assert path.read_text() != UNSAFE


def test_a_diff_changes_nothing_and_applies_to_what_fix_writes(repository: Any) -> None:
    for name, text in (
        ("a.py", YAML), ("crlf.py", YAML.replace("\n", "\r\n")), ("short.py", YAML.rstrip("\n")),
    ):  # fmt: skip
        repository.write(name, text)
    repository.commit()
    diff = repository.lint("--diff")
    assert diff.status == 1
    assert (repository.root / "a.py").read_text() == YAML
    (repository.root / "diff").write_bytes(diff.data)
    repository.git("apply", "--whitespace=nowarn", "diff")
    applied = {path.name: path.read_bytes() for path in repository.root.glob("*.py")}
    repository.git("checkout", "-q", ".")
    assert repository.lint("--fix").status == 0
    assert applied == {path.name: path.read_bytes() for path in repository.root.glob("*.py")}
    assert applied["crlf.py"] == YAML_FIXED.replace("\n", "\r\n").encode()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("latin.py", "# -*- coding: latin-1 -*-\nname = 'é'\n".encode("latin-1") + YAML.encode()),
        ("bom.py", b"\xef\xbb\xbf" + YAML.encode()),
        ("crlf.py", YAML.replace("\n", "\r\n").encode()),
        ("both.py", b"\xef\xbb\xbf" + f"name = 'é😀'\n{YAML}".replace("\n", "\r\n").encode()),
        ("mixed.py", YAML.replace("\n", "\r\n", 2).encode()),
        ("formfeed.py", b"x = '\x0c\xc2\x85\xe2\x80\xa8'\n\x0c\n" + YAML.encode()),
        ("astral.py", f"x = '😀'; {YAML}".encode()),
        ("open.py", YAML.rstrip("\n").encode()),
    ],
)
def test_all_bytes_but_the_fix_stay_as_they_were(repository: Any, name: str, data: bytes) -> None:
    path = repository.write(name, data)
    assert repository.lint("--fix").status == 0
    assert path.read_bytes() == data.replace(b"yaml.load(", b"yaml.safe_load(")


def test_equal_lines_are_all_fixed(repository: Any) -> None:
    path = repository.write("a.py", YAML + "\n\ndef again(text):\n    return yaml.load(text)\n" * 3)
    ran = repository.lint("--fix", "--format", "json")
    assert ran.status == 0
    assert "yaml.load(" not in path.read_text()
    assert [fixed["line"] for fixed in ran.json["fixed"]] == [4, 8, 12, 16]


def test_two_findings_of_one_line_are_both_fixed(repository: Any) -> None:
    path = repository.write("a.py", "import yaml\n\npair = yaml.load('a'), yaml.load('b')\n")
    assert repository.lint("--fix").status == 0
    assert path.read_text().count("yaml.safe_load(") == 2
    text = "import hashlib\n\nimport yaml\n\nboth = yaml.load('a'), hashlib.md5(b'')\n"
    path = repository.write("b.py", text)
    before = repository.lint("--format", "json", "b.py").found
    assert len(before) == 2
    repository.lint("--fix", "--unsafe-fixes", "b.py")
    assert "yaml.load(" not in path.read_text()
    assert "hashlib.md5(b'')" not in path.read_text()


def test_only_changed_lines_are_fixed_where_only_they_count(repository: Any) -> None:
    again = "\n\ndef again(text):\n    return yaml.load(text)\n"
    path = repository.write("a.py", YAML + again)
    repository.commit()
    first = YAML.replace("read(text)", "first(text)")
    path.write_text(first + YAML.replace("import yaml\n", "").lstrip("\n").replace("def", "\n\ndef") + again)
    ran = repository.lint("--changed-lines", "--diff-base", "HEAD", "--fix", "--format", "json")
    old = [one for one in ran.json["findings"] if one["state"] == "unchanged-line"]
    assert len(old) == 2, path.read_text()
    assert path.read_text().count("yaml.load(") == 2
    assert path.read_text().startswith(YAML_FIXED.replace("read", "first")) or "safe_load" in path.read_text()


def test_comments_that_suppress_nothing_are_removed(repository: Any) -> None:
    path = repository.write("a.py", "x = 1  # nosec B602\n# nosec B101\ny = 2\n")
    assert repository.lint("--fix").status == 0
    assert path.read_text() == "x = 1\ny = 2\n"


def test_what_is_suppressed_accepted_or_not_selected_is_not_fixed(repository: Any) -> None:
    suppressed = repository.write("s.py", YAML.replace("(text)\n", "(text)  # nosec B506\n").replace(
        "def read(text)  # nosec B506", "def read(text)"))  # fmt: skip
    before = suppressed.read_text()
    path = repository.write("a.py", YAML)
    assert repository.lint("--write-baseline", "known.json").status == 0
    assert repository.lint("--baseline", "known.json", "--fix").status == 0
    assert repository.lint("--select", "S1", "--fix").status == 0
    assert repository.lint("--ignore", "CWE-20,S506", "--fix").status == 0
    assert path.read_text() == YAML
    assert suppressed.read_text() == before
    other = YAML.replace("read", "other")
    path.write_text(
        YAML + "\n\n" + other.split("\n", 3)[3].replace("yaml.load(text)", "yaml.load(text or '')")
    )
    assert repository.lint("--baseline", "known.json", "--fix").status == 0
    assert path.read_text().count("yaml.load(") == 1


# -- what goes wrong -----------------------------------------------------------------------------------------


def test_a_file_that_can_not_be_written_is_said_and_costs_no_other_its_fix(repository: Any) -> None:
    locked = repository.write("a.py", YAML)
    locked.chmod(0o444)
    free = repository.write("b.py", YAML)
    ran = repository.lint("--fix")
    assert ran.status == 2
    assert "a.py" in ran.out + ran.err
    assert "read-only" in ran.out + ran.err
    assert locked.read_text() == YAML
    assert free.read_text() == YAML_FIXED
    assert _files(repository.root) == ["a.py", "b.py"]


def test_a_fix_that_the_files_encoding_can_not_say_is_not_written(repository: Any) -> None:
    # Nothing that our codemods write lies outside ASCII; what can't be decoded is never looked at.
    path = repository.write("a.py", b"# coding: ascii\nname = '\xe9'\n" + YAML.encode())
    before = path.read_bytes()
    ran = repository.lint("--fix", "--format", "json")
    assert path.read_bytes() == before
    assert ran.json["unscanned"]


def test_files_behind_links_are_left_alone(repository: Any, tmp_path: Path) -> None:
    outside = tmp_path / "outside.py"
    outside.write_text(YAML)
    (repository.root / "link.py").symlink_to(outside)
    (repository.root / "loop.py").symlink_to("loop.py")
    (repository.root / "round").symlink_to(".")
    assert repository.lint("--fix").status == 0
    assert outside.read_text() == YAML
    assert (repository.root / "link.py").is_symlink()


@pytest.mark.parametrize("name", [".github/scripts/a.py", ".vscode/a.py", "sitecustomize.py"])
def test_files_that_steer_tools_are_reported_and_never_edited(repository: Any, name: str) -> None:
    path = repository.write(name, YAML)
    ran = repository.lint("--fix", "--unsafe-fixes", "--format", "json", name)
    assert path.read_text() == YAML
    assert ran.found == [(name, "S506", 5)]


# -- one text on stdin ---------------------------------------------------------------------------------------


def test_stdins_text_is_fixed_on_stdout_and_the_report_goes_to_stderr(repository: Any) -> None:
    on_disk = repository.write("a.py", "x = 1\n")
    for text, fixed in (
        (YAML, YAML_FIXED),
        (YAML.replace("\n", "\r\n"), YAML_FIXED.replace("\n", "\r\n")),
        ("\ufeff" + YAML, "\ufeff" + YAML_FIXED),
        ("x = '😀'\n", "x = '😀'\n"),
        ("", ""),
    ):
        for name in ("a.py", "new/b.py"):
            ran = repository.lint("--stdin-filename", name, "--fix", stdin=text.encode())
            assert (ran.status, ran.data.decode()) == (0, fixed)
    ran = repository.lint("--stdin-filename", "a.py", "--fix", stdin=UNSAFE.encode())
    assert (ran.status, ran.out) == (1, UNSAFE)
    assert "S324" in ran.err
    assert on_disk.read_text() == "x = 1\n"
    assert not (repository.root / "new").exists()


def test_stdin_is_read_as_the_file_that_it_is_named_after(repository: Any) -> None:
    ran = repository.lint("--stdin-filename", "src/a.py", "--format", "json", stdin=SHELL.encode())
    assert ran.status == 1
    assert ran.found == [("src/a.py", "S602", 5)]
    ran = repository.lint("--stdin-filename", "a.py", "--diff", stdin=YAML.encode())
    assert ran.status == 1
    assert "+    return yaml.safe_load(text)" in ran.out


# -- other scanners' findings --------------------------------------------------------------------------------


def _sarif(path: Path, *results: tuple[str, str, int, str]) -> None:
    told = [
        {
            "ruleId": rule,
            "level": "error",
            "message": {"text": message},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": name},
                        "region": {"startLine": line},
                    }
                }
            ],
        }
        for name, rule, line, message in results
    ]
    run = {"tool": {"driver": {"name": "another"}}, "results": told}
    path.write_text(json.dumps({"version": "2.1.0", "runs": [run]}))


def test_other_scanners_findings_are_fixed_where_ours_agree_and_kept_where_not(
    repository: Any, tmp_path: Path
) -> None:
    text = YAML + "\n\ndef check(value):\n    return weigh(value)\n"
    path = repository.write("a.py", text)
    report = tmp_path / "other.sarif"
    _sarif(report, ("a.py", "B506", 5, "unsafe load"), ("a.py", "own-rule-7", 9, "weighs too much"))
    ran = repository.lint("--from-sarif", os.fspath(report), "--fix", "--format", "json")
    assert path.read_text() == text.replace("yaml.load(", "yaml.safe_load(")
    assert ran.status == 1
    assert [(rule, line) for _, rule, line in ran.found if rule != "S506"] == [("own-rule-7", 9)]


def test_another_scanners_finding_moves_with_its_line_while_the_file_is_fixed(
    repository: Any, tmp_path: Path
) -> None:
    text = "# nosec B101\n# nosec B102\nx = 1\n\n\ndef check(value):\n    return weigh(value)\n"
    path = repository.write("a.py", text)
    report = tmp_path / "other.sarif"
    _sarif(report, ("a.py", "own-rule-7", 7, "weighs too much"))
    ran = repository.lint("--from-sarif", os.fspath(report), "--fix", "--format", "json")
    assert path.read_text() == text.split("\n", 2)[2]
    assert ran.status == 1
    assert ran.found == [("a.py", "own-rule-7", 5)]
