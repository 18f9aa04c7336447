"""State outlives the process and the device's memory, exactly, and a purged file outlives neither."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from deltaloom_model.api import ModelSpec, PurgeRequest
from deltaloom_model.checkpoint import Checkpoint, Contents, PrefixHash
from deltaloom_model.tiers.host import HostTier

EXACT = 1e-9
FILES = {f"src/part{i}.py": "".join(f"name_{j} = part_{i}({j * i})\n" for j in range(40)) for i in range(6)}
OPEN = "import part0\n\n\ndef total(items):\n    count = 0\n    return items[0] + \n\n\nprint(total([]))\n"
AT = OPEN.index(" + ") + 3


@pytest.fixture
def spec(tmp_path: Path) -> ModelSpec:
    return ModelSpec(disk_bytes=1 << 30, cache_folder=str(tmp_path))


@pytest.fixture
def restarted(new_engine: Callable[..., Any], new_desk: Callable[..., Any], spec: ModelSpec) -> Any:
    """Desks whose engines share nothing but the cache folder, each closed as a leaving worker does."""
    desks: list[Any] = []

    def make(**options: Any) -> Any:
        if desks:
            desks[-1].engine.close()
        desk = new_desk(new_engine(spec=spec), **options)
        desk.base = dict(FILES)
        desks.append(desk)
        return desk

    return make


def test_after_a_restart_nothing_is_read_again(restarted: Any, entered: list[int]) -> None:
    desk = restarted()
    desk.log = [("src/part2.py", "other = 2\n")]
    cold = desk.sync()
    answer = desk.complete("src/open.py", OPEN, AT)
    desk = restarted()
    desk.log = [("src/part2.py", "other = 2\n")]
    entered.clear()
    warm = desk.sync()
    assert (warm.read, warm.restored_at, warm.tokens) == (0, cold.tokens, cold.tokens)
    assert entered == []
    again = desk.complete("src/open.py", OPEN, AT)
    assert again.text == answer.text
    assert again.read.keys() == {"typed", "decode"}, "the open file's part comes back as well"
    assert again.top[0].logprob == pytest.approx(answer.top[0].logprob, abs=EXACT)


def test_what_comes_back_is_exact(restarted: Any, tools: Any) -> None:
    restarted().sync()
    desk = restarted()
    desk.sync()
    assert desk.engine.status().tiers[2].hits > 0
    desk.log = [("src/part1.py", FILES["src/part1.py"] + "more = 1\n")]
    desk.sync()
    desk.complete("src/open.py", OPEN, AT)
    assert max(tools.audit(desk).values()) < EXACT
    desk.engine.store.check_integrity()


def test_after_an_edit_between_two_runs_only_what_follows_is_read(restarted: Any) -> None:
    restarted().sync()
    desk = restarted()
    desk.log = [("src/part5.py", "changed = True\n")]
    result = desk.sync()
    assert result.read < 40
    desk = restarted()
    desk.base["src/part5.py"] = "changed = True\n"
    result = desk.sync()
    assert result.read < 100
    assert result.restored_at > 0


@pytest.mark.parametrize("which", [0, -1])
def test_a_damaged_cache_file_is_refused_and_the_answer_is_the_same(
    restarted: Any, tools: Any, tmp_path: Path, which: int
) -> None:
    desk = restarted()
    desk.engine.keeper._block = 64  # many small blocks
    cold = desk.sync()
    answer = desk.complete("src/open.py", OPEN, AT)
    desk.engine.close()
    blocks = sorted(tmp_path.rglob("*.s.safetensors"), key=lambda path: int(path.name.split(".")[3]))
    assert len(blocks) > 4
    data = bytearray(blocks[which].read_bytes())
    data[len(data) // 2] ^= 0x10
    blocks[which].write_bytes(data)
    desk = restarted()
    warm = desk.sync()
    again = desk.complete("src/open.py", OPEN, AT)
    assert warm.tokens == cold.tokens
    assert again.text == answer.text
    assert desk.engine.status().tiers[2].refused == 1
    assert "digest" in desk.engine.status().tiers[2].refusal
    assert max(tools.audit(desk).values()) < EXACT


def test_a_sync_that_was_killed_goes_on_where_its_blocks_end(restarted: Any, entered: list[int]) -> None:
    desk = restarted()
    desk.engine.keeper._block = 16
    desk.sync(most=12)
    desk.engine.keeper.disk.flush(10)
    desk.engine.idle = lambda: None  # killed: nothing more is written
    desk = restarted()
    entered.clear()
    result = desk.sync()
    assert 0 < result.restored_at < result.tokens
    assert entered == desk.ids[result.restored_at :].tolist()


def test_a_copy_whose_text_is_nowhere_any_more_can_still_be_laid_out(restarted: Any, tools: Any) -> None:
    """The file changed on disk since: its old text, which the base still shows, is known by its tokens."""
    desk = restarted()
    desk.log = [("src/part2.py", "other = 2\n"), ("src/part4.py", None)]
    desk.sync()
    desk.engine.idle()
    desk.log.append(("src/part2.py", "other = 3\n"))
    cold = desk.sync()
    desk = restarted()
    desk.log = [("src/part2.py", "other = 2\n"), ("src/part4.py", None), ("src/part2.py", "other = 3\n")]
    request = desk.request()
    stale = {segment.digest for segment in request.segments if segment.path == "src/part2.py"}
    for digest in stale:
        del request.texts[digest]
    warm = tools.run(desk.engine.sync(request))
    assert (warm.missing, warm.tokens, warm.read) == ([], cold.tokens, 0)


def test_a_purged_file_is_gone_from_memory_and_disk(restarted: Any, tools: Any, tmp_path: Path) -> None:
    desk = restarted()
    desk.engine.keeper._block = 64
    desk.log = [("src/part5.py", "password = 'hunter2'\n")]
    desk.sync()
    start = next(span.start for span in desk.context.sequence.spans if span.path == "src/part3.py")
    desk.complete("src/part3.py", FILES["src/part3.py"], 30)
    desk.engine.idle()
    desk.engine.keeper.disk.flush(10)
    on_disk = len(list(tmp_path.rglob("*.safetensors")))
    result = desk.engine.purge(PurgeRequest("w", ["src/part3.py"]))
    assert result.checkpoints > 0
    assert result.files > 0
    assert len(list(tmp_path.rglob("*.safetensors"))) == on_disk - result.files
    assert desk.engine.status().contexts == []
    assert desk.complete("src/part1.py", FILES["src/part1.py"], 3).repository_context is False
    without_texts = msgspec.structs.replace(desk.request(), texts={})
    forgotten = next(s.digest for s in without_texts.segments if s.path == "src/part3.py")
    assert forgotten in tools.run(desk.engine.sync(without_texts)).missing, "so is its text"
    del desk.base["src/part3.py"]
    result = desk.sync()
    assert 0 < result.restored_at <= start, "what was read before the file stays"
    assert max(tools.audit(desk).values()) < EXACT


def test_what_leaves_the_device_comes_back_from_the_host_exactly(
    new_engine: Callable[..., Any], new_desk: Callable[..., Any], tools: Any
) -> None:
    """On the CPU the tier is switched off; here it stands in for pinned memory beside a GPU."""
    engine = new_engine(spec=ModelSpec(checkpoint_bytes=250_000, kv_bytes=7_000_000))
    host = engine.keeper.host = HostTier(1 << 30, engine.reader.model.device)
    desk = new_desk(engine)
    desk.base = dict(FILES)
    first = desk.sync()
    for turn in range(4):
        desk.base = {f"other{turn}/{path}": text for path, text in FILES.items()}
        desk.sync()
    assert engine.store.kv_bytes <= 7_000_000
    desk.base = dict(FILES)
    again = desk.sync()
    assert (again.read, again.restored_at) == (0, first.tokens)
    assert host.info().hits > 0
    assert max(tools.audit(desk).values()) < EXACT
    assert engine.purge(PurgeRequest("w", ["src/part0.py"])).checkpoints > 0
    salt, ids = desk.lookups[-1]
    found = host.nearest(PrefixHash(salt), ids, 0)
    assert found is None or found[1] <= 64, "nothing that has read the file"


def test_the_host_keeps_within_its_budget(
    new_engine: Callable[..., Any], new_desk: Callable[..., Any]
) -> None:
    engine = new_engine(spec=ModelSpec(checkpoint_bytes=250_000, kv_bytes=7_000_000))
    host = engine.keeper.host = HostTier(8_000_000, engine.reader.model.device)
    desk = new_desk(engine)
    for turn in range(8):
        desk.base = {f"other{turn}/{path}": text for path, text in FILES.items()}
        desk.sync()
        assert 0 <= host.info().used_bytes <= 8_000_000
    assert host.info().checkpoints > 0


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_and_started_again_all_that_is_kept_is_exact(
    restarted: Any, tools: Any, seed: int
) -> None:
    """Edits, undo, compactions and half-read syncs; some workers leave in good order, others don't."""
    rng = random.Random(seed)
    files = {path: text[:300] for path, text in FILES.items()}
    log = list[tuple[str, str | None]]()
    restored = []
    for _ in range(5):
        desk = restarted()
        desk.engine.keeper._block = rng.choice([64, 256])
        desk.base, desk.log = dict(files), list(log)
        desk.sync(most=rng.choice([None, None, 7]))
        for _ in range(4):
            path = rng.choice(list(files))
            text = f"changed_{rng.randrange(3)} = {path!r}\n" + FILES[path][:300]
            desk.log = [*desk.log[-2:], (path, rng.choice([text, FILES[path][:300], None]))]
            if rng.random() < 0.3:
                desk.base = {path: FILES[path][:300] for path in sorted(files, key=lambda _: rng.random())}
                desk.sync(compaction=True)
            desk.sync(most=rng.choice([None, 2]))
            desk.complete(path, text, rng.randrange(len(text)), max_new_tokens=2)
            if rng.random() < 0.5:
                desk.engine.idle()
        desk.sync()
        desk.engine.store.check_integrity()
        assert max(tools.audit(desk).values()) < EXACT
        restored += [restore.checkpoint for restore in desk.engine.status().restores]
        files, log = desk.base, desk.log
        if rng.random() < 0.5:
            desk.engine.close = lambda: None  # killed
    assert sum(at > 0 for at in restored) > 10


def test_a_span_that_grows_is_copied_to_the_host_once(new_engine: Callable[..., Any], model: Any) -> None:
    engine = new_engine()
    host = HostTier(1 << 30, engine.reader.model.device)
    state = engine.reader.model.new_state()
    state.reserve(640)
    ids = np.arange(640, dtype=np.int32)
    kept = []
    for start in range(0, 640, 64):
        hidden = engine.reader.read(state, ids[start : start + 64], "base")
        kept.append(Checkpoint(bytes([start // 64]), state.save(), hidden, Contents("w", ()), None))
        host.take(kept[-1])
    span = state.views[0].span
    assert host.info().used_bytes == span.nbytes + sum(c.nbytes for c in kept)
    for checkpoint in kept:
        back, hidden, _ = host.bring_back(checkpoint.key)
        [view] = back.views
        assert view.length == checkpoint.position
        written = (slice(None), slice(None), slice(0, view.length))
        assert torch.equal(view.span.keys[written], span.keys[written])
        assert torch.equal(back.recurrent, checkpoint.state.recurrent)
        assert torch.equal(hidden, checkpoint.hidden)
