"""How many tokens each scenario may cost at most, from the sizes of the files that were edited.

Invariant: a bound is computed from the script and token counts alone, never from what was measured.

    keystroke   64
    new line    64 + the suffix where the model reads it after the prefix (PSM), 256 at most
    move        64 + the changed part of the open file's FIM form
    file        64 + the files changed since + the active one
    look-up     64
    restart     64 + one hundredth of the context + the active file
    free        none: what is read in idle time, or for the first time
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path

from .counting import TokenCounts
from .result import OURS, Growth, SizeRun
from .script import Ask, Step

FIXED = 64
SUFFIX_TOKENS = 256
MOST_TIMES_THE_MILLISECONDS = 2.0
_LEAST_MILLISECONDS = 20.0
"""Below that a look-up's time is the scheduler's and the clock's, and no ratio means anything."""
_FIM_MARKS = 3


def bound_texts(steps: Iterable[Step], fim_order: str) -> set[str]:
    """The texts whose tokens `bound_parts` asks for."""
    wanted: set[str] = set()
    for step in steps:
        wanted |= {text for _, text in step.appended}
        wanted |= {step.ask.text, step.ask.typed, step.ask.suffix, _changed_part(step, fim_order)}
    return wanted


def bound_parts(step: Step, counts: TokenCounts, fim_order: str, context: int) -> dict[str, int] | None:
    """What a step may read, by what it is for; the bound is the sum. None where there is no bound."""
    match step.rule:
        case "free":
            return None
        case "keystroke" | "look-up":
            return {"fixed": FIXED}
        case "new line":
            suffix = _bounded(counts.texts[step.ask.suffix]) if fim_order == "psm" else 0
            return {"fixed": FIXED, "suffix": suffix}
        case "move":
            return {"fixed": FIXED, "changed part": _moved(step, counts, fim_order)}
        case "restart":
            return {"fixed": FIXED, "hundredth": context // 100, "active": _active(step.ask, counts)}
    changed = sum(counts.segment(path, text) for path, text in step.appended)
    return {"fixed": FIXED, "changed": changed, "active": _active(step.ask, counts)}


def _active(ask: Ask, counts: TokenCounts) -> int:
    return counts.segment(ask.path, ask.text) + _FIM_MARKS


def _bounded(tokens: int) -> int:
    return min(tokens, SUFFIX_TOKENS)


def _moved(step: Step, counts: TokenCounts, fim_order: str) -> int:
    """Prefix that is new, the suffix, and the line so far; all of the prefix where it stands behind the
    suffix (SPM)."""
    ask = step.ask
    new = counts.texts[_changed_part(step, fim_order)] + counts.texts[ask.typed]
    return new + _bounded(counts.texts[ask.suffix])


def _changed_part(step: Step, fim_order: str) -> str:
    now, before = step.ask.prefix, step.before
    if fim_order == "psm" and before is not None and before.path == step.ask.path:
        return now[_shared_lines(now, before.prefix) :]
    return now


def _shared_lines(one: str, other: str) -> int:
    """The length of the whole lines that two texts have in common at their beginning."""
    length = 0
    for left, right in zip(one.splitlines(keepends=True), other.splitlines(keepends=True), strict=False):
        if left != right:
            break
        length += len(left)
    return length


def growth(runs: Iterable[SizeRun]) -> list[Growth]:
    """The edits that are the same at every size: the largest beside the smallest. Empty with one size."""
    ours = sorted((run for run in runs if run.system == OURS), key=lambda run: run.context)
    if len(ours) < 2:
        return []
    small, large = ours[0], ours[-1]
    before = {row.scenario: row for row in small.rows if row.same_everywhere and not row.skipped}
    entries = []
    for row in large.rows:
        first = before.get(row.scenario)
        if first is None or row.skipped:
            continue
        allowed = MOST_TIMES_THE_MILLISECONDS * max(first.milliseconds, _LEAST_MILLISECONDS)
        entries.append(
            Growth(
                row.scenario,
                small.context,
                large.context,
                first.tokens,
                row.tokens,
                first.milliseconds,
                row.milliseconds,
                tokens_held=abs(row.tokens - first.tokens) <= FIXED and row.held is not False,
                milliseconds_held=row.milliseconds <= allowed,
            )
        )
    return entries


def embedded_fim_order() -> str:
    """In which order the embedded model reads prefix and suffix: "psm" or "spm", as its folder says."""
    spec = find_spec("deltaloom_model")
    assert spec is not None
    assert spec.submodule_search_locations
    config = Path(spec.submodule_search_locations[0]) / "nano" / "config.json"
    tree: Mapping[str, Mapping[str, str]] = json.loads(config.read_text(encoding="utf-8"))
    return tree.get("deltaloom", {}).get("fim_order", "psm")
