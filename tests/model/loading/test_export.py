"""Export then load: within NF4's error, equal to bitsandbytes' reading, the same bytes every time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from bitsandbytes import functional as bnb
from safetensors.torch import load_file
from torch import Tensor

from deltaloom_model.errors import ModelLoadError
from deltaloom_model.loading.config import HybridConfig
from deltaloom_model.loading.export import export_model, is_quantized_name
from deltaloom_model.loading.folder import open_model_folder
from deltaloom_model.loading.manifest import model_hash
from deltaloom_model.loading.weights import load_weights
from deltaloom_model.quantization.nf4 import STATE_SUFFIX


def test_quantized_model_comes_back_within_nf4s_error(
    exported: Path, config: HybridConfig, tensors: dict[str, Tensor]
) -> None:
    folder = open_model_folder(exported)
    assert folder.config == config
    with load_weights(folder, torch.float32) as loaded:
        assert set(loaded) == set(tensors)
        for name, original in tensors.items():
            got = loaded[name]
            assert got.shape == original.shape
            assert got.dtype == torch.float32
            if is_quantized_name(name):
                error = (got - original).square().mean().sqrt() / original.square().mean().sqrt()
                assert 0.01 < error < 0.12, name
            elif "embed_tokens" in name or "lm_head" in name:
                assert torch.equal(got, original.bfloat16().float())
            else:
                assert torch.equal(got, original), name


def test_linears_and_experts_are_quantized_and_the_small_parts_are_not(exported: Path) -> None:
    stored = open_model_folder(exported).tensors
    four_bit = {name.removesuffix(STATE_SUFFIX) for name in stored if name.endswith(STATE_SUFFIX)}
    layer = "model.layers.0."
    assert {
        layer + "linear_attn.in_proj_qkvz.weight",
        layer + "linear_attn.out_proj.weight",
        layer + "mlp.experts.3.down_proj.weight",
        layer + "mlp.shared_expert.up_proj.weight",
        "model.layers.1.mlp.gate_proj.weight",
        "model.layers.3.self_attn.q_proj.weight",
    } <= four_bit
    for name in ("linear_attn.in_proj_ba.weight", "mlp.gate.weight", "mlp.shared_expert_gate.weight"):
        assert stored[layer + name].dtype == "F32"
    assert stored["model.embed_tokens.weight"].dtype == "BF16"


@pytest.mark.parametrize("nested", [False, True])
def test_bitsandbytes_reads_the_same_values_from_the_file(
    tmp_path: Path, config: HybridConfig, tensors: dict[str, Tensor], tokenizer_json: bytes, nested: bool
) -> None:
    export_model(tmp_path, config, tensors, tokenizer_json, nested=nested)
    raw = load_file(tmp_path / "model.safetensors")
    checked = 0
    with load_weights(open_model_folder(tmp_path)) as loaded:
        for name in loaded:
            if name + STATE_SUFFIX not in raw:
                continue
            parts = {k.removeprefix(name + "."): v for k, v in raw.items() if k.startswith(name + ".")}
            state = bnb.QuantState.from_dict(parts, torch.device("cpu"))
            shape, state.shape = state.shape, torch.Size([state.shape.numel()])
            assert torch.equal(loaded[name], bnb.dequantize_4bit(raw[name], state).reshape(shape)), name
            checked += 1
    assert checked > 40


def test_unquantized_export_keeps_the_dtype_asked_for(
    tmp_path: Path, config: HybridConfig, tensors: dict[str, Tensor], tokenizer_json: bytes
) -> None:
    export_model(tmp_path, config, tensors, tokenizer_json, quantize=False, dtype=torch.float32)
    assert "quantization_config" not in json.loads((tmp_path / "config.json").read_text())
    with load_weights(open_model_folder(tmp_path)) as loaded:
        for name, original in tensors.items():
            assert torch.equal(loaded[name], original)
            assert loaded.nf4(name) is None


def test_equal_tensors_give_equal_bytes(
    exported: Path, tmp_path: Path, config: HybridConfig, tensors: dict[str, Tensor], tokenizer_json: bytes
) -> None:
    again = tmp_path / "again"
    export_model(again, config, dict(reversed(tensors.items())), tokenizer_json)
    for file in exported.iterdir():
        assert (again / file.name).read_bytes() == file.read_bytes(), file.name
    assert model_hash(again) == model_hash(exported)


def test_exporting_over_an_older_model_replaces_it_whole(
    model: Path, config: HybridConfig, tensors: dict[str, Tensor], tokenizer_json: bytes
) -> None:
    before = model_hash(model)
    changed = tensors | {"model.norm.weight": tensors["model.norm.weight"] + 1}
    export_model(model, config, changed, tokenizer_json)
    open_model_folder(model).verify()
    assert model_hash(model) != before


@pytest.mark.parametrize("damage", ["missing", "misshapen"])
def test_an_incomplete_model_is_not_written(
    tmp_path: Path, config: HybridConfig, tensors: dict[str, Tensor], damage: str
) -> None:
    name = "model.layers.0.mlp.experts.2.up_proj.weight"
    broken = {k: v for k, v in tensors.items() if k != name}
    if damage == "misshapen":
        broken[name] = torch.zeros(2, 2)
    with pytest.raises(ModelLoadError, match=r"experts\.2\.up_proj"):
        export_model(tmp_path / "x", config, broken, b"{}")
    assert not (tmp_path / "x").exists()
