"""A workspace of more than 262,144 tokens, a small random model for it, and one editing session over LSP.

Invariant: what a cold read is made from is put together here from the files' texts, what the editor typed and
what `deltaloom/status` lists, never from state that a server or an engine kept.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import torch

from deltaloom_model.hybrid_model import HybridModel
from deltaloom_model.loading.config import HybridConfig
from deltaloom_model.loading.export import export_model
from deltaloom_model.tokenizer import SegmentTokenizer
from deltaloom_server.cli.editor import HeadlessEditor
from deltaloom_server.cli.lsp_client import LspClient, start_server
from deltaloom_server.cli.server_report import (
    LastCompletion,
    ReportedFile,
    ServerReport,
    fetch_report,
    wait_until_ready,
)

FULL_LENGTH = 262_144
MAX_TOKENS = 360_000
"""An eighth is the log's and 4,096 the open file's: the base alone may then be longer than `FULL_LENGTH`."""
NEW_TOKENS = 12

_SOURCE_BYTES = 1_110_000
_SMALLEST_FILE, _LARGEST_FILE = 3_000, 30_000


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)
            # In front of the shorter limit that all of e2e gets: reading a full length is in here.
            item.add_marker(pytest.mark.timeout(420), append=False)


# --- the model ------------------------------------------------------------------------------------------


def small_config(vocabulary: int) -> HybridConfig:
    """Two Gated DeltaNet layers around one attention layer with one head; no experts.

    Without experts on purpose: among so many tokens some expert's choice hangs on the last bit, and then one
    chunking differs from another by far more than rounding. Eight of the head's sixteen dimensions turn,
    the slowest once in a million positions, so that positions differ over the whole length.
    """
    return HybridConfig(
        vocab_size=vocabulary, hidden_size=32, intermediate_size=48, num_hidden_layers=3,
        num_attention_heads=1, num_key_value_heads=1, head_dim=16, linear_key_head_dim=16,
        linear_value_head_dim=16, linear_num_key_heads=1, linear_num_value_heads=2,
        layer_types=("linear_attention", "full_attention", "linear_attention"),
        max_position_embeddings=1 << 19, rope_theta=1e7, partial_rotary_factor=0.5,
    )  # fmt: skip


@torch.no_grad()
def remembering(model: HybridModel, tokenizer: SegmentTokenizer, seed: int = 11) -> HybridModel:
    """Random weights with which what was read tens of thousands of tokens ago shows in the logits.

    A DeltaNet head overwrites what it holds along each new key at the rate beta, so decays near 1 are not
    enough: dimension 0 of the residual stream is a constant here, which makes beta small (mostly under 0.01,
    where ordinary random weights give 0.5). Through the same dimension no token is ever chosen that isn't
    printable, so that an answer always has text.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        if name.endswith("A_log"):
            p.copy_(torch.tensor([1e-6, 1e-4]).log())
        elif name.endswith("dt_bias"):
            p.fill_(1.0)
        elif name.endswith(("q_norm.weight", "k_norm.weight")):
            p.fill_(1.0)  # sharp attention: a few of all the keys count, not their average
        elif p.ndim == 1:
            p.add_(torch.randn(p.shape, generator=generator) * 0.2)
        elif name.endswith("embed_tokens.weight"):
            p.normal_(0.0, 1.0, generator=generator)
            p[:, 0] = 3.0
        else:
            p.normal_(0.0, 0.3, generator=generator)
        if name.endswith(("out_proj.weight", "o_proj.weight", "down_proj.weight")):
            p.mul_(0.3)  # layers add to the stream, they don't drown the constant
            p[0] = 0.0
        if name.endswith("in_proj_ba.weight"):
            p.mul_(0.12)
            p[:2, 0] = torch.tensor([-3.4, -2.2])
    printable = torch.tensor([_is_printable(tokenizer, t) for t in range(model.config.vocab_size)])
    model.lm_head.weight[:, 0] = torch.where(printable, 0.0, -40.0)
    return model.eval().requires_grad_(False)


def _is_printable(tokenizer: SegmentTokenizer, token: int) -> bool:
    data = tokenizer.bytes_of(token)
    return bool(data.strip()) and data.isascii() and data.decode().isprintable()


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model as a folder that `model.path` can name: fp32, with the embedded model's tokenizer."""
    import deltaloom_model

    nano = Path(deltaloom_model.__file__).parent / "nano" / "tokenizer.json"
    tokenizer = SegmentTokenizer.from_file(nano)
    config = small_config(tokenizer.size)
    model = remembering(HybridModel(config), tokenizer)
    folder = tmp_path_factory.mktemp("model") / "long-memory"
    tensors = dict(model.hub_slots())
    export_model(folder, config, tensors, nano.read_bytes(), quantize=False, dtype=torch.float32)
    return folder


# --- the workspace --------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As much of Python's own library as makes a full length; all of it finds room in full."""
    root = tmp_path_factory.mktemp("full") / "library"
    library, left = Path(sysconfig.get_paths()["stdlib"]), _SOURCE_BYTES
    for source in sorted(library.rglob("*.py")):
        relative = source.relative_to(library)
        if left <= 0 or {"site-packages", "dist-packages", "test", "tests"} & set(relative.parts):
            continue
        data = source.read_bytes()
        if _SMALLEST_FILE <= len(data) <= _LARGEST_FILE and data.isascii() and b"\r" not in data:
            left -= len(data)
            (root / relative).parent.mkdir(parents=True, exist_ok=True)
            (root / relative).write_bytes(data)
    assert left <= 0, "the library has enough text"
    return root


