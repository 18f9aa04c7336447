"""The sums, the bounds, and how both are written down."""

from __future__ import annotations

import msgspec
import pytest

from deltaloom_server.evaluate.fix_source import COLUMNS
from deltaloom_server.evaluate.report import Evaluation, to_json, to_markdown
from deltaloom_server.evaluate.score import Broken, Result, missed_bounds, total


def results(column: str, correct: int, false: int, none: int, cwe: int = 78) -> list[Result]:
    kinds = ["correct"] * correct + ["false"] * false + ["none"] * none
    return [
        Result(f"CWE-{cwe:03d}/{n}", cwe, "S602", column, kind)  # type: ignore[arg-type]
        for n, kind in enumerate(kinds)
    ]


def test_rates_are_of_all_cases_and_of_all_offers() -> None:
    score = total(results("both", 6, 2, 4), "both")
    assert (score.cases, score.offered, score.correct, score.false) == (12, 8, 6, 2)
    assert score.fixed_rate == pytest.approx(0.5)
    assert score.false_rate == pytest.approx(0.25)


def test_a_column_without_offers_is_zero_and_not_left_out() -> None:
    evaluation = Evaluation(COLUMNS, tuple(results("codemods", 1, 0, 0) + results("model", 0, 0, 1)))
    document = msgspec.json.decode(to_json(evaluation))
    assert document["columns"]["model"]["offered"] == 0
    assert document["columns"]["model"]["false_offer_rate"] == 0
    assert document["columns"]["both"]["cases"] == 0
    assert "| fixed, of all cases | 100% | 0% | 0% |" in to_markdown(evaluation)


@pytest.mark.parametrize(
    ("correct", "false", "none", "missed"),
    [(19, 1, 0, 0), (19, 2, 0, 1), (12, 0, 8, 0), (11, 0, 9, 1), (1, 1, 18, 2), (0, 0, 3, 1)],
)
def test_bounds(correct: int, false: int, none: int, missed: int) -> None:
    assert len(missed_bounds(results("both", correct, false, none), ["both"])) == missed


def test_the_least_of_fixes_is_asked_of_both_together_only() -> None:
    assert missed_bounds(results("model", 0, 0, 9), ["model"]) == []
    assert "wrong" in missed_bounds(results("codemods", 1, 1, 0), ["codemods"])[0]


def test_the_document_names_versions_weaknesses_and_broken_cases() -> None:
    both = tuple(results("both", 1, 1, 0) + results("both", 1, 0, 0, cwe=89))
    broken = (Broken("CWE-001/x", "CWE-001/x has no\ntest_exploit.py."),)
    evaluation = Evaluation(("both",), both, broken, {"ruff": "1.2", "semgrep": ""}, "nano 0f1e")
    document = msgspec.json.decode(to_json(evaluation))
    assert document["schema"] == 1
    assert document["columns"]["both"]["by_cwe"]["CWE-78"]["false_offers"] == 1
    assert document["broken"][0]["case"] == "CWE-001/x"
    text = to_markdown(evaluation)
    assert "| CWE-78 | 2 | 1 / 2 |" in text
    assert "| CWE-89 | 1 | 1 / 1 |" in text
    assert "- CWE-001/x has no test_exploit.py." in text
    assert "Model: nano 0f1e. Versions: ruff 1.2." in text
