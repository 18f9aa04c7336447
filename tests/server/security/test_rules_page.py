"""docs/rules.md says what the code says, and `deltaloom rules` explains one rule."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from deltaloom_server.cli import rules as command
from deltaloom_server.security.codemods import by_rule
from deltaloom_server.security.rules import all_rules, page

REPOSITORY = Path(__file__).resolve().parents[3]


def ask(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(arguments))


def test_the_page_in_docs_is_the_one_that_the_code_makes() -> None:
    written = (REPOSITORY / "docs" / "rules.md").read_text(encoding="utf-8")
    assert written == page.page(), "make it anew: deltaloom rules --markdown > docs/rules.md"


def test_every_rule_of_the_catalogue_has_one_row_and_one_line() -> None:
    rows = [line.split(" | ")[0].strip("| ") for line in page.page().splitlines() if line.startswith("| ")]
    lines = [line.split()[0] for line in page.listing().splitlines()]
    for info in all_rules():
        named = [row for row in rows if row == info.rule or row.startswith(f"[{info.rule}](")]
        assert len(named) == 1, info.rule
        assert lines.count(info.rule) == 1


def test_a_rule_is_said_to_be_fixed_exactly_where_a_codemod_proposes_something_for_it() -> None:
    for info in all_rules():
        by_codemod = page.repair(info.rule) not in ("", "model")
        assert by_codemod == (info.rule in by_rule() or info.rule == "DL001"), info.rule


def test_fixes_that_a_person_should_see_first_are_not_called_safe() -> None:
    assert page.repair("S506") == "safe"
    assert page.repair("S103") == "look first"
    assert page.repair("secret/aws-access-key") == "look first"
    assert page.repair("S304") == ""


@pytest.mark.parametrize("name", ["S602", "B602", "subprocess_popen_with_shell_equals_true"])
def test_a_rule_is_explained_by_any_of_its_names(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(name) == 0
    told = capsys.readouterr().out
    assert told.startswith("S602: ")
    assert "CWE-78" in told
    assert "ruff, bandit" in told


def test_a_rule_that_there_is_not_is_refused_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert ask("S999") == 2
    assert "no rule 'S999'" in capsys.readouterr().err
