"""An evaluation as JSON and as Markdown.

Invariant: both say the same numbers, and with which versions they came about; a column without offers is
there with zeros.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from deltaloom_server.evaluate.fix_source import Column
from deltaloom_server.evaluate.score import Broken, Result, Score, total

SCHEMA = 1


class Evaluation(msgspec.Struct, frozen=True):
    """All that was found out. `versions`: deltaloom's, python's and each scanner's; `model` is its name
    and hash, "" where none was asked for."""

    columns: tuple[Column, ...]
    results: tuple[Result, ...]
    broken: tuple[Broken, ...] = ()
    versions: Mapping[str, str] = {}
    model: str = ""

    @property
    def weaknesses(self) -> list[int]:
        """The CWEs of all results, in order."""
        return sorted({one.cwe for one in self.results})


def to_json(evaluation: Evaluation) -> bytes:
    """A document with a `schema` version; keys may be added within one."""
    columns = {
        column: {
            **_score(total(evaluation.results, column)),
            "held_out": _score(total([one for one in evaluation.results if one.held_out], column)),
            "by_cwe": {
                f"CWE-{cwe}": _score(total(evaluation.results, column, cwe)) for cwe in evaluation.weaknesses
            },
        }
        for column in evaluation.columns
    }
    document = {
        "schema": SCHEMA,
        "versions": dict(evaluation.versions),
        "model": evaluation.model,
        "columns": columns,
        "broken": evaluation.broken,
        "results": evaluation.results,
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def _score(score: Score) -> dict[str, Any]:
    return {
        "cases": score.cases,
        "offered": score.offered,
        "correct": score.correct,
        "false_offers": score.false,
        "not_reported": score.unfound,
        "fixed_rate": round(score.fixed_rate, 4),
        "false_offer_rate": round(score.false_rate, 4),
    }


def to_markdown(evaluation: Evaluation) -> str:
    """Two tables: the columns, and the weaknesses."""
    columns = evaluation.columns
    scores = {column: total(evaluation.results, column) for column in columns}
    rows = [
        ["cases", *(str(scores[one].cases) for one in columns)],
        ["offered", *(str(scores[one].offered) for one in columns)],
        ["correct (both tests pass)", *(str(scores[one].correct) for one in columns)],
        ["false offers", *(str(scores[one].false) for one in columns)],
        ["fixed, of all cases", *(f"{scores[one].fixed_rate:.0%}" for one in columns)],
        ["false, of all offers", *(f"{scores[one].false_rate:.1%}" for one in columns)],
    ]
    held_out = [one for one in evaluation.results if one.held_out]
    for name, outcome in (("correct", "correct"), ("false offers", "false")):
        counts = [sum(r.outcome == outcome and r.column == one for r in held_out) for one in columns]
        if held_out:
            of = len({one.case for one in held_out})
            rows.append([f"of the {of} held-out cases: {name}", *map(str, counts)])
    parts = [_table(["", *columns], rows)]
    rows = [
        [f"CWE-{cwe}", str(_cases(evaluation, cwe)), *(_cell(evaluation, one, cwe) for one in columns)]
        for cwe in evaluation.weaknesses
    ]
    parts.append("Correct / offered:\n\n" + _table(["weakness", "cases", *columns], rows))
    if evaluation.broken:
        parts.append(
            "Broken cases, counted nowhere:\n\n"
            + "\n".join(f"- {_flat(one.reason)}" for one in evaluation.broken)
        )
    versions = ", ".join(f"{name} {version}" for name, version in evaluation.versions.items() if version)
    parts.append(f"Model: {evaluation.model or 'none'}. Versions: {versions}.")
    return "\n\n".join(parts) + "\n"


def _cases(evaluation: Evaluation, cwe: int) -> int:
    return len({one.case for one in evaluation.results if one.cwe == cwe})


def _cell(evaluation: Evaluation, column: Column, cwe: int) -> str:
    score = total(evaluation.results, column, cwe)
    return f"{score.correct} / {score.offered}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _flat(text: str) -> str:
    return " ".join(text.split())
