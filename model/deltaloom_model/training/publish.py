"""Write a run's weights as a model folder: `python -m deltaloom_model.training.publish --run DIR --out DIR`.

Invariant: the folder loads with the same code path as any model, and equal checkpoints give equal bytes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from deltaloom_model.hybrid_model import HybridModel
from deltaloom_model.loading.export import export_model
from deltaloom_model.training.recipe import nano_config


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m deltaloom_model.training.publish", description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="a training run's folder")
    parser.add_argument("--tokenizer", type=Path, required=True, help="its tokenizer.json")
    parser.add_argument("--out", type=Path, required=True, help="the model folder to write")
    args = parser.parse_args(argv)
    config = nano_config()
    model = HybridModel(config)
    state = torch.load(args.run / "checkpoint.pt", weights_only=True, map_location="cpu")
    model.load_state_dict(state["model"])
    manifest = export_model(args.out, config, dict(model.hub_slots()), args.tokenizer.read_bytes())
    size = sum(entry.bytes for entry in manifest.files.values())
    print(f"wrote {args.out}: {size / 1e6:.1f} MB after {state['tokens']:,} tokens, {state['seconds']:.0f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
