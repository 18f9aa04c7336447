"""Options: what they mean together, and one sentence for what they can't mean."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from deltaloom_server.cli import lint
from deltaloom_server.cli.parser import run
from deltaloom_server.lint.options import LintOptions, LintUsageError, find_root


def parse(here: Path, *words: str) -> LintOptions:
    parser = argparse.ArgumentParser()
    lint.add_arguments(parser)
    return LintOptions.from_arguments(parser.parse_args(list(words)), str(here))


def test_without_paths_this_folder_is_meant(tmp_path: Path) -> None:
    options = parse(tmp_path)
    assert options.paths == (str(tmp_path),)
    assert options.root == str(tmp_path)
    assert not options.needs_fixes


def test_rules_may_be_given_in_one_word_or_in_several(tmp_path: Path) -> None:
    options = parse(tmp_path, "--select", "S6, B1", "--select", "CWE-78", "--ignore", "secret/")
    assert options.select == ("S6", "B1", "CWE-78")
    assert options.ignore == ("secret/",)


@pytest.mark.parametrize(
    "rule", ["S602", "B6", "cwe-78", "secret/", "secret/aws", "se", "DL001", "subprocess_popen"]
)
def test_every_name_of_a_rule_may_be_selected(tmp_path: Path, rule: str) -> None:
    assert parse(tmp_path, "--select", rule).select == (rule,)


def test_rules_of_other_scanners_may_be_selected_where_their_findings_are_read(tmp_path: Path) -> None:
    assert parse(tmp_path, "--select", "py/xxe", "--from-sarif", "x.sarif").select == ("py/xxe",)
    assert parse(tmp_path, "merge", "x.json", "--select", "py/xxe").select == ("py/xxe",)


def test_files_are_named_from_where_the_command_runs(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    options = parse(
        tmp_path, "src", "--baseline", "base.json", "--output", "../out", "--from-sarif", "x.sarif"
    )
    assert options.paths == (str(tmp_path / "src"),)
    assert options.baseline == str(tmp_path / "base.json")
    assert options.output == str(tmp_path.parent / "out")
    assert options.from_sarif == (str(tmp_path / "x.sarif"),)


def test_the_root_is_the_repository_around_the_paths(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    assert parse(inner).root == str(tmp_path)
    assert parse(tmp_path, "a/b").root == str(tmp_path)


def test_the_root_without_a_repository_is_here_or_around_the_paths(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    assert find_root((str(inner),), str(tmp_path / "a")) == str(tmp_path / "a")
    assert find_root((str(tmp_path / "a"),), str(inner)) == str(tmp_path / "a")


def test_a_text_on_stdin_is_named_but_need_not_exist(tmp_path: Path) -> None:
    options = parse(tmp_path, "--stdin-filename", "src/new.py")
    assert options.stdin_filename == str(tmp_path / "src" / "new.py")
    assert options.root == str(tmp_path)


def test_the_first_word_merge_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "merge").mkdir()
    assert parse(tmp_path, "merge", "1.json").merge == (str(tmp_path / "1.json"),)
    assert parse(tmp_path, "./merge").paths == (str(tmp_path / "merge"),)


def test_a_text_on_stdin_does_not_show_in_messages(tmp_path: Path) -> None:
    options = LintOptions(root=str(tmp_path), paths=(), stdin="secret = 1")
    assert "secret" not in repr(options)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--fix", "--diff"], "--diff only prints"),
        (["--unsafe-fixes"], "--unsafe-fixes needs"),
        (["--model-fixes"], "--model-fixes needs"),
        (["--shard", "3/2"], "--shard takes i/n"),
        (["--shard", "0/2"], "--shard takes i/n"),
        (["--shard", "1"], "--shard takes i/n"),
        (["--select", "S602;rm"], "--select takes"),
        (["--ignore", "-x"], "--ignore takes"),
        (["--select", "S9999"], "No rule that is known here begins with 'S9999'"),
        (["--select", "s602"], "No rule that is known here"),
        (["--select", "CWE-"], "No rule that is known here"),
        (["--jobs", "-1"], "--jobs takes"),
        (["--stdin-filename", "a.py", "."], "leave the paths out"),
        (["--stdin-filename", "a.py", "--shard", "1/2"], "--shard divides files"),
        (["--stdin-filename", "a.py", "--changed-lines"], "compares files with git"),
        (["--write-baseline", "b", "--changed-lines"], "needs all findings"),
        (["--write-baseline", "b", "--shard", "1/2"], "deltaloom lint merge"),
        (["--write-baseline", "b", "--fix"], "one after the other"),
        (["--diff", "--format", "sarif"], "--diff prints a diff"),
        (["--diff-base=--output=x"], "--diff-base takes"),
        (["nowhere"], "There is no"),
        (["merge"], "Name the files to merge"),
        (["merge", "a.json", "--fix"], "--fix is for a run"),
        (["merge", "a.json", "--no-cache"], "--no-cache is for a run"),
        (["merge", "a.json", "--shard", "1/2"], "--shard is for a run"),
    ],
)
def test_what_makes_no_sense_is_told_in_one_sentence(tmp_path: Path, words: list[str], said: str) -> None:
    if words[0] in ("--select", "--ignore"):
        words = [f"{words[0]}={words[1]}"]
    with pytest.raises(LintUsageError) as caught:
        parse(tmp_path, *words)
    sentence = str(caught.value)
    assert said in sentence
    assert "\n" not in sentence
    assert sentence.endswith(".")


def test_wrong_options_exit_with_2_and_start_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["lint", "--fix", "--diff"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("deltaloom: --diff only prints")
