"""Folders that transformers saves load by the Hub's names, fused experts included."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen3NextConfig, Qwen3NextForCausalLM

from deltaloom_model.loading.config import HybridConfig
from deltaloom_model.loading.folder import open_model_folder
from deltaloom_model.loading.weights import expected_shapes, load_weights


def saved_by_transformers(config: HybridConfig, folder: Path, **changes: object) -> Qwen3NextForCausalLM:
    torch.manual_seed(3)
    model = Qwen3NextForCausalLM(Qwen3NextConfig(**(config.to_dict() | changes)))
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("changes", [{}, {"attention_bias": True}, {"num_experts": 0}])
def test_a_folder_saved_by_transformers_loads_with_its_own_values(
    config: HybridConfig, tmp_path: Path, changes: dict[str, object]
) -> None:
    model = saved_by_transformers(config, tmp_path, **changes)
    folder = open_model_folder(tmp_path)
    assert folder.config.fim_order == "spm"
    theirs = load_file(tmp_path / "model.safetensors")
    with load_weights(folder) as loaded:
        assert set(loaded) == set(theirs) == set(expected_shapes(folder.config))
        assert all(torch.equal(loaded[name], theirs[name]) for name in theirs)
    state = model.state_dict()
    if folder.config.num_experts:
        gate_up = state["model.layers.0.mlp.experts.gate_up_proj"]
        with load_weights(folder) as loaded:
            stem = "model.layers.0.mlp.experts.2."
            both = torch.cat([loaded[stem + "gate_proj.weight"], loaded[stem + "up_proj.weight"]])
        assert torch.equal(both, gate_up[2])


def test_a_sharded_save_loads(config: HybridConfig, tmp_path: Path) -> None:
    model = saved_by_transformers(config, tmp_path / "single")
    model.save_pretrained(tmp_path / "sharded", max_shard_size="200KB")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 1
    with (
        load_weights(open_model_folder(tmp_path / "sharded")) as sharded,
        load_weights(open_model_folder(tmp_path / "single")) as single,
    ):
        assert all(torch.equal(sharded[name], single[name]) for name in single)


def test_fused_experts_load_like_separate_ones(config: HybridConfig, tmp_path: Path) -> None:
    model = saved_by_transformers(config, tmp_path / "separate")
    (tmp_path / "fused").mkdir()
    (tmp_path / "fused/config.json").write_bytes((tmp_path / "separate/config.json").read_bytes())
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    assert "model.layers.0.mlp.experts.gate_up_proj" in state
    save_file(state, tmp_path / "fused/model.safetensors")
    with (
        load_weights(open_model_folder(tmp_path / "fused")) as fused,
        load_weights(open_model_folder(tmp_path / "separate")) as separate,
    ):
        assert set(fused) == set(separate)
        assert all(torch.equal(fused[name], separate[name]) for name in separate)


def test_tied_embeddings_need_no_head_and_serve_as_one(config: HybridConfig, tmp_path: Path) -> None:
    saved_by_transformers(config, tmp_path, tie_word_embeddings=True)
    with load_weights(open_model_folder(tmp_path)) as loaded:
        assert "lm_head.weight" not in set(loaded)
        assert torch.equal(loaded["lm_head.weight"], loaded["model.embed_tokens.weight"])


def test_tensors_come_in_the_dtype_asked_for(exported: Path) -> None:
    folder = open_model_folder(exported)
    with load_weights(folder, torch.float64) as loaded:
        assert {loaded[name].dtype for name in loaded} == {torch.float64}
    with load_weights(folder) as loaded:
        assert loaded["model.layers.0.mlp.gate.weight"].dtype == torch.float32
        assert loaded["model.layers.0.linear_attn.out_proj.weight"].dtype == torch.bfloat16
        quantized = loaded.nf4("model.layers.0.linear_attn.out_proj.weight")
        assert quantized is not None
        assert quantized.packed.dtype == torch.uint8
