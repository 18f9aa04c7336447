"""Measure a model folder on held-out packages: `python -m deltaloom_model.training.evaluate ...`.

Invariant: what is measured is the shipped folder through the engine that ships (4-bit weights, same code
path), on packages no training text was taken from.
"""

from __future__ import annotations

import argparse
import json
import lzma
import math
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypedDict

import torch
import torch.nn.functional as F

from deltaloom_model.api import GenerateRequest, GenerateResult, GenerateSteps, ModelSpec, StopRules
from deltaloom_model.engine import HybridEngine, build_engine
from deltaloom_model.prompts import PromptFormat


class HeldOutFile(TypedDict):
    """One line of `files.jsonl`."""

    package: str
    path: str
    kind: str
    text: str


class FimCase(TypedDict):
    """One line of `fim-cases.jsonl`: complete the line after `typed`; `expected` is its rest."""

    package: str
    path: str
    prefix: str
    typed: str
    suffix: str
    expected: str


def bits_per_byte(engine: HybridEngine, files: Iterable[HeldOutFile]) -> dict[str, float]:
    """Compression of each file alone (its path stands before it, uncounted), windows of the trained length.

    Beside it, `xz -9e` of each file alone.
    """
    model, tokenizer = engine.reader.model, engine.tokenizer
    form = PromptFormat.for_model(tokenizer, model.config.fim_order)
    window = model.config.max_position_embeddings
    nats, size, compressed, tokens, count = 0.0, 0, 0, 0, 0
    for file in files:
        header = form.segment_header(file["path"])
        ids = torch.from_numpy(form.segment(file["path"], tokenizer.encode(file["text"])).astype("int64"))
        data = file["text"].encode()
        with torch.inference_mode():
            for start in range(0, len(ids) - 1, window):
                part = ids[start : start + window + 1]
                logits = model.logits(model(part[:-1].unsqueeze(0))[0])
                loss = F.cross_entropy(logits, part[1:], reduction="none")
                skip = max(0, len(header) - 1 - start)
                nats += float(loss[skip:].sum())
        tokens += len(ids) - len(header)
        size += len(data)
        compressed += len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME))
        count += 1
    return {
        "files": count,
        "bytes": size,
        "bytes_per_token": size / tokens,
        "bits_per_byte": nats / math.log(2) / size,
        "xz_bits_per_byte": 8 * compressed / size,
    }


def _together(parts: list[dict[str, float]]) -> dict[str, float]:
    """The figures over all packages, each weighing by its bytes."""
    size = sum(part["bytes"] for part in parts)

    def weighed(key: str) -> float:
        return sum(part[key] * part["bytes"] for part in parts) / size

    return {
        "files": sum(part["files"] for part in parts),
        "bytes": size,
        "bytes_per_token": size / sum(part["bytes"] / part["bytes_per_token"] for part in parts),
        "bits_per_byte": weighed("bits_per_byte"),
        "xz_bits_per_byte": weighed("xz_bits_per_byte"),
    }


def complete_line(engine: HybridEngine, case: FimCase, number: int) -> GenerateResult:
    """Single-line completion of one case with the open file as its only context."""
    request = GenerateRequest(
        session="evaluation",
        workspace=f"case-{number}",
        repository=case["package"],
        revision=0,
        path=case["path"],
        prefix=case["prefix"],
        typed=case["typed"],
        suffix=case["suffix"],
        max_new_tokens=40,
        stop=StopRules(max_lines=1),
    )
    return _result(engine.generate(request))


def fill_in_the_middle(engine: HybridEngine, cases: list[FimCase]) -> dict[str, Any]:
    """Exact match of the rest of the line (white space at its ends apart), and examples of both kinds."""
    hits = 0
    good: list[dict[str, Any]] = []
    bad: list[dict[str, Any]] = []
    for number, case in enumerate(cases):
        result = complete_line(engine, case, number)
        hit = result.text.strip() == case["expected"].strip()
        hits += hit
        example: dict[str, Any] = {
            key: value for key, value in case.items() if key in ("package", "path", "typed", "expected")
        }
        (good if hit else bad).append(example | {"produced": result.text})
    return {"cases": len(cases), "exact": hits / len(cases), "good": good[:8], "bad": bad[:8]}


def decode_speed(engine: HybridEngine, case: FimCase) -> float:
    """New tokens a second, one at a time, after the first token."""
    request = GenerateRequest(
        "evaluation", "speed", case["package"], 0, case["path"], case["prefix"], "", "", 128, StopRules(10**6)
    )
    began = time.perf_counter()
    result = _result(engine.generate(request))
    spent = time.perf_counter() - began - result.first_token_milliseconds / 1000
    return (result.new_tokens - 1) / spent


def _result(steps: GenerateSteps) -> GenerateResult:
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: GenerateResult = stop.value
            return result


def _lines(path: Path) -> Iterator[Any]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m deltaloom_model.training.evaluate", description=__doc__)
    parser.add_argument("--model", default="nano", help="'nano' or a model folder")
    parser.add_argument(
        "--heldout", type=Path, required=True, help="folder with files.jsonl, fim-cases.jsonl"
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--cases", type=int, default=400, help="single-line cases at most")
    parser.add_argument("--threads", type=int, default=0)
    args = parser.parse_args(argv)
    engine = build_engine(ModelSpec(path=args.model, threads=args.threads))
    python: list[HeldOutFile] = [f for f in _lines(args.heldout / "files.jsonl") if f["kind"] == "python"]
    cases: list[FimCase] = list(_lines(args.heldout / "fim-cases.jsonl"))[: args.cases]
    packages = {name: [f for f in python if f["package"] == name] for name in {f["package"] for f in python}}
    by_package = {name: bits_per_byte(engine, files) for name, files in sorted(packages.items())}
    figures: dict[str, Any] = {
        "model": engine.model.name,
        "hash": engine.model.hash,
        "parameters": engine.model.parameters,
        "python": _together(list(by_package.values())),
        "bits_per_byte": {name: round(part["bits_per_byte"], 3) for name, part in by_package.items()},
        "single_line": fill_in_the_middle(engine, cases),
        "decode_tokens_per_second": decode_speed(engine, cases[0]),
    }
    args.out.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    summary = {k: v for k, v in figures.items() if k != "single_line"}
    print(json.dumps(summary | {"single_line_exact": figures["single_line"]["exact"]}, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