# --- one editing session --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """One request for ghost text and what came of it.

    `files` is what `status` lists then, in context order; `log` the text of each of its log entries; `text`
    the open file's, with the cursor at offset `at`. `entered` counts the tokens that entered the first layer
    since the step before, by cause.
    """

    name: str
    path: str
    text: str
    at: int
    log: tuple[str, ...]
    files: tuple[ReportedFile, ...]
    entered: dict[str, int]
    completion: LastCompletion
    shown: str

    @property
    def cursor(self) -> tuple[str, str, str]:
        """(prefix up to the cursor's line, that line up to the cursor, suffix)."""
        line = self.text.rfind("\n", 0, self.at) + 1
        return self.text[:line], self.text[line : self.at], self.text[self.at :]

    @property
    def read(self) -> int:
        """Tokens that entered the first layer, new ones not counted."""
        return sum(count for cause, count in self.entered.items() if cause != "decode")


@dataclass(frozen=True)
class Session:
    """What was seen of it: the report after indexing, each step, and the disk's texts by path."""

    repository: str
    indexed: ServerReport
    texts: dict[str, str]
    steps: tuple[Step, ...]

    def segments(self, step: Step) -> list[tuple[str, str, str]]:
        """(path, region, text) of base and log as they stood at a step."""
        log = iter(step.log)
        kept = [file for file in step.files if file.region != "open"]
        return [
            (file.path, file.region, next(log) if file.region == "log" else self.texts[file.path])
            for file in kept
        ]


class _Editing:
    """Drives one server: an edit, a request, and the report after it, step by step.

    Cursors stand behind a bracket, so that no word is broken off there and fed in another way.
    """

    def __init__(self, client: LspClient, root: Path, indexed: ServerReport) -> None:
        self.client, self.root, self.editor = client, root, HeadlessEditor(client)
        self.steps: list[Step] = []
        self._counters = dict(indexed.counters)
        self._left: dict[str, str] = {}

    async def ask(self, name: str, path: str, at: int) -> None:
        """Ask by itself, as after a keystroke: then the model's own first choice is what is shown."""
        absolute = self.root / path
        text = self.editor.text(absolute)
        line = text.count("\n", 0, at)
        position = {"line": line, "character": at - text.rfind("\n", 0, at) - 1}
        answer = await self.client.request(
            "textDocument/inlineCompletion",
            {
                "textDocument": {"uri": absolute.as_uri()},
                "position": position,
                "context": {"triggerKind": 2},  # Automatic
            },
        )
        report = await fetch_report(self.client)
        counters = dict(report.counters)
        entered = {cause: count - self._counters.get(cause, 0) for cause, count in counters.items()}
        self._counters = counters
        assert report.last_completion is not None
        files = tuple(report.context.files)
        log = tuple(self._left[file.path] for file in files if file.region == "log")
        shown = "".join(item["insertText"] for item in answer["items"])
        self.steps.append(Step(name, path, text, at, log, files, entered, report.last_completion, shown))
        self._left[path] = text

    async def edit_in(self, place: str, path: str) -> None:
        """Open a file and ask there; write a new line and ask; one more character, and ask."""
        absolute = self.root / path
        self.editor.open(absolute)
        text = self.editor.text(absolute)
        # Not so deep in that the bounded prefix is full: its cut would move now and then.
        end = text.index(")\n", min(len(text) // 2, 3000)) + 1
        await self.ask(f"{place}: opened", path, end)
        at, line = end + 1, text.count("\n", 0, end) + 1
        call = "        result = self.measure("
        self.editor.insert(absolute, line, 0, call + "\n")
        await self.ask(f"{place}: edited", path, at + len(call))
        self.editor.insert(absolute, line, len(call), "[")
        await self.ask(f"{place}: typed", path, at + len(call) + 1)


async def _edit_session(root: Path, model: Path, environment: dict[str, str]) -> Session:
    texts = {
        path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in root.rglob("*.py")
    }
    options = {
        # One thread: several stall each other whenever anything else runs, this process for one.
        "model": {"path": str(model), "device": "cpu", "dtype": "float32", "threads": 1},
        "context": {"max_tokens": MAX_TOKENS},
        "completion": {"max_new_tokens": NEW_TOKENS, "reuse": False},
        "cache": {"host_bytes": 0, "disk_bytes": 0},
        "worker": {"idle_seconds": 1},
    }
    async with start_server([root], options, environment=environment) as client:
        indexed = await wait_until_ready(client)
        editing = _Editing(client, root, indexed)
        base = [file.path for file in indexed.context.files if file.region == "base"]
        for place, index in ("middle", len(base) // 2), ("start", 1), ("end", len(base) - 2):
            await editing.edit_in(place, base[index])
        assert indexed.worker is not None
        worker = psutil.Process(indexed.worker.pid)
    _, alive = psutil.wait_procs([worker], timeout=60)
    assert not alive, "the worker's threads and a cold read's would stall each other"
    return Session(root.name, indexed, texts, tuple(editing.steps))


@pytest.fixture(scope="session")
def session(workspace: Path, model_folder: Path) -> Iterator[Session]:
    """The whole session, over when a test sees it; nothing it started is left running."""
    home = Path(tempfile.mkdtemp(prefix="dl-"))  # not tmp_path: a socket's path may hold a hundred bytes
    environment = dict(os.environ)
    for variable in ("XDG_RUNTIME_DIR", "XDG_CACHE_HOME", "XDG_STATE_HOME"):
        folder = home / variable.lower()
        folder.mkdir(mode=0o700)
        environment[variable] = str(folder)
    try:
        yield asyncio.run(_edit_session(workspace, model_folder, environment))
    finally:
        shutil.rmtree(home, ignore_errors=True)
