"""A small hybrid model of every kind of layer, and its folder as this project writes it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from deltaloom_model.loading.config import HybridConfig
from deltaloom_model.loading.export import export_model
from deltaloom_model.loading.weights import expected_shapes


@pytest.fixture(scope="session")
def config() -> HybridConfig:
    """Layer 1 has a dense MLP, layer 3 is full attention, the rest are Gated DeltaNet with experts."""
    return HybridConfig(
        vocab_size=1280, hidden_size=64, intermediate_size=96, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, linear_key_head_dim=16, linear_value_head_dim=16,
        linear_num_key_heads=2, linear_num_value_heads=4, moe_intermediate_size=32,
        shared_expert_intermediate_size=48, num_experts=4, num_experts_per_tok=2, mlp_only_layers=(1,),
        eos_token_ids=(1200,), fim_order="spm",
    )  # fmt: skip


@pytest.fixture(scope="session")
def tensors(config: HybridConfig) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(7)
    return {name: torch.randn(shape, generator=generator) for name, shape in expected_shapes(config).items()}


@pytest.fixture(scope="session")
def exported(
    tmp_path_factory: pytest.TempPathFactory,
    config: HybridConfig,
    tensors: dict[str, Tensor],
    tokenizer_json: bytes,
) -> Path:
    folder = tmp_path_factory.mktemp("models") / "small"
    export_model(folder, config, tensors, tokenizer_json)
    return folder


@pytest.fixture
def model(exported: Path, tmp_path: Path) -> Path:
    """A copy of the exported folder that a test may damage."""
    return Path(shutil.copytree(exported, tmp_path / "model"))
