"""HybridConfig: reads what the Hub and transformers publish, refuses the rest in one sentence."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import Qwen3NextConfig, Qwen3NextModel
from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextSparseMoeBlock

from deltaloom_model.errors import ModelLoadError
from deltaloom_model.loading.config import HybridConfig

# The shape part of Qwen3-Coder-Next's published config.json (transformers 4 layout).
CODER_NEXT: dict[str, Any] = {
    "architectures": ["Qwen3NextForCausalLM"],
    "model_type": "qwen3_next",
    "attention_bias": False,
    "bos_token_id": 151643,
    "decoder_sparse_step": 1,
    "eos_token_id": [151645, 151643],
    "full_attention_interval": 4,
    "head_dim": 256,
    "hidden_act": "silu",
    "hidden_size": 2048,
    "intermediate_size": 5120,
    "linear_conv_kernel_dim": 4,
    "linear_key_head_dim": 128,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
    "linear_value_head_dim": 128,
    "max_position_embeddings": 262144,
    "mlp_only_layers": [],
    "moe_intermediate_size": 512,
    "norm_topk_prob": True,
    "num_attention_heads": 16,
    "num_experts": 512,
    "num_experts_per_tok": 10,
    "num_hidden_layers": 48,
    "num_key_value_heads": 2,
    "partial_rotary_factor": 0.25,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 5000000,
    "shared_expert_intermediate_size": 512,
    "tie_word_embeddings": False,
    "vocab_size": 151936,
}


def test_flat_config_gives_the_derived_sizes() -> None:
    config = HybridConfig.from_dict(CODER_NEXT)
    assert (config.key_dim, config.value_dim, config.conv_dim) == (2048, 4096, 8192)
    assert (config.rotary_dim, config.rope_theta) == (64, 5_000_000)
    assert config.attention_layers == tuple(range(3, 48, 4))
    assert len(config.linear_layers) == 36
    assert all(config.is_moe_layer(i) for i in range(48))
    assert config.eos_token_ids == (151645, 151643)
    assert config.fim_order == "psm"


def test_rope_parameters_equal_the_flat_fields() -> None:
    nested = {k: v for k, v in CODER_NEXT.items() if k not in ("rope_theta", "partial_rotary_factor")}
    nested["rope_parameters"] = {"rope_type": "default", "rope_theta": 5e6, "partial_rotary_factor": 0.25}
    assert HybridConfig.from_dict(nested) == HybridConfig.from_dict(CODER_NEXT)


@pytest.mark.parametrize(
    ("step", "mlp_only", "experts"), [(1, [], 8), (2, [], 8), (1, [0, 3], 8), (2, [1], 8), (1, [], 0)]
)
def test_layer_kinds_agree_with_transformers(step: int, mlp_only: list[int], experts: int) -> None:
    changed = CODER_NEXT | {"decoder_sparse_step": step, "mlp_only_layers": mlp_only, "num_experts": experts}
    changed |= {"num_hidden_layers": 6, "num_experts_per_tok": 2}
    ours = HybridConfig.from_dict(changed)
    with torch.device("meta"):
        theirs = Qwen3NextModel(Qwen3NextConfig(**changed))
    for i, layer in enumerate(theirs.layers):
        assert ours.is_linear_layer(i) == hasattr(layer, "linear_attn")
        assert ours.is_moe_layer(i) == isinstance(layer.mlp, Qwen3NextSparseMoeBlock)


def test_what_transformers_writes_reads_back_and_ours_reads_back_there() -> None:
    theirs = Qwen3NextConfig(**CODER_NEXT)
    ours = HybridConfig.from_dict(theirs.to_dict() | {"architectures": ["Qwen3NextForCausalLM"]})
    assert ours == HybridConfig.from_dict(CODER_NEXT)
    assert HybridConfig.from_dict(ours.to_dict()) == ours
    back = Qwen3NextConfig(**ours.to_dict())
    for name in (
        "rope_parameters",
        "layer_types",
        "mlp_only_layers",
        "num_experts",
        "eos_token_id",
        "head_dim",
    ):
        assert getattr(back, name) == getattr(theirs, name), name


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"auto_map": {"AutoConfig": "evil.py"}}, "auto_map"),
        ({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}, "llama"),
        ({"architectures": ["Qwen3NextForTokenClassification"]}, "Qwen3NextForCausalLM"),
        ({"quantization_config": {"quant_method": "fp8"}}, "fp8"),
        ({"quantization_config": {"quant_method": "bitsandbytes", "bnb_4bit_quant_type": "fp4"}}, "fp4"),
        ({"hidden_size": None}, "hidden_size"),
        ({"hidden_size": 0}, "hidden_size"),
        ({"hidden_size": "2048"}, "hidden_size"),
        ({"hidden_size": True}, "hidden_size"),
        ({"num_experts": 10**9}, "num_experts"),
        ({"num_key_value_heads": 3}, "KV heads"),
        ({"linear_num_value_heads": 17}, "key heads"),
        ({"num_experts_per_tok": 513}, "experts per token"),
        ({"partial_rotary_factor": 0.005}, "rotary"),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, "yarn"),
        ({"layer_types": ["full_attention"]}, "layer_types"),
        ({"layer_types": ["sliding_attention"] * 48}, "layer type"),
        ({"layer_types": 3}, "layer_types"),
        ({"mlp_only_layers": [48]}, "mlp_only_layers"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"attention_bias": "yes"}, "attention_bias"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps"),
        ({"eos_token_id": 151936}, "vocabulary"),
        ({"eos_token_id": "end"}, "eos_token_id"),
        ({"deltaloom": {"fim_order": "pms"}}, "fim_order"),
    ],
)
def test_senseless_config_is_refused_in_one_sentence(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelLoadError) as caught:
        HybridConfig.from_dict(CODER_NEXT | change)
    message = str(caught.value)
    assert says in message
    assert message.endswith(".")
    assert "\n" not in message
