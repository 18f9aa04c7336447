"""Asked in words: what is read for an answer is exact, counted and pure, and a next turn goes on from it."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from torch import Tensor

from deltaloom_model.api import (
    GenerateRequest,
    GenerateResult,
    GenerateUpdate,
    Message,
    ModelInfo,
    ModelSpec,
    PurgeRequest,
    StopRules,
)
from deltaloom_model.client import EngineClient, ping_status
from deltaloom_model.inbox import Inbox, Submit, Ticket
from deltaloom_model.loading.config import HybridConfig
from deltaloom_model.loading.export import export_model
from deltaloom_model.loading.weights import expected_shapes
from deltaloom_model.scheduler import Scheduler

INFO = ModelInfo(
    "small", "f" * 32, dtype="float64", device="cpu", quantization="none", context_limit=4096,
    abilities=("fim", "instruct"),
)  # fmt: skip
BASE = {
    "shop/order.py": "class Order:\n    def total(self) -> int:\n        return sum(self.prices)\n",
    "shop/user.py": "".join(f"user_{i} = Order({i}, name='n{i}')\n" for i in range(10)),
}
LOG = [("shop/order.py", BASE["shop/order.py"].replace("sum", "max"))]
OPEN = "from shop.order import Order\n\n\ndef checkout(order: Order) -> int:\n    return order.total()\n"
SYSTEM = Message("system", "You explain code, in one sentence and without a list of its lines.")
FIRST = [SYSTEM, Message("user", "What does total return, and for whom is it called?", ["shop/order.py"])]
SECOND = [*FIRST, Message("assistant", "The largest price."), Message("user", "Shouldn't it be the sum?")]


class Talk:
    """A desk that asks in words."""

    def __init__(self, desk: Any, run: Callable[..., Any]) -> None:
        self.desk, self._run = desk, run

    def ask(
        self, messages: list[Message], text: str = "", path: str = "", at: int = 0, most: int | None = None,
        **options: Any,
    ) -> GenerateResult:  # fmt: skip
        line = text.rfind("\n", 0, at) + 1
        request = GenerateRequest(
            self.desk.session, self.desk.workspace, "shop", self.desk.revision, path, text[:line],
            text[line:at], text[at:], messages=messages, **{"max_new_tokens": 12} | options,
        )  # fmt: skip
        result: GenerateResult = self._run(self.desk.engine.generate(request), most)
        return result


@pytest.fixture
def new_talk(new_engine: Callable[..., Any], new_desk: Callable[..., Any], tools: Any) -> Callable[..., Talk]:
    def make(info: ModelInfo = INFO, spec: ModelSpec | None = None, synced: bool = True) -> Talk:
        desk = new_desk(new_engine(info, spec))
        desk.base, desk.log = dict(BASE), list(LOG)
        if synced:
            desk.sync()
        return Talk(desk, tools.run)

    return make


@pytest.fixture
def talk(new_talk: Callable[..., Talk]) -> Talk:
    return new_talk()


def same(first: GenerateResult, second: GenerateResult) -> bool:
    return (first.logits_digest, first.text) == (second.logits_digest, second.text)


def test_warm_equals_cold(talk: Talk, new_talk: Callable[..., Talk], tools: Any) -> None:
    talk.desk.complete("shop/checkout.py", OPEN, 40)
    for text in (OPEN, OPEN.replace("checkout", "pay")):
        for messages in (FIRST, SECOND, FIRST[1:]):
            warm = talk.ask(messages, text, "shop/checkout.py", 60)
            assert same(warm, new_talk().ask(messages, text, "shop/checkout.py", 60))
    talk.desk.log.append(("shop/user.py", "user = 1\n"))
    talk.desk.sync()
    warm = talk.ask(SECOND)
    cold = new_talk(synced=False)
    cold.desk.log = talk.desk.log
    cold.desk.sync()
    assert same(warm, cold.ask(SECOND))
    assert max(tools.audit(talk.desk).values()) < 1e-9


def test_context_file_and_messages_all_reach_the_answer(talk: Talk, new_talk: Callable[..., Talk]) -> None:
    alone = new_talk(synced=False).ask(FIRST)
    assert not alone.repository_context
    seen = {
        alone.logits_digest,
        talk.ask(FIRST).logits_digest,
        talk.ask(FIRST, OPEN, "shop/checkout.py").logits_digest,
        talk.ask(FIRST, OPEN, "shop/pay.py").logits_digest,
        talk.ask(FIRST[1:]).logits_digest,
        talk.ask(SECOND).logits_digest,
    }
    assert len(seen) == 6


def test_the_live_copy_is_the_whole_file_wherever_the_cursor_is(talk: Talk, entered: list[int]) -> None:
    first = talk.ask(FIRST, OPEN, "shop/checkout.py", 0)
    assert OPEN in talk.desk.engine.tokenizer.decode(entered)
    for at in (1, 33, len(OPEN)):
        again = talk.ask(FIRST, OPEN, "shop/checkout.py", at)
        assert same(first, again)
        assert "anchor" not in again.read


def test_a_huge_file_is_cut_around_the_cursor(talk: Talk, entered: list[int]) -> None:
    text = "".join(f"value_{i} = {i} * factor(name='n{i}')\n" for i in range(4000))
    result = talk.ask(FIRST, text, "shop/values.py", text.index("value_3000 = "), max_new_tokens=1)
    shown = talk.desk.engine.tokenizer.decode(entered)
    assert "value_2999 = " in shown
    assert "value_3000 = " in shown
    assert "value_5 = " not in shown
    assert result.context_tokens < 10_000
    assert result.text


@pytest.mark.parametrize("path", ["", "shop/checkout.py"])
def test_every_token_is_counted(talk: Talk, entered: list[int], path: str) -> None:
    text = OPEN if path else ""
    for messages in (FIRST, SECOND, FIRST, SECOND[:3]):
        entered.clear()
        before = dict(talk.desk.engine.reader.counters)
        result = talk.ask(messages, text, path)
        after = talk.desk.engine.reader.counters
        risen = {cause: n - before[cause] for cause, n in after.items() if n != before[cause]}
        assert risen == result.read
        assert sum(risen.values()) == len(entered)
        assert set(risen) <= {"anchor", "decode"}
        assert result.context_tokens - result.restored_at == risen.get("anchor", 0)


def test_a_second_turn_reads_only_what_was_added(talk: Talk) -> None:
    first = talk.ask(FIRST, OPEN, "shop/checkout.py")
    assert first.restored_at == len(talk.desk.ids)
    second = talk.ask(SECOND, OPEN, "shop/checkout.py")
    assert second.restored_at == first.context_tokens
    added = talk.desk.engine.tokenizer.encode("The largest price.Shouldn't it be the sum?")
    assert second.read["anchor"] <= len(added) + 16
    assert second.context_tokens == first.context_tokens + second.read["anchor"]
    last = talk.desk.engine.status().restores[-1]
    assert (last.cause, last.checkpoint, last.divergence) == (
        "anchor", first.context_tokens, first.context_tokens,
    )  # fmt: skip


def test_another_answer_to_the_same_question_reads_nothing(talk: Talk) -> None:
    first = talk.ask(FIRST, temperature=1.0, seed=1)
    second = talk.ask(FIRST, temperature=1.0, seed=2)
    assert "anchor" not in second.read
    assert first.logits_digest == second.logits_digest
    assert first.text != second.text


def test_another_question_about_the_same_file_begins_after_the_instructions(talk: Talk) -> None:
    first = talk.ask(FIRST, OPEN, "shop/checkout.py")
    other = talk.ask([SYSTEM, Message("user", "Is order ever None?")], OPEN, "shop/checkout.py")
    assert other.restored_at > first.restored_at
    assert other.read["anchor"] < 20


def test_an_answer_enters_kept_state_only_as_a_message(talk: Talk, tools: Any) -> None:
    desk = talk.desk
    result = talk.ask(FIRST, max_new_tokens=40)
    assert result.new_tokens > 5
    kept = {checkpoint.key for checkpoint in desk.engine.store}
    assert kept == set(tools.explained(desk)), "nothing is kept but what was asked to be held"
    longest = max(checkpoint.position for checkpoint in desk.engine.store)
    assert longest == result.context_tokens
    length = len(desk.ids)
    assert desk.sync().read == 0
    assert len(desk.ids) == length
    assert same(talk.ask(FIRST, max_new_tokens=40), result)


@pytest.mark.parametrize("steps", range(5))
def test_a_question_broken_off_leaves_nothing_wrong(
    talk: Talk, new_talk: Callable[..., Talk], tools: Any, steps: int
) -> None:
    assert talk.ask(SECOND, OPEN, "shop/checkout.py", most=steps) is None
    kept = {checkpoint.key for checkpoint in talk.desk.engine.store}
    assert kept == set(tools.explained(talk.desk))
    expected = new_talk().ask(SECOND, OPEN, "shop/checkout.py")
    assert same(talk.ask(SECOND, OPEN, "shop/checkout.py"), expected)


def test_completions_go_on_as_if_nobody_had_asked(talk: Talk, new_talk: Callable[..., Talk]) -> None:
    before = talk.desk.complete("shop/checkout.py", OPEN, 60)
    talk.ask(SECOND, OPEN, "shop/checkout.py", 60)
    again = talk.desk.complete("shop/checkout.py", OPEN, 60)
    assert same(before, again)
    assert "anchor" not in again.read
    assert same(before, new_talk().desk.complete("shop/checkout.py", OPEN, 60))


def test_a_purged_file_takes_the_conversations_about_it_along(talk: Talk) -> None:
    first = talk.ask([SYSTEM, Message("tool", "secret = 1", ["other/keys.py"]), Message("user", "Well?")])
    kept = talk.ask([SYSTEM, Message("user", "Well?", ["other/harmless.py"])])
    talk.desk.engine.purge(PurgeRequest(talk.desk.workspace, ["other/keys.py"]))
    positions = {checkpoint.position for checkpoint in talk.desk.engine.store}
    assert first.context_tokens not in positions
    assert kept.context_tokens in positions


def test_the_live_copy_goes_with_its_file(talk: Talk) -> None:
    result = talk.ask(FIRST, OPEN, "shop/checkout.py")
    talk.desk.engine.purge(PurgeRequest(talk.desk.workspace, ["shop/checkout.py"]))
    held = len(talk.desk.ids)
    assert {c.position for c in talk.desk.engine.store if c.position > held} == set()
    assert result.context_tokens > held


# --- where an answer ends -----------------------------------------------------------------------------------


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch, talk: Talk) -> Callable[..., None]:
    """Have the model say this, then the token of this name."""

    def script(text: str, end: str) -> None:
        tokenizer = talk.desk.engine.tokenizer
        said = [*tokenizer.encode(text).tolist(), tokenizer.special_id(end)]
        tokens: Iterator[int] = iter(said)

        def choose(logits: Tensor, *_: object) -> tuple[int, float]:
            return next(tokens), -1.0

        monkeypatch.setattr("deltaloom_model.decode.choose", choose)

    return script


@pytest.mark.parametrize("end", ["<|im_end|>", "<|endoftext|>", "<|im_start|>"])
def test_an_answer_ends_with_its_turn(talk: Talk, scripted: Callable[..., None], end: str) -> None:
    answer = "It adds.\n\n```python\nreturn sum(prices)\n```\n"
    scripted(answer, end)
    result = talk.ask(FIRST, max_new_tokens=100)
    assert (result.text, result.finish) == (answer, "stop")


def test_stop_rules_hold_where_they_are_given(talk: Talk, scripted: Callable[..., None]) -> None:
    scripted("one\ntwo\n\nthree\n", "<|im_end|>")
    assert talk.ask(FIRST, max_new_tokens=100, stop=StopRules(max_lines=2)).text == "one\ntwo"
    scripted("one\ntwo\n\nthree\n", "<|im_end|>")
    assert talk.ask(FIRST, max_new_tokens=100, stop=StopRules(0, blank_lines=1)).text == "one\ntwo"


# --- what isn't answered ------------------------------------------------------------------------------------


def test_a_model_that_only_completes_says_so(new_talk: Callable[..., Talk], entered: list[int]) -> None:
    talk = new_talk(msgspec.structs.replace(INFO, name="nano", abilities=("fim",)))
    entered.clear()
    result = talk.ask(FIRST)
    assert (result.text, result.finish) == ("", "unavailable")
    assert result.reason == (
        "nano completes code but doesn't follow instructions; choose an instruct model with model.path."
    )
    assert entered == []


@pytest.mark.parametrize("length", [200_000, 3_000_000])
def test_a_conversation_without_room_is_refused_unread(talk: Talk, entered: list[int], length: int) -> None:
    entered.clear()
    result = talk.ask([SYSTEM, Message("user", "what? " * (length // 6))])
    assert (result.text, result.finish, entered) == ("", "unavailable", [])
    assert "longer than the model can read" in result.reason


# --- beside others ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [1, 2, 8])
def test_a_completion_overtakes_a_long_answer(talk: Talk, before: int) -> None:
    finished: list[int] = []

    def emit(ticket: Ticket, reply: object) -> None:
        if isinstance(reply, GenerateResult):
            finished.append(ticket.request_id)

    inbox = Inbox()
    scheduler = Scheduler(talk.desk.engine, inbox, emit, lambda _status: None)
    asked = GenerateRequest(
        "one", "w", "shop", 0, "", "", "", "", messages=FIRST, max_new_tokens=40, temperature=1.0
    )
    inbox.put(Submit(Ticket("c", 1), asked))
    for _ in range(before):
        scheduler.turn()
    typed = GenerateRequest("one", "w", "shop", 0, "shop/checkout.py", OPEN, "x = ", "", max_new_tokens=4)
    inbox.put(Submit(Ticket("c", 2), typed))
    while len(finished) < 2:
        scheduler.turn()
    assert finished == [2, 1]


def test_conversations_stay_in_memory(new_talk: Callable[..., Talk], tmp_path: Path) -> None:
    talk = new_talk(spec=ModelSpec(disk_bytes=1 << 30, cache_folder=str(tmp_path)))

    def written() -> set[Path]:
        talk.desk.engine.close()
        return {path for path in tmp_path.rglob("*") if path.is_file()}

    talk.desk.complete("shop/checkout.py", OPEN, 40)
    before = written()
    assert before
    talk.ask(SECOND, OPEN, "shop/checkout.py")
    assert written() == before


# --- the whole way ------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, config: HybridConfig, tokenizer_json: bytes) -> Path:
    """A model folder whose chat template knows tool calls."""
    generator = torch.Generator().manual_seed(3)
    shapes = expected_shapes(config)
    tensors = {name: torch.randn(shape, generator=generator) * 0.1 for name, shape in shapes.items()}
    export_model(tmp_path / "small", config, tensors, tokenizer_json, quantize=False)
    (tmp_path / "small" / "manifest.json").unlink()
    (tmp_path / "small" / "chat_template.jinja").write_text("<|im_start|> <tool_call>\n<function=")
    return tmp_path / "small"


@pytest.mark.timeout(120)
async def test_a_real_worker_is_asked_over_its_socket(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Path(tempfile.mkdtemp(prefix="dl"))
    monkeypatch.setenv("XDG_STATE_HOME", str(runtime / "state"))
    spec = ModelSpec(str(folder), device="cpu", threads=1)
    client = EngineClient(spec, session="one", runtime_dir=runtime / "run", idle_seconds=20.0)
    try:
        pieces: list[str] = []

        def take(update: GenerateUpdate) -> None:
            pieces.append(update.text)

        request = GenerateRequest("one", "w", "shop", 0, "", "", "", "", messages=FIRST, max_new_tokens=8)
        first = await client.generate(request, take)
        assert first.finish in ("stop", "length")
        assert "".join(pieces).startswith(first.text)
        second = await client.generate(msgspec.structs.replace(request, messages=SECOND))
        assert second.restored_at == first.context_tokens
        status = await client.status()
        assert status.model is not None
        assert status.model.abilities == ("fim", "instruct", "tools")
    finally:
        await client.close()
        for left in ping_status(runtime / "run"):
            os.kill(left.pid, signal.SIGKILL)
        shutil.rmtree(runtime, ignore_errors=True)
