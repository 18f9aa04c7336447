"""Write a model folder: configuration, tokenizer, weights under the Hub's names, and the manifest.

Invariant: equal tensors give equal bytes, and a folder is complete or has no manifest: the manifest is
removed first and written last, from the files as they are on disk.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from deltaloom_model.errors import ModelLoadError
from deltaloom_model.loading.config import HybridConfig
from deltaloom_model.loading.folder import CONFIG_NAME, TOKENIZER_NAME, WEIGHTS_NAME
from deltaloom_model.loading.manifest import INDEX_NAME, MANIFEST_NAME, Manifest, write_manifest
from deltaloom_model.loading.weights import expected_shapes
from deltaloom_model.quantization.nf4 import pack_tensors, quantize_nf4

# All other tensors stay in fp32: they are small, and errors in them reach every token (routing, decay, gates,
# norms); bitsandbytes' CPU path fails on in_proj_ba's odd row count as well.
_QUANTIZED = ("_proj", "in_proj_qkvz")
_EMBEDDINGS = ("embed_tokens", "lm_head")

_SKIPPED_BY_BITSANDBYTES = ["lm_head", "in_proj_ba", "mlp.gate", "shared_expert_gate", "conv1d"]


def export_model(
    folder: Path,
    config: HybridConfig,
    tensors: Mapping[str, Tensor],
    tokenizer_json: bytes,
    *,
    quantize: bool = True,
    nested: bool = True,
    dtype: torch.dtype = torch.bfloat16,
) -> Manifest:
    """Write the model of these tensors (Hub names, one an expert and projection) to `folder`.

    Linears and experts go to NF4 (double-quantized scales when `nested`; with `quantize` False, to `dtype`),
    embeddings to `dtype`, everything small to fp32. Raises `ModelLoadError` if a tensor is missing or has
    another shape than the configuration asks for.
    """
    stored: dict[str, Tensor] = {}
    for name, shape in expected_shapes(config).items():
        stored |= _stored_form(name, _checked(tensors, name, shape), quantize, nested, dtype)
    folder.mkdir(parents=True, exist_ok=True)
    for stale in (MANIFEST_NAME, INDEX_NAME):
        (folder / stale).unlink(missing_ok=True)
    (folder / WEIGHTS_NAME).write_bytes(save(stored, metadata={"format": "pt"}))
    (folder / CONFIG_NAME).write_text(_config_text(config, quantize, nested, dtype), encoding="utf-8")
    (folder / TOKENIZER_NAME).write_bytes(tokenizer_json)
    return write_manifest(folder, (CONFIG_NAME, TOKENIZER_NAME, WEIGHTS_NAME))


def is_quantized_name(name: str) -> bool:
    """Does a tensor of this Hub name go to NF4 (all linears and experts, except the small ones)?"""
    return name.endswith(".weight") and _module(name).endswith(_QUANTIZED)


def _stored_form(
    name: str, tensor: Tensor, quantize: bool, nested: bool, dtype: torch.dtype
) -> dict[str, Tensor]:
    tensor = tensor.detach().cpu().contiguous()
    if is_quantized_name(name):
        if not quantize:
            return {name: tensor.to(dtype)}
        quantized = quantize_nf4(tensor.float(), nested=nested)
        # The dtype recorded is what a reader dequantizes to by default.
        return pack_tensors(name, replace(quantized, dtype=dtype))
    return {name: tensor.to(dtype if _module(name) in _EMBEDDINGS else torch.float32)}


def _module(name: str) -> str:
    """The last module of a tensor's name: `gate` of `….mlp.gate.weight`, `A_log` of `….A_log`."""
    return name.removesuffix(".weight").removesuffix(".bias").rpartition(".")[2]


def _checked(tensors: Mapping[str, Tensor], name: str, shape: tuple[int, ...]) -> Tensor:
    try:
        tensor = tensors[name]
    except KeyError:
        raise ModelLoadError(f"The model to export lacks the tensor '{name}'.") from None
    if tuple(tensor.shape) != shape:
        raise ModelLoadError(
            f"The model to export holds '{name}' in shape {tuple(tensor.shape)}, not {shape}."
        )
    return tensor


def _config_text(config: HybridConfig, quantize: bool, nested: bool, dtype: torch.dtype) -> str:
    name = str(dtype).removeprefix("torch.")
    data = config.to_dict() | {"dtype": name}
    if quantize:
        data["quantization_config"] = {
            "quant_method": "bitsandbytes",
            "load_in_4bit": True,
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_use_double_quant": nested,
            "bnb_4bit_compute_dtype": name,
            "bnb_4bit_quant_storage": "uint8",
            "llm_int8_skip_modules": _SKIPPED_BY_BITSANDBYTES,
        }
    return json.dumps(data, indent=2, sort_keys=True) + "\n"
