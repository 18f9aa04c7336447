"""What becomes of a case: judged by its tests, which run in the real sandbox."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deltaloom_server.errors import DeltaloomError
from deltaloom_server.evaluate.case import Case, CasesError, find_cases
from deltaloom_server.evaluate.fix_source import COLUMNS, Answer, Column
from deltaloom_server.evaluate.run import evaluate_cases
from deltaloom_server.evaluate.score import total
from deltaloom_server.security.sandbox import available

pytestmark = pytest.mark.skipif(available() is not None, reason=str(available()))

RIGHT = "import ast\n\n\ndef read(text):\n    return ast.literal_eval(text)\n"
STILL_WEAK = "def read(text):\n    return eval(text, {}, {})\n"
USELESS = "def read(text):\n    raise ValueError(text)\n"


async def test_each_kind_of_answer_is_counted_as_what_it_is(
    corpus: Path, make_case: Any, scripted: Any
) -> None:
    folder = make_case()
    source = scripted({"codemods": RIGHT, "model": STILL_WEAK, "both": None})
    results, broken = await evaluate_cases(corpus, [folder], COLUMNS, source)
    assert broken == []
    assert [(one.column, one.outcome) for one in results] == [
        ("codemods", "correct"), ("model", "false"), ("both", "none"),
    ]  # fmt: skip
    assert "test_text_runs_no_code" in results[1].why
    assert results[2].why == "There is no codemod for it."


async def test_a_fix_that_breaks_the_program_is_a_false_offer(
    corpus: Path, make_case: Any, scripted: Any
) -> None:
    results, _ = await evaluate_cases(corpus, [make_case()], ["model"], scripted({"model": USELESS}))
    assert results[0].outcome == "false"
    assert "test_numbers" in results[0].why


@pytest.mark.parametrize(
    "text",
    [
        "import os\nos._exit(0)\n",
        "import sys\nsys.exit(0)\n",
        "import pytest\npytest.skip('later', allow_module_level=True)\n",
        "def read(text:\n",
    ],
)
async def test_a_fix_that_ends_the_tests_is_never_correct(
    corpus: Path, make_case: Any, scripted: Any, text: str
) -> None:
    results, _ = await evaluate_cases(corpus, [make_case()], ["model"], scripted({"model": text}))
    assert results[0].outcome == "false"


async def test_a_fix_brings_no_tests_of_its_own(corpus: Path, make_case: Any) -> None:
    class Cheat:
        async def ask(self, workspace: Path, case: Case, column: Column) -> Answer:
            from deltaloom_server.evaluate.fix_source import Offer

            nothing = "def test_nothing():\n    pass\n"
            return Answer(True, Offer("x", {"test_exploit.py": nothing, "reader.py": STILL_WEAK}))

    results, _ = await evaluate_cases(corpus, [make_case()], ["model"], Cheat())
    assert results[0].outcome == "false"


async def test_the_program_is_shown_without_tests_fix_and_description(
    corpus: Path, make_case: Any, scripted: Any
) -> None:
    make_case(fixed__reader=RIGHT, stubs__helper="VALUE = 1\n")
    source = scripted({})
    await evaluate_cases(corpus, find_cases(corpus), ["both"], source)
    assert source.shown == [{"reader.py", "stubs/helper.py"}]


async def test_broken_cases_are_named_and_counted_apart(corpus: Path, make_case: Any, scripted: Any) -> None:
    make_case("CWE-095/a_good")
    make_case("CWE-095/b_not_weak", reader=RIGHT)
    make_case("CWE-095/c_does_not_work", reader=USELESS)
    make_case("CWE-095/d_bad_import", test_exploit="import no_such_module\n")
    make_case("CWE-095/e_skips", test_function="import pytest\n\n\ndef test_it():\n    pytest.skip('no')\n")
    make_case("CWE-095/f_no_exploit", test_exploit=None)
    make_case("CWE-095/g_no_file", case_toml='title = "x"\ncwe = 1\nrule = "S1"\nfile = "../reader.py"\n')
    make_case("CWE-095/h_bad_toml", case_toml="title = \n")
    make_case("CWE-095/i_fails_to_import", reader="raise RuntimeError\n")
    results, broken = await evaluate_cases(
        corpus, find_cases(corpus), ["both"], scripted({"both": RIGHT}), jobs=2
    )
    assert [(one.case, one.outcome) for one in results] == [("CWE-095/a_good", "correct")]
    assert [one.case[8:9] for one in broken] == list("bcdefghi")
    assert "exploits nothing" in broken[0].reason
    assert "does not pass test_function.py" in broken[1].reason
    assert "test_exploit.py does not run" in broken[2].reason
    assert "does not pass test_function.py" in broken[3].reason
    assert "has no test_exploit.py" in broken[4].reason
    assert "not a file of the case" in broken[5].reason
    assert "can't be read" in broken[6].reason
    assert total(results, "both").cases == 1


async def test_an_unreported_finding_and_an_error_are_no_offers(corpus: Path, make_case: Any) -> None:
    class Unlucky:
        async def ask(self, workspace: Path, case: Case, column: Column) -> Answer:
            if column == "model":
                raise DeltaloomError("No model is there.")
            return Answer(False, note="S307 was not reported.")

    results, _ = await evaluate_cases(corpus, [make_case()], ["codemods", "model"], Unlucky())
    assert [(one.outcome, one.why) for one in results] == [
        ("unfound", "S307 was not reported."), ("none", "No model is there."),
    ]  # fmt: skip


def test_a_folder_without_cases_is_said(corpus: Path, make_case: Any) -> None:
    with pytest.raises(CasesError, match="holds no cases"):
        find_cases(corpus)
    with pytest.raises(CasesError, match="is not a folder"):
        find_cases(corpus / "none")
    make_case()
    with pytest.raises(CasesError, match="None of the 1 cases"):
        find_cases(corpus, "CWE-089")
