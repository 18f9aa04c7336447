"""`deltaloom eval security` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deltaloom_server.cli import parser
from deltaloom_server.evaluate import security
from deltaloom_server.evaluate.case import CasesError, default_corpus
from deltaloom_server.security.sandbox import available

pytestmark = pytest.mark.skipif(available() is not None, reason=str(available()))

RIGHT = "import ast\n\n\ndef read(text):\n    return ast.literal_eval(text)\n"


def test_files_hold_what_was_asked_for_and_stdout_nothing(
    corpus: Path, make_case: Any, scripted: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_case()
    json_file, page = tmp_path / "out.json", tmp_path / "out.md"
    status = security.main(
        [
            str(corpus),
            "--columns",
            "both,codemods",
            "--json",
            str(json_file),
            "--markdown",
            str(page),
            "--check",
        ],
        lambda model: scripted({"codemods": RIGHT, "both": RIGHT}),
    )
    assert status == 0
    assert capsys.readouterr() == ("", "")
    document = json.loads(json_file.read_text())
    assert list(document["columns"]) == ["codemods", "both"]
    assert document["columns"]["both"]["fixed_rate"] == 1
    assert document["versions"]["bandit"]
    assert "| correct (both tests pass) | 1 | 1 |" in page.read_text()


def test_a_missed_bound_is_said_and_fails(
    corpus: Path, make_case: Any, scripted: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    make_case()
    arguments = [str(corpus), "--columns", "both"]
    assert security.main(arguments, lambda model: scripted({})) == 0
    assert "| fixed, of all cases | 0% |" in capsys.readouterr().out
    assert security.main([*arguments, "--check"], lambda model: scripted({})) == 1
    assert "not kept: both: 0 of 1 cases are fixed" in capsys.readouterr().err


def test_a_broken_case_fails_even_without_check(
    corpus: Path, make_case: Any, scripted: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    make_case()
    make_case("CWE-095/other", test_function=None)
    status = security.main(
        [str(corpus), "--columns", "codemods"], lambda model: scripted({"codemods": RIGHT})
    )
    assert status == 1
    assert "broken: CWE-095/other has no test_function.py." in capsys.readouterr().err


def test_a_real_server_is_asked_as_an_editor_asks(
    corpus: Path, make_case: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    make_case()
    json_file = tmp_path / "out.json"
    arguments = ["eval", "security", str(corpus), "--columns", "codemods", "--json", str(json_file)]
    assert parser.run(arguments) == 0
    (result,) = json.loads(json_file.read_text())["results"]
    assert (result["outcome"], result["rule"]) == ("correct", "S307")
    assert "rescanned by" in result["label"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--columns", "codemod"], "choose from codemods, model, both"),
        (["--columns", ""], "choose from codemods, model, both"),
        (["--jobs", "0"], "at least 1"),
    ],
)
def test_wrong_options_are_said(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        security.main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_no_cases_is_one_sentence_and_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert parser.run(["eval", "security", str(tmp_path / "none")]) == 2
    assert "is not a folder; name one that holds cases" in capsys.readouterr().err


def test_the_corpus_of_the_checkout_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_corpus().name == "security"
    monkeypatch.setattr(
        "deltaloom_server.evaluate.case.__file__", str(tmp_path / "a" / "b" / "c" / "case.py")
    )
    with pytest.raises(CasesError, match="fixtures/security"):
        default_corpus()
