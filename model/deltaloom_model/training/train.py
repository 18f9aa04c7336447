"""Train nano: `python -m deltaloom_model.training.train --data DIR --out DIR --minutes N`.

Invariant: a run that is interrupted goes on from its last checkpoint with the same data order, optimizer
state and time budget; only seconds spent in steps count, so pausing the process costs nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deltaloom_model.hybrid_model import GatedDeltaNet, HybridModel, RMSNorm, SparseMoE
from deltaloom_model.training.losses import chunked_cross_entropy, load_balance
from deltaloom_model.training.optimizers import build_optimizers
from deltaloom_model.training.recipe import Recipe, Stage


@torch.no_grad()
def initialize(model: HybridModel, seed: int) -> None:
    """Normal weights of 0.02 (residual outputs smaller), DeltaNet time constants from 1 to 1,000 tokens."""
    torch.manual_seed(seed)
    residual = 0.02 / math.sqrt(2 * model.config.num_hidden_layers)
    for name, p in model.named_parameters():
        if name.endswith(("out_proj.weight", "o_proj.weight", "down_proj.weight", "experts.down_proj")):
            p.normal_(0.0, residual)
        elif "conv1d" in name:
            p.uniform_(-0.5, 0.5)
        elif p.ndim >= 2:
            p.normal_(0.0, 0.02)
    for module in model.modules():
        if isinstance(module, GatedDeltaNet):
            # exp(A) * softplus(dt) is the decay a token: as in Mamba 2, dt log-uniform in [0.001, 0.1].
            module.A_log.uniform_(1.0, 8.0).log_()
            dt = torch.empty_like(module.dt_bias).uniform_(math.log(1e-3), math.log(1e-1)).exp()
            module.dt_bias.copy_(dt + torch.log(-torch.expm1(-dt)))
        elif isinstance(module, RMSNorm):
            module.weight.zero_()


class Sequences:
    """Sequences [n, L + 1] (uint16, memory-mapped), taken in order and round again; resumable."""

    def __init__(self, folder: Path) -> None:
        self._tokens: NDArray[np.uint16] = np.load(folder / "tokens.npy", mmap_mode="r")
        self.taken = 0

    @property
    def rounds(self) -> float:
        """How often the data has been gone through."""
        return float(self.taken / len(self._tokens))

    def next(self, count: int) -> Tensor:
        """The next `count` sequences as int64 [count, L + 1]."""
        rows = [(self.taken + i) % len(self._tokens) for i in range(count)]
        self.taken += count
        return torch.from_numpy(self._tokens[rows].astype(np.int64))


class Trainer:
    """One run: model, optimizers, data positions and the seconds spent, saved and restored together."""

    def __init__(self, recipe: Recipe, data: Path, out: Path) -> None:
        self.recipe, self.out = recipe, out
        self.model = HybridModel(recipe.config)
        initialize(self.model, recipe.seed)
        self.optimizers = build_optimizers(self.model, recipe.lr, recipe.embedding_lr)
        self.base_lrs = [[g["lr"] for g in o.param_groups] for o in self.optimizers]
        self.data = {stage.data: Sequences(data / stage.data) for stage in recipe.stages}
        self.routers = [m for m in self.model.modules() if isinstance(m, SparseMoE)]
        self.step_count, self.tokens, self.seconds = 0, 0, 0.0
        self._recent: list[float] = []

    @property
    def progress(self) -> float:
        return self.seconds / self.recipe.seconds

    @property
    def stage(self) -> Stage:
        return next((s for s in self.recipe.stages if self.progress < s.until), self.recipe.stages[-1])

    def step(self) -> dict[str, float]:
        """One optimizer step; returns its figures."""
        began = time.monotonic()
        stage = self.stage
        sequences = self.data[stage.data].next(stage.batch)
        scale = self.recipe.lr_scale(self.step_count, self.progress)
        for optimizer, lrs in zip(self.optimizers, self.base_lrs, strict=True):
            for group, lr in zip(optimizer.param_groups, lrs, strict=True):
                group["lr"] = lr * scale
        loss, balance = self._backward(sequences)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step_count += 1
        self.tokens += sequences[:, 1:].numel()
        self._count_seconds(time.monotonic() - began)
        return {"loss": loss, "balance": balance, "norm": float(norm), "lr": scale}

    def _backward(self, sequences: Tensor) -> tuple[float, float]:
        for router in self.routers:
            router.routing = []
        with torch.autocast("cpu", torch.bfloat16):
            hidden = self.model(sequences[:, :-1])
        loss = chunked_cross_entropy(
            hidden.flatten(0, 1), self.model.lm_head.weight, sequences[:, 1:].flatten()
        )
        balance = load_balance([entry for router in self.routers for entry in router.routing or []])
        (loss + self.recipe.balance * balance).backward()
        for router in self.routers:
            router.routing = None
        return loss.item(), balance.item()

    def _count_seconds(self, spent: float) -> None:
        # A step far over the usual was a pause of the process, not training.
        usual = statistics.median(self._recent) if len(self._recent) >= 5 else spent
        self._recent = [*self._recent[-20:], spent]
        self.seconds += min(spent, 4 * usual)

    def save(self) -> None:
        """Write the run's checkpoint, whole or not at all."""
        state: dict[str, Any] = {
            "model": self.model.state_dict(),
            "optimizers": [o.state_dict() for o in self.optimizers],
            "taken": {name: sequences.taken for name, sequences in self.data.items()},
            "step": self.step_count,
            "tokens": self.tokens,
            "seconds": self.seconds,
        }
        part = self.out / "checkpoint.part"
        torch.save(state, part)
        os.replace(part, self.out / "checkpoint.pt")

    def resume(self) -> bool:
        """Go on from the run's checkpoint, if it has one."""
        path = self.out / "checkpoint.pt"
        if not path.exists():
            return False
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        for name, taken in state["taken"].items():
            self.data[name].taken = taken
        self.step_count, self.tokens, self.seconds = state["step"], state["tokens"], state["seconds"]
        return True


def run(trainer: Trainer, save_every: float = 240.0, log_every: int = 10) -> None:
    """Train until the budget is spent; a line of JSON every `log_every` steps in `log.jsonl`."""
    trainer.out.mkdir(parents=True, exist_ok=True)
    recipe = asdict(trainer.recipe) | {"config": trainer.recipe.config.to_dict()}
    (trainer.out / "recipe.json").write_text(json.dumps(recipe, indent=1, default=str))
    saved = time.monotonic()
    with (trainer.out / "log.jsonl").open("a") as log:
        while trainer.progress < 1.0:
            figures = trainer.step()
            if trainer.step_count % log_every == 0:
                figures |= {
                    "step": trainer.step_count,
                    "tokens": trainer.tokens,
                    "seconds": round(trainer.seconds, 1),
                    "stage": trainer.stage.data,  # type: ignore[dict-item]
                }
                print(json.dumps(figures), file=log, flush=True)
            if time.monotonic() - saved > save_every:
                trainer.save()
                saved = time.monotonic()
    trainer.save()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m deltaloom_model.training.train", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with train-2048/ and train-8192/")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and the log")
    parser.add_argument("--minutes", type=float, default=85.0, help="training time")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    stages = (Stage("train-2048", 0.85, 4), Stage("train-8192", 1.0, 1))
    trainer = Trainer(Recipe(seconds=60 * args.minutes, stages=stages), args.data, args.out)
    resumed = trainer.resume()
    print(f"{'resumed at' if resumed else 'starting at'} step {trainer.step_count}", flush=True)
    run(trainer)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
