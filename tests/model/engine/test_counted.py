"""Counted: what the counters say entered layer 0 is what an independent count at the embedding says."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from deltaloom_model.api import CAUSES, GenerateResult, StopRules

BASE = {f"src/part{i}.py": "".join(f"name_{j} = part({i * j})\n" for j in range(6)) for i in range(4)}
OPEN = "import part\n\nfirst = part.name_1(1)\nsecond = part.name_2(first)\nthird = part(\n"


@pytest.fixture
def desk(new_desk: Callable[..., Any], entered: list[int]) -> Any:
    made = new_desk()
    made.base = dict(BASE)
    assert entered == []
    return made


def risen(desk: Any, before: dict[str, int]) -> dict[str, int]:
    return {cause: n - before[cause] for cause, n in counters(desk).items() if n != before[cause]}


def counters(desk: Any) -> dict[str, int]:
    return dict(desk.engine.reader.counters)


def by_span(desk: Any, start: int) -> dict[str, int]:
    """How many tokens of the held context from `start` on stand in base (its header included) and in log."""
    counts: Counter[str] = Counter()
    for span in desk.context.sequence.spans:
        cause = "log" if span.kind == "log" else "base"
        counts[cause] += max(span.end - max(span.start, start), 0)
    return {cause: n for cause, n in counts.items() if n}


def test_a_cold_sync_reads_every_token_once(desk: Any, entered: list[int]) -> None:
    before = counters(desk)
    result = desk.sync()
    assert entered == desk.ids.tolist()
    assert risen(desk, before) == {"base": len(entered)}
    assert (result.read, result.tokens, result.restored_at) == (len(entered), len(entered), 0)
    assert desk.engine.status().counters == dict.fromkeys(CAUSES, 0) | {"base": len(entered)}


def test_what_is_read_at_once_lies_in_one_span(desk: Any) -> None:
    """However many chunks and checkpoints it took: attention runs over few spans."""
    held = desk.sync().tokens
    [view] = desk.end.state.views
    assert view.length == held
    assert view.span.capacity < held + 64
    desk.log.append(("src/part1.py", "".join(f"more_{i} = part({i})\n" for i in range(30))))
    added = desk.sync().read
    assert [view.length for view in desk.end.state.views] == [held, added]


def test_a_repeated_sync_reads_nothing(desk: Any, entered: list[int]) -> None:
    desk.sync()
    entered.clear()
    before = counters(desk)
    again = desk.sync()
    assert (again.read, entered, risen(desk, before)) == (0, [], {})
    assert again.restored_at == again.divergence == again.tokens == len(desk.ids)


def test_a_log_entry_costs_its_own_tokens(desk: Any, entered: list[int]) -> None:
    held = desk.sync().tokens
    entered.clear()
    before = counters(desk)
    desk.log.append(("src/part0.py", BASE["src/part0.py"] + "more = 1\n"))
    result = desk.sync()
    assert risen(desk, before) == {"log": result.tokens - held}
    assert entered == desk.ids[held:].tolist()


def test_an_edit_in_base_is_counted_on_both_sides_of_the_border(desk: Any, entered: list[int]) -> None:
    desk.log.append(("src/part1.py", None))
    desk.sync()
    entered.clear()
    before = counters(desk)
    desk.base["src/part2.py"] = "other = 1\n"
    result = desk.sync()
    assert risen(desk, before) == by_span(desk, result.restored_at)
    assert risen(desk, before).keys() == {"base", "log"}
    assert entered == desk.ids[result.restored_at :].tolist()


def test_compaction_is_a_cause_of_its_own(desk: Any, entered: list[int]) -> None:
    desk.log.append(("src/part1.py", "other = 1\n"))
    desk.sync()
    entered.clear()
    before = counters(desk)
    desk.base["src/part1.py"], desk.log = "other = 1\n", [("src/part3.py", None)]
    held = desk.ids
    result = desk.sync(compaction=True)
    assert risen(desk, before) == {"compaction": result.read}
    assert result.read == len(entered) > 0
    assert desk.ids is held, "what is only prepared switches nothing"
    prepared = [*entered]
    entered.clear()
    assert desk.sync().read == 0
    assert entered == []
    assert prepared == desk.ids[result.restored_at :].tolist()


def test_a_sync_closed_half_way_has_counted_what_it_read(desk: Any, entered: list[int]) -> None:
    before = counters(desk)
    assert desk.sync(most=2) is None
    assert 0 < len(entered) < 200
    assert risen(desk, before) == {"base": len(entered)}
    first = list(entered)
    result = desk.sync()
    assert result.restored_at == len(first), "and none of it is read again"
    assert entered == desk.ids.tolist()


def test_a_completion_counts_anchor_typed_and_decode(desk: Any, entered: list[int]) -> None:
    held = desk.sync().tokens
    entered.clear()
    before = counters(desk)
    line = OPEN.index("third")
    result: GenerateResult = desk.complete("src/open.py", OPEN, line + len("third = part("))
    assert result.read == risen(desk, before)
    fed = desk.engine.tokenizer.encode("third = part(").tolist()
    assert result.read == {
        "anchor": result.context_tokens - held - len(fed),
        "typed": len(fed),
        "decode": result.new_tokens - (result.finish == "length"),
    }
    assert sum(result.read.values()) == len(entered)
    _, anchored = desk.lookups[-1]
    assert entered[: result.read["anchor"]] == anchored[held:].tolist()
    assert entered[result.read["anchor"] :][: len(fed)] == fed


@pytest.mark.parametrize("line", [0, 2, 4], ids=["first line", "middle", "last line"])
def test_a_keystroke_reads_the_line_so_far_and_nothing_else(desk: Any, entered: list[int], line: int) -> None:
    desk.sync()
    start = sum(len(text) for text in OPEN.splitlines(keepends=True)[:line])
    rest = "".join(OPEN.splitlines(keepends=True)[line + 1 :])
    typed = "total = part.name(first, "
    for count in range(len(typed) + 1):
        # What stands behind the cursor stays as it is while a line is typed.
        text = OPEN[:start] + typed[:count] + "\n" + rest
        entered.clear()
        before = counters(desk)
        result = desk.complete("src/open.py", text, start + count, max_new_tokens=3)
        assert result.read == risen(desk, before)
        assert sum(result.read.values()) == len(entered)
        if count:
            assert result.read.keys() <= {"typed", "decode"}
            assert result.read.get("typed", 0) <= count
            assert result.restored_at == result.context_tokens - result.read.get("typed", 0)


def test_one_new_token_decodes_nothing(desk: Any) -> None:
    """The last token produced never needs to enter the model."""
    desk.sync()
    result = desk.complete("src/open.py", OPEN, OPEN.index("third"), max_new_tokens=1)
    assert "decode" not in result.read
    assert "typed" not in result.read, "the cursor stands at the line's start"


def test_counters_equal_the_independent_count_over_a_whole_script(desk: Any, entered: list[int]) -> None:
    rng = random.Random(3)
    for turn in range(30):
        before = counters(desk)
        entered.clear()
        path = rng.choice(list(BASE))
        if turn % 3 == 0:
            desk.base[path] = f"turn_{turn} = 1\n" + desk.base[path]
            desk.sync(most=rng.choice([None, 1, 3]))
        elif turn % 3 == 1:
            desk.log.append((path, rng.choice([None, f"logged_{turn} = 2\n"])))
            desk.sync(compaction=rng.random() < 0.3)
        else:
            desk.complete(path, OPEN, rng.randrange(len(OPEN)), most=rng.choice([None, 2, 5]))
        assert sum(risen(desk, before).values()) == len(entered)
        assert min(risen(desk, before).values(), default=1) > 0
    assert all(counters(desk).values()), "every cause came up"


def test_restores_are_recorded_with_divergence_checkpoint_and_tokens_read(desk: Any) -> None:
    first = desk.sync()
    desk.base["src/part2.py"] = BASE["src/part2.py"].replace("name_3", "changed")
    second = desk.sync()
    answer = desk.complete("src/open.py", OPEN, 12)
    desk.complete("src/open.py", OPEN, 12)
    third = desk.sync(compaction=True)
    recorded = [(r.cause, r.divergence, r.checkpoint, r.read) for r in desk.engine.status().restores]
    assert recorded == [
        ("base", 0, 0, first.tokens),
        ("base", second.divergence, second.restored_at, second.read),
        ("anchor", answer.restored_at, answer.restored_at, answer.read["anchor"]),
        ("compaction", third.tokens, third.tokens, 0),
    ]
    assert second.restored_at < second.divergence < second.tokens
    assert all(r.milliseconds >= 0.0 for r in desk.engine.status().restores)


def test_status_shows_what_is_held_and_how_far_a_sync_has_come(desk: Any) -> None:
    desk.sync(most=2)
    [context] = desk.engine.status().contexts
    assert 0 < context.done < context.tokens
    assert (context.session, context.workspace, context.revision) == ("one", "w", -1)
    desk.sync()
    status = desk.engine.status()
    [context] = status.contexts
    assert context.done == context.tokens == len(desk.ids)
    assert (context.revision, context.segments) == (desk.revision, len(BASE))
    assert status.checkpoints == len(desk.engine.store) > 1
    assert status.checkpoint_bytes == desk.engine.store.state_bytes > 0
    assert status.kv_bytes == desk.engine.store.kv_bytes > 0
    assert status.model == desk.engine.model
    assert status.weight_bytes == sum(8 * p.numel() for p in desk.engine.reader.model.parameters())


def test_text_the_engine_lacks_is_asked_for_and_nothing_is_read(
    desk: Any, entered: list[int], tools: Any
) -> None:
    request = msgspec.structs.replace(desk.request(), texts={})
    result = tools.run(desk.engine.sync(request))
    assert result.missing == [segment.digest for segment in request.segments]
    assert entered == []
    assert desk.engine.status().contexts == []
    assert desk.complete("src/open.py", OPEN, 3, stop=StopRules()).repository_context is False
